package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cloudidq/config"
	"cloudidq/internal/demo"
	"cloudidq/internal/wechat/wechattest"
)

const (
	demoFaults = "busy=0.1,missing=0.03,reset=0.02,truncated=0.01,expired=0.02,foreign=0.02"
	maxDemoIDs = 1_000_000
)

// newDemo returns the command demo.
func newDemo(s streams) *cobra.Command {
	cfg := demo.Config{Seed: 1}
	var (
		faults string
		asJSON bool
		serve  bool
	)
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "Run everything in this process against a simulated WeChat",
		Long: "demo needs nothing installed. It starts an embedded Redis, a WeChat simulator with faults mixed in, and a\n" +
			"worker; enqueues cloudIDs; and checks every record against what the simulator knows. Exit status 1 if one is wrong.\n" +
			"With --serve it stays up after that, until SIGINT: with an API, a status page and the pages of the queues, and with\n" +
			"users who go on to tap for an hour.",
		Example: "  cloudidq demo\n  cloudidq demo --ids 5000 --users 2000 --faults busy=0.2,missing=0.05 --json\n  cloudidq demo --serve",
		Args:    takes(cobra.NoArgs),
	}
	flags := cmd.Flags()
	flags.IntVar(&cfg.IDs, "ids", 300, "cloudIDs to enqueue")
	flags.IntVar(&cfg.Users, "users", 100, "users they belong to")
	flags.StringVar(&faults, "faults", demoFaults, "faults, as `NAME=P,...`; cloudidq sim --help lists them")
	flags.DurationVar(&cfg.Latency, "latency", 20*time.Millisecond, "time every answer of the simulator takes")
	flags.Uint64Var(&cfg.Seed, "seed", 1, "another run: other users, data and faults")
	flags.BoolVar(&asJSON, "json", false, "print the report as one JSON object")
	flags.BoolVar(&serve, "serve", false, "stay up, and print where to look")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkDemo(&cfg, faults); err != nil {
			return err
		}
		return runDemo(cmd.Context(), s, cfg, asJSON, serve)
	}
	return cmd
}

// checkDemo returns a usage error with every problem of the flags. It sets cfg.Faults.
func checkDemo(cfg *demo.Config, faults string) error {
	var wrong []error
	if cfg.IDs < 1 || cfg.IDs > maxDemoIDs {
		wrong = append(wrong, fmt.Errorf("--ids is %d, 1 to %d are allowed", cfg.IDs, maxDemoIDs))
	}
	if cfg.Users < 1 || cfg.Users > maxDemoIDs {
		wrong = append(wrong, fmt.Errorf("--users is %d, 1 to %d are allowed", cfg.Users, maxDemoIDs))
	}
	if cfg.Latency < 0 || cfg.Latency > time.Minute {
		wrong = append(wrong, fmt.Errorf("--latency is %s, 0s to 1m are allowed", cfg.Latency))
	}
	parsed, err := wechattest.ParseFaults(faults)
	if err != nil {
		wrong = append(wrong, fmt.Errorf("--faults: %w", err))
	}
	cfg.Faults = parsed
	if len(wrong) > 0 {
		return usageError{errors.Join(wrong...)}
	}
	return nil
}

// runDemo runs the demo with a progress bar, and prints the report.
func runDemo(ctx context.Context, s streams, cfg demo.Config, asJSON, serve bool) error {
	newLogger(io.Discard, config.Log{Level: "error"}) // go-redis would log errors when the embedded Redis stops
	bar := newBar(s.err, cfg.IDs)
	cfg.Progress = bar.show
	report := func(r demo.Report) error {
		bar.finish()
		return tellReport(s.out, cfg, r, asJSON)
	}
	if serve {
		return demo.Serve(ctx, cfg, func(r demo.Report, at demo.Addresses) error {
			if err := report(r); err != nil {
				return err
			}
			tellAddresses(s.err, at)
			return nil
		})
	}
	r, err := demo.Run(ctx, cfg)
	if err != nil {
		bar.finish()
		return err
	}
	return report(r)
}

// tellAddresses prints the addresses of the demo.
func tellAddresses(out io.Writer, at demo.Addresses) {
	fmt.Fprintf(out, "API        %s/openapi.yaml\n", at.API)
	fmt.Fprintf(out, "status     %s/\n", at.API)
	fmt.Fprintf(out, "dashboard  %s/monitoring/\n", at.API)
	fmt.Fprintf(out, "metrics    %s\n", at.Metrics)
	fmt.Fprintf(out, "Users keep tapping for an hour. Press Ctrl-C to stop.\n")
}

// tellReport prints the report. It returns an error if a record is wrong.
func tellReport(out io.Writer, cfg demo.Config, r demo.Report, asJSON bool) error {
	var err error
	if asJSON {
		err = json.NewEncoder(out).Encode(r)
	} else {
		err = printReport(out, cfg, r)
	}
	if err != nil {
		return err
	}
	if r.Wrong > 0 {
		return fmt.Errorf("%d records differ from what the simulator knows", r.Wrong)
	}
	return nil
}

func printReport(out io.Writer, cfg demo.Config, r demo.Report) error {
	percent := func(n int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(max(1, r.Accepted))) }
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.SetTitle("%d cloudIDs of %d users", r.Accepted, min(cfg.Users, cfg.IDs))
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}})
	t.AppendRows([]table.Row{
		{"resolved", r.Resolved, percent(r.Resolved)},
		{"failed", r.Failed, percent(r.Failed) + ", refused by WeChat"},
		{"expired", r.Expired, percent(r.Expired) + ", too old"},
	})
	t.AppendSeparator()
	t.AppendRows([]table.Row{
		{"requests", r.Requests, fmt.Sprintf("%.2f cloudIDs each", r.CloudIDsPerReq)},
		{"retries", r.Retries, "cloudIDs sent again"},
		{"p50", fmt.Sprintf("%.0f ms", r.P50Milliseconds), "from acceptance to final status"},
		{"p99", fmt.Sprintf("%.0f ms", r.P99Milliseconds), "after several faults"},
		{"took", fmt.Sprintf("%.1f s", r.Seconds), fmt.Sprintf("%.0f cloudIDs/s", float64(r.Accepted)/r.Seconds)},
	})
	t.AppendSeparator()
	result := "every record matches the simulator"
	if r.Wrong > 0 {
		result = "RECORDS DIFFER FROM THE SIMULATOR"
	}
	t.AppendRow(table.Row{"wrong", r.Wrong, result})
	faults := cfg.Faults.String()
	if faults == "" {
		faults = "none"
	}
	_, err := fmt.Fprintf(out, "%s\nfaults mixed in: %s\n", t.Render(), faults)
	return err
}

// bar is a progress bar on a terminal. Elsewhere it shows nothing.
type bar struct{ bar *progressbar.ProgressBar }

func newBar(out io.Writer, total int) bar {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return bar{}
	}
	return bar{progressbar.NewOptions(total,
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetDescription("resolving"),
		progressbar.OptionSetWidth(40),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("cloudIDs"),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.ThemeASCII), // ThemeUnicode needs a special font
	)}
}

func (b bar) show(done, _ int) {
	if b.bar != nil {
		_ = b.bar.Set(done) // a drawing error must not stop the demo
	}
}

func (b bar) finish() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}
