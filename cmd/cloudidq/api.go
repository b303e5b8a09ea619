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
		Short: "Serve the HTTP API until SIGTERM",
		Long: "api accepts cloudIDs, shows records and deliveries, erases users, and receives the events that\n" +
			"WeChat pushes to third-party platforms; /openapi.yaml describes it. The status page is at /, the\n" +
			"queues are at /monitoring/. It listens on api.listen, with TLS if api.tls has a certificate. Without\n" +
			"api.keys, the address must be a loopback address. You can run several.",
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
