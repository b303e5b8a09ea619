// Command cloudidq exchanges WeChat cloudIDs for their open data in the background. Producers
// enqueue cloudIDs, workers send them to WeChat in batches, and a store holds the results. See
// README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"cloudidq/config"
	"cloudidq/internal/open"
	"cloudidq/internal/secret"
	"cloudidq/tasks"
)

// Exit statuses. Results go to stdout, and everything else goes to stderr.
const (
	exitDone   = 0 // the command succeeded
	exitFailed = 1 // the command ran and failed
	exitUsage  = 2 // wrong arguments or configuration; nothing was done
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, lookupEnv: os.LookupEnv,
	})
	stop()
	os.Exit(code)
}

// streams holds the input, the outputs and the environment of the process.
type streams struct {
	in        io.Reader
	out       io.Writer
	err       io.Writer
	lookupEnv func(string) (string, bool)
}

// run runs the program with the given arguments and returns the exit status. It does not access
// the process itself.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if faults, ok := errors.AsType[config.Faults](err); ok {
		// One fault per line, each starting with its position.
		fmt.Fprintf(s.err, "%s\n", secret.URLsIn(faults.Error()))
	} else {
		// The error may quote a URL with credentials.
		fmt.Fprintf(s.err, "cloudidq: %s\n", secret.URLsIn(err.Error()))
	}
	return exitStatus(err)
}

// usageError is an error in the arguments or the environment. It leads to exit status 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitStatus returns the exit status for an error.
func exitStatus(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[config.Faults](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*open.SettingError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*tasks.InvalidError](err); ok {
		return exitUsage
	}
	return exitFailed
}
