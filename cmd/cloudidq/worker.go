package main

import (
	"github.com/spf13/cobra"

	"cloudidq/internal/app"
)

// newWorker returns the command worker.
func newWorker(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker --config FILE",
		Short: "Resolve what is in the queues, until SIGTERM",
		Long: "worker takes cloudIDs from the queues, exchanges them and stores the results. Run as many as you like.\n" +
			"On SIGTERM or SIGINT it finishes what it has in hand or gives it back, within worker.shutdown_timeout.",
		Example: "  cloudidq worker --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	cmd.RunE = staysUp(s, configFlag(cmd, s), app.RunWorker)
	return cmd
}
