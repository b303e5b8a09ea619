// Package doctor checks the environment that cloudidq needs. For each thing it reports whether
// it is in order, and what to do if it is not. Each file of the package covers one thing.
// `cloudidq doctor` runs the checks and prints the findings.
//
// The checks only read and make calls that cost nothing, with one exception: for each app they
// send one request to /wxa/getopendata with a made-up cloudID. Nothing else shows whether WeChat
// lets the app call it.
package doctor

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// Level is the severity of a finding.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // works now, but may stop, or breaks a promise of cloudidq
	Fail Level = "FAIL"
)

// Finding is the result of a check. Its texts contain no secret, no id of a user and no user data.
type Finding struct {
	Check   string `json:"check"` // for example "redis", "app wx0000000000000001"
	Level   Level  `json:"level"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"` // what the operator should do; empty for OK
}

// Check checks one thing. A finding without a Check gets the Name.
type Check struct {
	Name string
	Run  func(ctx context.Context) []Finding
}

const (
	checkTimeout  = 20 * time.Second // of one check
	maxConcurrent = 8                // checks that run at the same time
)

// Run runs all checks, several at once, and returns their findings in the order of the checks. A
// check that does not finish within 20 seconds fails.
func Run(ctx context.Context, checks []Check) []Finding {
	found := make([][]Finding, len(checks))
	var g errgroup.Group
	g.SetLimit(maxConcurrent)
	for i, check := range checks {
		g.Go(func() error {
			found[i] = runCheck(ctx, check)
			return nil
		})
	}
	_ = g.Wait() // never an error: a check reports errors as findings
	var all []Finding
	for _, findings := range found {
		all = append(all, findings...)
	}
	return all
}

// runCheck runs one check with its time limit.
func runCheck(ctx context.Context, check Check) []Finding {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	findings := check.Run(ctx)
	if ctx.Err() != nil {
		findings = append(findings, Finding{
			Level: Fail, Message: fmt.Sprintf("no answer within %s", checkTimeout),
			Remedy: "check the network between this machine and the server",
		})
	}
	for i := range findings {
		if findings[i].Check == "" {
			findings[i].Check = check.Name
		}
	}
	return findings
}

// Failed reports whether any finding has level Fail.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Level == Fail {
			return true
		}
	}
	return false
}

// ok returns a finding of level OK.
func ok(format string, args ...any) Finding {
	return Finding{Level: OK, Message: fmt.Sprintf(format, args...)}
}

// warn returns a finding of level Warn.
func warn(remedy, format string, args ...any) Finding {
	return Finding{Level: Warn, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

// fail returns a finding of level Fail.
func fail(remedy, format string, args ...any) Finding {
	return Finding{Level: Fail, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

// orOK returns found. If found is empty, it returns one finding of level OK.
func orOK(found []Finding, format string, args ...any) []Finding {
	if len(found) == 0 {
		return []Finding{ok(format, args...)}
	}
	return found
}
