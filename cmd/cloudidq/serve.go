package main

import (
	"github.com/spf13/cobra"

	"cloudidq/internal/app"
)

// newServe returns the command serve.
func newServe(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run API and worker in one process, until SIGTERM",
		Long: "serve is api and worker together: what a small installation needs. Run as many as you like, beside single ones of\n" +
			"both. With redis.url embedded it brings a Redis for trying out, which ends with it; with embedded://127.0.0.1:PORT\n" +
			"the other commands reach that one, too.",
		Example: "  cloudidq serve --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	cmd.RunE = staysUp(s, configFlag(cmd, s), app.RunServe)
	return cmd
}
