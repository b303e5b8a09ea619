package main

import (
	"context"

	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/app"
)

// newAPI returns the command that runs the API.
func newAPI(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "api --config FILE",
		Short: "Serve the HTTP API, until SIGTERM",
		Long: "api takes cloudIDs, shows records and deliveries, erases, and takes what WeChat pushes to third-party platforms;\n" +
			"/openapi.yaml describes it. At / it shows how everything does, at /monitoring/ the queues. It listens on api.listen,\n" +
			"without api.keys on a loopback address only, with TLS if api.tls has a certificate. Run as many as you like.",
		Example: "  cloudidq api --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	cmd.RunE = staysUp(s, configFlag(cmd, s), app.RunAPI)
	return cmd
}

// staysUp returns the RunE function of a command that stays up until its context ends.
func staysUp(
	s streams, path *string, run func(context.Context, *config.Config, app.Options) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadWithSecrets(*path, s)
		if err != nil {
			return err
		}
		return run(cmd.Context(), cfg, options(s))
	}
}
