package app

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/internal/activity"
	"cloudidq/internal/backfill"
	"cloudidq/internal/coord"
	"cloudidq/internal/open"
	"cloudidq/internal/queue"
	"cloudidq/internal/status"
	"cloudidq/internal/wechat"
)

// newStatus creates the collector of the status page with its sources.
func newStatus(cfg *config.Config, rdb redis.UniversalClient, from *open.Records) *status.Collector {
	shown := status.Config{Lifetime: cfg.CloudIDLifetime}
	for _, app := range cfg.Apps {
		shown.Apps = append(shown.Apps, app.AppID)
	}
	for _, hook := range cfg.Webhooks {
		at := status.Webhook{Name: hook.Name, Apps: slices.Clone(hook.AppIDs)}
		for _, app := range cfg.Apps {
			if app.Webhook == hook.Name {
				at.Apps = append(at.Apps, app.AppID)
			}
		}
		shown.Webhooks = append(shown.Webhooks, at)
	}
	return status.New(shown, status.Sources{
		Activity: activity.NewReader(rdb), Pauses: coord.NewPauses(rdb), Deliveries: from.Deliveries, Explain: explain,
		Backfills: func(ctx context.Context) ([]status.BackfillStatus, error) { return shownBackfills(ctx, from.Backfills) },
		Queues: func(ctx context.Context) ([]queue.Snapshot, error) {
			return queue.TakeSnapshots(ctx, rdb, cfg.CloudIDLifetime)
		},
	})
}

const (
	backfillsLooked = 50 // number of newest backfills that are checked
	backfillsShown  = time.Hour
)

// shownBackfills returns the unfinished backfills and those that finished within the last hour.
func shownBackfills(ctx context.Context, backfills *backfill.Store) ([]status.BackfillStatus, error) {
	latest, err := backfills.Latest(ctx, backfillsLooked)
	if err != nil {
		return nil, err
	}
	var shown []status.BackfillStatus
	for _, b := range latest {
		if b.Finished() && time.Since(b.FinishedAt.Time) > backfillsShown {
			continue
		}
		shown = append(shown, status.BackfillStatus{
			AppID: b.AppID, State: string(b.State), Created: b.CreatedAt, Accepted: int64(b.Accepted), Rejected: int64(b.Rejected),
			Resolved: int64(b.Resolved), Failed: int64(b.Failed), Expired: int64(b.Expired),
		})
	}
	return shown, nil
}

// explain returns the meaning of an errcode and its remedy.
func explain(errcode int) (text, remedy string) {
	known, _ := wechat.LookupCode(errcode)
	return known.Text, known.Remedy
}
