package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/coord"
	"cloudidq/internal/doctor"
	"cloudidq/internal/open"
	"cloudidq/internal/secret"
	"cloudidq/store"
)

// newDoctor returns the command doctor.
func newDoctor(s streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor --config FILE",
		Short: "Check Redis, the store, the API keys, the apps and the webhooks",
		Long: "doctor checks the services that cloudidq depends on and prints one line per check:\n" +
			"ok, warn or FAIL, with a remedy. The exit status is 1 if a check fails.\n\n" +
			"For each app, doctor requests the token and the quota from WeChat and sends one\n" +
			"request with an invented cloudID to /wxa/getopendata, which counts towards the\n" +
			"app's quota. It connects to each webhook but sends nothing.",
		Example: "  cloudidq doctor --config cloudidq.yaml\n" +
			"  cloudidq doctor --config cloudidq.yaml --json | " +
			"jq '.findings[] | select(.level != \"ok\")'",
		Args: takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadWithSecrets(*path, s)
		if err != nil {
			return err
		}
		findings, err := examine(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		if err := printFindings(s.out, findings, asJSON); err != nil {
			return fmt.Errorf("writing the findings: %w", err)
		}
		if doctor.Failed(findings) {
			return errors.New("some checks failed")
		}
		return nil
	}
	return cmd
}

// examine runs all checks. If Redis is down, that is one of the findings and not an error.
func examine(ctx context.Context, cfg *config.Config) ([]doctor.Finding, error) {
	newLogger(io.Discard, config.Log{Level: "error"}) // go-redis would log what the findings report
	rdb, err := cfg.Redis.Open(open.NeverRepeat)
	if errors.Is(err, config.ErrEmbedded) {
		return nil, cfg.Refuse("redis.url",
			errors.New("is embedded, so there is no server to check; doctor requires the URL of a server"))
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = rdb.Close() }()
	// Open what the checks use. Nothing connects yet.
	access, err := open.WeChat(cfg, coord.NewTokens(rdb))
	if err != nil {
		return nil, err
	}
	defer access.Client.Close()
	hooks, closeWebhooks, err := open.Webhooks(cfg, open.UserAgent(version))
	if err != nil {
		return nil, err
	}
	defer closeWebhooks()
	apps, err := appChecks(cfg, access, rdb)
	if err != nil {
		return nil, err
	}
	checks := append(serverChecks(cfg, rdb), apps...)
	for _, hook := range hooks {
		checks = append(checks, webhookCheck(hook, store.NewDeliveries(rdb)))
	}
	return withoutCredentials(doctor.Run(ctx, checks)), nil
}

// withoutCredentials redacts credentials of URLs that a library's error may have quoted.
func withoutCredentials(findings []doctor.Finding) []doctor.Finding {
	for i := range findings {
		findings[i].Message = secret.URLsIn(findings[i].Message)
	}
	return findings
}

// printFindings prints the findings as one JSON object or as one line each.
func printFindings(out io.Writer, findings []doctor.Finding, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]any{"ok": !doctor.Failed(findings), "findings": findings})
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		text := f.Message
		if f.Remedy != "" {
			text += "; to do: " + f.Remedy
		}
		// One line per finding: the text of a server may contain line breaks.
		text = strings.Join(strings.Fields(text), " ")
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\n", f.Level, f.Check, text); err != nil {
			return err
		}
	}
	return w.Flush()
}

// serverChecks returns the checks of the servers that hold queues and results, and of the API.
func serverChecks(cfg *config.Config, rdb redis.UniversalClient) []doctor.Check {
	checks := []doctor.Check{
		doctor.Redis(func(ctx context.Context) ([]store.RedisState, error) {
			return inspectRedis(ctx, rdb)
		}),
		doctor.Queues(func(ctx context.Context) ([]doctor.QueueState, error) {
			return inspectQueues(ctx, cfg, rdb)
		}),
		doctor.Sealing(cfg.Store.Encryption != config.EncryptionOff, func() error {
			_, err := store.ParseKeyset(cfg.Store.Keyset.Text().Reveal())
			return err
		}, func(ctx context.Context) (store.Sealing, error) { return inspectSealing(ctx, cfg, rdb) }),
		apiCheck(cfg),
	}
	if cfg.Store.Driver == config.DriverPostgres {
		checks = append(checks, doctor.Postgres(func(ctx context.Context) (store.PostgresState, error) {
			return store.InspectPostgres(ctx, cfg.Store.DSN.Text().Reveal())
		}))
	}
	return checks
}

// appChecks returns the checks of the platforms and apps.
func appChecks(
	cfg *config.Config, access *open.Access, rdb redis.UniversalClient,
) ([]doctor.Check, error) {
	var checks []doctor.Check
	for _, component := range cfg.Components {
		checks = append(checks, doctor.Component(component.AppID, access.Platforms[component.AppID]))
	}
	pauses := coord.NewPauses(rdb)
	for _, one := range cfg.Apps {
		tokens, err := access.TokenSource(one)
		if err != nil {
			return nil, err
		}
		checked := doctor.App{AppID: one.AppID, Mode: one.Token.Mode, Tokens: tokens}
		checks = append(checks, doctor.WeChat(access.Client, checked, pauses.List))
	}
	return checks, nil
}
