package main

import (
	"github.com/spf13/cobra"

	"cloudidq/internal/app"
)

// newServe returns the command serve.
func newServe(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the API and a worker in one process until SIGTERM",
		Long: "serve runs api and worker in one process, which is enough for a small installation. You can run\n" +
			"several, also beside separate api and worker processes. If redis.url is embedded, serve starts a\n" +
			"Redis for a trial, which stops with the process. With embedded://127.0.0.1:PORT the other commands\n" +
			"can reach it.",
		Example: "  cloudidq serve --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	cmd.RunE = staysUp(s, configFlag(cmd, s), app.RunServe)
	return cmd
}
