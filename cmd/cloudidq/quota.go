package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/coord"
	"cloudidq/internal/open"
	"cloudidq/internal/wechat"
)

// appQuota is the output of `apps quota` for one app.
type appQuota struct {
	AppID          string `json:"appid"`
	DailyLimit     int64  `json:"daily_limit"`
	Used           int64  `json:"used"`
	Remain         int64  `json:"remain"`
	Calls          int64  `json:"call_count,omitempty"`
	RefreshSeconds int64  `json:"refresh_second,omitempty"`
	Error          string `json:"error,omitempty"`
	Remedy         string `json:"remedy,omitempty"`
}

// newAppsQuota returns the command apps quota.
func newAppsQuota(s streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "quota --config FILE [APPID…]",
		Short: "Request the quota of /wxa/getopendata from WeChat",
		Long: "quota requests the quotas of all apps of the configuration, or of the given apps.\n" +
			"It requires the app's token and does not count towards the quota. The exit status\n" +
			"is 1 if the quota of an app is unavailable.",
		Example: "  cloudidq apps quota --config cloudidq.yaml wx0000000000000001",
		Args:    takes(cobra.ArbitraryArgs),
	}
	path := configFlag(cmd, s)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		if err := checkAppIDs(args); err != nil {
			return err
		}
		apps, err := appsNamed(cfg, args)
		if err != nil {
			return err
		}
		// The tokens require the secrets of the apps.
		if err := cfg.ResolveSecrets(); err != nil {
			return err
		}
		return withRedis(cmd.Context(), s, cfg, func(rdb redis.UniversalClient) error {
			quotas, failed, err := requestQuotas(cmd.Context(), cfg, rdb, apps)
			if err != nil {
				return err
			}
			if err := printQuotas(s.out, quotas, asJSON); err != nil {
				return err
			}
			if failed > 0 {
				return fmt.Errorf("quota unavailable: %d of %d apps", failed, len(quotas))
			}
			return nil
		})
	}
	return cmd
}

// appsNamed returns the indexes of the apps with these appids, or of all apps if there are no
// appids.
func appsNamed(cfg *config.Config, appIDs []string) ([]int, error) {
	var at []int
	var faults []error
	for i := range cfg.Apps {
		if len(appIDs) == 0 {
			at = append(at, i)
		}
	}
	for _, id := range appIDs {
		found := false
		for i, app := range cfg.Apps {
			if app.AppID == id {
				at, found = append(at, i), true
			}
		}
		if !found {
			faults = append(faults, fmt.Errorf("%s is not among the apps of the configuration", id))
		}
	}
	if len(faults) > 0 {
		return nil, usageError{errors.Join(faults...)}
	}
	return at, nil
}

// requestQuotas requests the quota of each app at these indexes. failed is the number of apps whose
// quota is unavailable.
func requestQuotas(
	ctx context.Context, cfg *config.Config, rdb redis.UniversalClient, at []int,
) (quotas []appQuota, failed int, err error) {
	// The tokens are shared with the workers, so this command normally fetches none.
	access, err := open.WeChat(cfg, coord.NewTokens(rdb))
	if err != nil {
		return nil, 0, err
	}
	defer access.Client.Close()
	for _, i := range at {
		one := cfg.Apps[i]
		tokens, err := access.TokenSource(one)
		if err != nil {
			return nil, 0, err
		}
		// A failed request must not hide the quotas of the other apps.
		got, err := access.Client.Quota(ctx, tokens)
		quota := appQuota{
			AppID: one.AppID, DailyLimit: got.DailyLimit, Used: got.Used, Remain: got.Remain,
			Calls: got.Calls, RefreshSeconds: got.RefreshSeconds,
		}
		if err != nil {
			failed++
			quota.Error, quota.Remedy = describe(err)
		}
		quotas = append(quotas, quota)
	}
	return quotas, failed, nil
}

// describe returns the text of an error. If WeChat returned the error, it also returns the remedy.
func describe(err error) (text, remedy string) {
	failure, ok := errors.AsType[*wechat.Error](err)
	if !ok {
		return err.Error(), ""
	}
	if known, ok := wechat.LookupCode(failure.Code); ok {
		remedy = known.Remedy
	}
	return fmt.Sprintf("%d %s", failure.Code, failure.Message), remedy
}

func printQuotas(out io.Writer, quotas []appQuota, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		for _, quota := range quotas {
			if err := enc.Encode(quota); err != nil {
				return fmt.Errorf("writing the quotas: %w", err)
			}
		}
		return nil
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.AppendHeader(table.Row{"app", "daily limit", "used", "remain", "calls / seconds", "error", "remedy"})
	for _, q := range quotas {
		rate := ""
		if q.RefreshSeconds > 0 {
			rate = fmt.Sprintf("%d / %d", q.Calls, q.RefreshSeconds)
		}
		if q.Error != "" {
			t.AppendRow(table.Row{q.AppID, "", "", "", "", q.Error, q.Remedy})
			continue
		}
		t.AppendRow(table.Row{q.AppID, q.DailyLimit, q.Used, q.Remain, rate})
	}
	_, err := fmt.Fprintln(out, t.Render())
	return err
}
