package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"cloudidq/config"
)

// newConfig returns the command group config.
func newConfig(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Check, print or describe the configuration",
		Example: "  cloudidq config example > cloudidq.yaml\n  cloudidq config check --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(s), newConfigPrint(s), newConfigSchema(s), newConfigExample(s))
	return cmd
}

// newConfigCheck returns the command config check. It also resolves the secrets.
func newConfigCheck(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "check --config FILE",
		Short:   "Report all errors of the configuration and its secrets",
		Example: "  cloudidq config check --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	cmd.RunE = func(*cobra.Command, []string) error {
		cfg, err := loadWithSecrets(*path, s)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.err, "%s is fine; apps: %d, components: %d\n", *path, len(cfg.Apps), len(cfg.Components))
		return nil
	}
	return cmd
}

// newConfigPrint returns the command config print.
func newConfigPrint(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "print --config FILE",
		Short:   "Print the effective configuration with secrets redacted",
		Example: "  CLOUDIDQ_WORKER_CONCURRENCY=16 cloudidq config print --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	cmd.RunE = func(*cobra.Command, []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		return printText(s, cfg.YAML)
	}
	return cmd
}

// newConfigSchema returns the command config schema.
func newConfigSchema(s streams) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the configuration for editors",
		Example: "  cloudidq config schema > cloudidq.schema.json",
		Args:    takes(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return printText(s, func() ([]byte, error) { return config.Schema(), nil })
		},
	}
}

// newConfigExample returns the command config example.
func newConfigExample(s streams) *cobra.Command {
	return &cobra.Command{
		Use:     "example",
		Short:   "Print an example configuration",
		Example: "  cloudidq config example > cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return printText(s, func() ([]byte, error) { return config.Example(), nil })
		},
	}
}

// printText prints what text returns to stdout.
func printText(s streams, text func() ([]byte, error)) error {
	b, err := text()
	if err != nil {
		return err
	}
	_, err = s.out.Write(b)
	return err
}
