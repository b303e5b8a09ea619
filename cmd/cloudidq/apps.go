package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/coord"
	"cloudidq/internal/wechat"
)

// newApps returns the command group apps.
func newApps(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apps",
		Short: "List the apps with their pauses, and resume paused apps",
		Example: "  cloudidq apps list --config cloudidq.yaml\n" +
			"  cloudidq apps resume --config cloudidq.yaml wx0000000000000001",
		Args: takes(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAppsList(s), newAppsQuota(s), newAppsResume(s))
	return cmd
}

// appState is the output of `apps list` for one app.
type appState struct {
	AppID string `json:"appid"`
	// State is running, paused, or probing: the pause has expired and one request tests the app.
	State  string       `json:"state"`
	Pause  *coord.Pause `json:"pause,omitempty"`
	Remedy string       `json:"remedy,omitempty"`
}

// newAppsList returns the command apps list.
func newAppsList(s streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list --config FILE",
		Short: "List the apps and their pauses",
		Long: "list shows every app of the configuration. If WeChat reports an exhausted quota or\n" +
			"a missing permission, the app is paused for all workers. Its tasks wait in the\n" +
			"queue until the pause expires and a single request succeeds.",
		Example: "  cloudidq apps list --config cloudidq.yaml --json | jq 'select(.state != \"running\")'",
		Args:    takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		return withRedis(cmd.Context(), s, cfg, func(rdb redis.UniversalClient) error {
			paused, err := coord.NewPauses(rdb).List(cmd.Context())
			if err != nil {
				return err
			}
			states := appStates(cfg.Apps, paused, time.Now())
			if asJSON {
				return printAppsJSON(s.out, states)
			}
			return printAppsTable(s.out, states)
		})
	}
	return cmd
}

// appStates lists the apps of the configuration, followed by paused apps that are not in the
// configuration.
func appStates(apps []config.App, paused []coord.Pause, now time.Time) []appState {
	byApp := make(map[string]*coord.Pause, len(paused))
	for i := range paused {
		byApp[paused[i].AppID] = &paused[i]
	}
	var states []appState
	for _, app := range apps {
		states = append(states, appStateOf(app.AppID, byApp[app.AppID], now))
		delete(byApp, app.AppID)
	}
	// The remaining pauses belong to apps outside of the configuration, such as merchants' apps.
	for _, p := range paused {
		if byApp[p.AppID] != nil {
			states = append(states, appStateOf(p.AppID, &p, now))
		}
	}
	return states
}

// appStateOf returns the state of one app. p is nil if the app is not paused.
func appStateOf(appID string, p *coord.Pause, now time.Time) appState {
	if p == nil {
		return appState{AppID: appID, State: "running"}
	}
	state := appState{AppID: appID, State: "paused", Pause: p}
	// The pause is stored until a request has tested the app.
	if !p.Until.After(now) {
		state.State = "probing"
	}
	if known, ok := wechat.LookupCode(p.Code); ok {
		state.Remedy = known.Remedy
	}
	return state
}

func printAppsJSON(out io.Writer, states []appState) error {
	enc := json.NewEncoder(out)
	for _, state := range states {
		if err := enc.Encode(state); err != nil {
			return fmt.Errorf("writing the apps: %w", err)
		}
	}
	return nil
}

func printAppsTable(out io.Writer, states []appState) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.AppendHeader(table.Row{"app", "state", "until", "errcode", "reason", "remedy"})
	for _, state := range states {
		if state.Pause == nil {
			t.AppendRow(table.Row{state.AppID, state.State})
			continue
		}
		p := state.Pause
		t.AppendRow(table.Row{
			state.AppID, state.State, p.Until.Local().Format(time.DateTime), p.Code,
			fmt.Sprintf("%s, %d in a row", p.Reason, p.Times), state.Remedy,
		})
	}
	_, err := fmt.Fprintln(out, t.Render())
	return err
}

// newAppsResume returns the command apps resume.
func newAppsResume(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume --config FILE APPID…",
		Short: "Resume paused apps immediately",
		Long: "resume removes the pauses of apps. Workers send requests again within a second,\n" +
			"and waiting tasks run within 20 seconds. If the cause persists, the next request\n" +
			"pauses the app again.",
		Example: "  cloudidq apps resume --config cloudidq.yaml wx0000000000000001",
		Args:    takes(cobra.MinimumNArgs(1)),
	}
	path := configFlag(cmd, s)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		if err := checkAppIDs(args); err != nil {
			return err
		}
		return withRedis(cmd.Context(), s, cfg, func(rdb redis.UniversalClient) error {
			return resume(cmd.Context(), s, cfg, coord.NewPauses(rdb), args)
		})
	}
	return cmd
}

// checkAppIDs rejects invalid appids. Its error names them by their position among the
// arguments.
func checkAppIDs(args []string) error {
	var faults []error
	for i, appID := range args {
		faults = append(faults, wrongAppID(fmt.Sprintf("APPID %d", i+1), appID))
	}
	return usage(faults...)
}

// resume accepts any appid, because merchants of a third-party platform are not in the
// configuration.
func resume(
	ctx context.Context, s streams, cfg *config.Config, pauses *coord.Pauses, appIDs []string,
) error {
	// If the app is unknown and was not paused, the appid may be mistyped.
	for _, appID := range appIDs {
		lifted, err := pauses.Lift(ctx, appID)
		if err != nil {
			return err
		}
		_, known := cfg.App(appID)
		switch {
		case lifted:
			fmt.Fprintf(s.err, "%s is resumed\n", appID)
		case known:
			fmt.Fprintf(s.err, "%s was not paused\n", appID)
		default:
			fmt.Fprintf(s.err, "%s was not paused, and is not among the apps of the configuration\n", appID)
		}
	}
	return nil
}
