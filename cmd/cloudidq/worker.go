package main

import (
	"github.com/spf13/cobra"

	"cloudidq/internal/app"
)

// newWorker returns the command worker.
func newWorker(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker --config FILE",
		Short: "Run a worker until SIGTERM",
		Long: "worker takes cloudIDs from the queues, exchanges them for their open data, and stores the results.\n" +
			"You can run several. On SIGTERM or SIGINT it finishes the tasks in flight or returns them to their\n" +
			"queue, within worker.shutdown_timeout.",
		Example: "  cloudidq worker --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	cmd.RunE = staysUp(s, configFlag(cmd, s), app.RunWorker)
	return cmd
}
