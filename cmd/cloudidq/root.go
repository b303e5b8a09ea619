package main

import (
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/open"
	"cloudidq/internal/telemetry"
)

// newRoot returns the root command with all commands.
func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "cloudidq",
		Short: "Exchange WeChat cloudIDs for their open data in the background",
		Long: "cloudidq queues cloudIDs of WeChat mini programs, exchanges them for their open\n" +
			"data with POST /wxa/getopendata before they expire after five minutes, and stores\n" +
			"the results.",
		Example: "  cloudidq demo\n" +
			"  cloudidq worker --config cloudidq.yaml\n" +
			"  cloudidq enqueue --config cloudidq.yaml --appid wx… --openid o… --wait 10s CLOUDID",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; see cloudidq --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	// Unknown and invalid flags are usage errors too.
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(
		newDemo(s), newServe(s), newAPI(s), newWorker(s), newEnqueue(s), newBackfill(s), newResult(s),
		newApps(s), newErase(s), newDeliveries(s), newKeys(s), newDoctor(s), newSim(s), newConfig(s),
		newHealthcheck(s), newVersion(s),
	)
	fixHelp(root)
	fixCompletion(root)
	return root
}

// fixHelp makes an unknown help topic a usage error. cobra's own help does not report it.
func fixHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil { // impossible: it has just been added
		return
	}
	help.Example = "  cloudidq help enqueue"
	help.Args = func(_ *cobra.Command, args []string) error {
		if found, rest, err := root.Find(args); err != nil || found == nil || len(rest) > 0 {
			return usagef("unknown command %q; see cloudidq --help", strings.Join(args, " "))
		}
		return nil
	}
}

// fixCompletion adds examples to cobra's completion commands and makes wrong arguments usage
// errors.
func fixCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err != nil { // impossible: it has just been added
		return
	}
	completion.Example = "  source <(cloudidq completion bash)\n" +
		"  cloudidq completion zsh > \"${fpath[1]}/_cloudidq\""
	completion.Args = takes(cobra.NoArgs)
	completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	for _, shell := range completion.Commands() {
		shell.Args = takes(cobra.NoArgs)
		switch shell.Name() {
		case "bash":
			shell.Example = "  source <(cloudidq completion bash)"
		case "fish":
			shell.Example = "  cloudidq completion fish > ~/.config/fish/completions/cloudidq.fish"
		case "powershell":
			shell.Example = "  cloudidq completion powershell | Out-String | Invoke-Expression"
		case "zsh":
			shell.Example = "  cloudidq completion zsh > \"${fpath[1]}/_cloudidq\""
		}
	}
}

// takes converts the errors of cobra's check of positional arguments to usage errors.
func takes(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w; see %s --help", err, cmd.CommandPath())
		}
		return nil
	}
}

// configFlag adds the flag --config to a command.
func configFlag(cmd *cobra.Command, s streams) *string {
	path, _ := s.lookupEnv("CLOUDIDQ_CONFIG")
	return cmd.Flags().String("config", path, "configuration `file` (or CLOUDIDQ_CONFIG)")
}

// newLogger returns the logger of a command that runs once. It also sets go-redis's logger,
// which would otherwise write to stderr in its own format.
func newLogger(out io.Writer, cfg config.Log) *slog.Logger {
	log := telemetry.NewLogger(out, cfg.Level, cfg.Format)
	open.LogRedis(log)
	return log
}
