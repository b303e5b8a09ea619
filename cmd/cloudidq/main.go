// Command cloudidq exchanges WeChat cloudIDs for their open data in the background: producers enqueue, workers ask
// WeChat in batches, results wait in a store. See README.md.
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
	"cloudidq/internal/secret"
	"cloudidq/tasks"
)

// Exit statuses. Results go to stdout, everything else to stderr.
const (
	exitDone   = 0 // it ran and did what was asked
	exitFailed = 1 // it ran and failed
	exitUsage  = 2 // wrong arguments or configuration; nothing was done
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, lookupEnv: os.LookupEnv})
	stop()
	os.Exit(code)
}

// streams is what the program knows of the process around it.
type streams struct {
	in        io.Reader
	out       io.Writer
	err       io.Writer
	lookupEnv func(string) (string, bool)
}

// run is the whole program without the process: it returns the exit status.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if faults, ok := errors.AsType[config.Faults](err); ok {
		fmt.Fprintf(s.err, "%s\n", secret.URLsIn(faults.Error())) // one a line, each beginning with its place
	} else {
		fmt.Fprintf(s.err, "cloudidq: %s\n", secret.URLsIn(err.Error())) // whoever has made it may have quoted an address
	}
	return exitStatus(err)
}

// usageError is an error of the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func exitStatus(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[config.Faults](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*tasks.InvalidError](err); ok {
		return exitUsage
	}
	return exitFailed
}
