// Package doctor looks at what cloudidq needs around it, and says of each thing whether it is as it should be and what
// to do if it is not. Each of its files knows one thing; `cloudidq doctor` puts them together and prints what they found.
//
// It reads, and makes the calls that cost nothing; the one thing that it spends is a request per app to
// /wxa/getopendata, with a cloudID that it has made up, since nothing else tells whether WeChat lets the app call it.
package doctor

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // works, but will not for ever, or not as the promises of cloudidq have it
	Fail Level = "FAIL"
)

// Finding is what came of looking at one thing. Neither of its texts holds a secret, an id of a person or data.
type Finding struct {
	Check   string `json:"check"` // such as "redis", "app wx0000000000000001"
	Level   Level  `json:"level"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"` // what to do about it; empty for OK
}

// Check looks at one thing.
type Check struct {
	Name string
	Run  func(ctx context.Context) []Finding
}

const (
	checkFor = 20 * time.Second
	atOnce   = 8
)

// Run makes all checks, several at a time, and returns their findings in the order of the checks. A check that does not
// come to its end within 20 seconds fails.
func Run(ctx context.Context, checks []Check) []Finding {
	found := make([][]Finding, len(checks))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, check := range checks {
		g.Go(func() error {
			found[i] = run(ctx, check)
			return nil
		})
	}
	_ = g.Wait() // a check reports its trouble as a finding
	var all []Finding
	for _, findings := range found {
		all = append(all, findings...)
	}
	return all
}

func run(ctx context.Context, check Check) []Finding {
	ctx, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	findings := check.Run(ctx)
	if ctx.Err() != nil {
		findings = append(findings, Finding{
			Level: Fail, Message: fmt.Sprintf("no answer within %s", checkFor), Remedy: "look at the network between here and there",
		})
	}
	for i := range findings {
		if findings[i].Check == "" {
			findings[i].Check = check.Name
		}
	}
	return findings
}

// Failed reports whether a finding is of level Fail.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Level == Fail {
			return true
		}
	}
	return false
}

func ok(format string, args ...any) Finding {
	return Finding{Level: OK, Message: fmt.Sprintf(format, args...)}
}

func warn(remedy, format string, args ...any) Finding {
	return Finding{Level: Warn, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

func fail(remedy, format string, args ...any) Finding {
	return Finding{Level: Fail, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

// orOK returns what was found, or one finding that all is well.
func orOK(found []Finding, format string, args ...any) []Finding {
	if len(found) == 0 {
		return []Finding{ok(format, args...)}
	}
	return found
}
