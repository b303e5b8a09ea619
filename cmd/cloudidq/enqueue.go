package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/app"
	"cloudidq/internal/open"
	"cloudidq/store"
	"cloudidq/tasks"
)

// enqueueFlags holds the flags of the command enqueue.
type enqueueFlags struct {
	config     *string
	appID      string
	openID     string
	queue      string
	obtainedAt string
	reference  string
	webhook    string
	wait       time.Duration
}

// newEnqueue returns the command enqueue.
func newEnqueue(s streams) *cobra.Command {
	var f enqueueFlags
	cmd := &cobra.Command{
		Use:   "enqueue --config FILE --appid APPID [flags] CLOUDID…",
		Short: "Enqueue up to 100 cloudIDs of one user",
		Long: "enqueue returns when Redis has stored the cloudIDs. With --wait, it waits until\n" +
			"all of them are finished and prints their records as NDJSON. The exit status is\n" +
			"then 1 if the wait times out or a cloudID is not resolved.",
		Example: "  cloudidq enqueue --config cloudidq.yaml --appid wx0000000000000001 --openid oUser --wait 10s 73_…",
		Args:    takes(cobra.MinimumNArgs(1)),
	}
	f.config = configFlag(cmd, s)
	flags := cmd.Flags()
	flags.StringVar(&f.appID, "appid", "", "appid of the mini program")
	flags.StringVar(&f.openID, "openid", "", "openid of the user that the cloudIDs belong to")
	flags.StringVar(&f.queue, "queue", tasks.QueueEvents, "queue: events or backfill")
	flags.StringVar(&f.obtainedAt, "obtained-at", "",
		"when the front end obtained the cloudIDs, such as 2026-11-22T08:00:00Z (default now)")
	flags.StringVar(&f.reference, "reference", "",
		"your own reference, which is copied to the records")
	flags.StringVar(&f.webhook, "webhook", "",
		"endpoint for the results, instead of the app's default")
	flags.DurationVar(&f.wait, "wait", 0, "wait at most this long for the records and print them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := config.Load(*f.config, s.lookupEnv)
		if err != nil {
			return err
		}
		req, err := f.request(cfg, args)
		if err != nil {
			return err
		}
		if f.wait == 0 {
			return withRedis(cmd.Context(), s, cfg, func(rdb redis.UniversalClient) error {
				return enqueue(cmd.Context(), s, cfg, rdb, req)
			})
		}
		return withRecords(cmd.Context(), s, cfg, func(rdb redis.UniversalClient, records *open.Records) error {
			ids := cloudIDsOf(req.Items)
			// A final status from an earlier request must not complete the wait.
			before, err := store.FinalsSoFar(cmd.Context(), records, req.AppID, ids)
			if err != nil {
				return fmt.Errorf("nothing was enqueued: %w", err)
			}
			if err := enqueue(cmd.Context(), s, cfg, rdb, req); err != nil {
				return err
			}
			return awaitRecords(cmd.Context(), s, records, req.AppID, ids, before, f.wait)
		})
	}
	return cmd
}

// request converts the flags and cloudIDs to a request. Its error lists every problem with them.
func (f *enqueueFlags) request(cfg *config.Config, cloudIDs []string) (tasks.Request, error) {
	faults := []error{wrongApp(cfg, f.appID), wrongWebhook(cfg, f.appID, f.webhook)}
	var obtained time.Time
	if f.obtainedAt != "" {
		t, err := time.Parse(time.RFC3339, f.obtainedAt)
		if err != nil {
			faults = append(faults, errors.New("--obtained-at must be a time such as 2026-11-22T08:00:00Z"))
		}
		obtained = t
	}
	if f.wait < 0 {
		faults = append(faults, errors.New("--wait must not be negative"))
	}
	if f.queue != "" && f.queue != tasks.QueueEvents && f.queue != tasks.QueueBackfill {
		faults = append(faults, fmt.Errorf("--queue must be %s or %s", tasks.QueueEvents, tasks.QueueBackfill))
	}
	req := tasks.Request{AppID: f.appID, Queue: f.queue, Webhook: f.webhook}
	// All cloudIDs share the flags. The queue's own rules apply to them, too.
	for _, id := range cloudIDs {
		req.Items = append(req.Items, tasks.Item{
			CloudID: id, OpenID: f.openID, ObtainedAt: obtained, Reference: f.reference,
		})
	}
	if err := checkItems(req.Items); err != nil {
		faults = append(faults, err)
	}
	return req, usage(faults...)
}

// checkItems rejects items that the queue would reject, for any app.
func checkItems(items []tasks.Item) error {
	p := tasks.ResolvePayload{AppID: "any", Items: items}
	return p.Validate()
}

// enqueue sends the request to the queue and reports the number of enqueued cloudIDs.
func enqueue(
	ctx context.Context, s streams, cfg *config.Config, rdb redis.UniversalClient, req tasks.Request,
) error {
	tel, err := app.OpenTelemetry(ctx, cfg, options(s), true)
	if err != nil {
		return err
	}
	defer tel.Shutdown()
	// Do not linger: no other call can share the task.
	client := tasks.NewClient(rdb, tasks.Options{CommitLinger: -1, Tracers: tel.Tracers})
	defer client.Close()
	receipt, err := client.Resolve(ctx, req)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "enqueued for %s: %d\n", req.AppID, receipt.Enqueued)
	return nil
}

// awaitRecords waits for the final records and prints them. It returns an error if the wait
// times out or a record is not resolved. before holds the earlier final statuses, which do not
// count.
func awaitRecords(
	ctx context.Context, s streams, results store.Results, appID string, ids []string,
	before store.EarlierFinals, wait time.Duration,
) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	// If the wait times out, print the records that are final by then.
	records, err := store.Wait(ctx, results, appID, ids, before)
	if printed := printRecords(s.out, records); printed != nil {
		return printed
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("not all cloudIDs finished within %s; they remain in the queue", wait)
	case err != nil:
		return err
	}
	// The exit status is 1 if not every cloudID is resolved.
	unresolved := 0
	for _, rec := range records {
		if rec.Status != store.Resolved {
			unresolved++
		}
	}
	if unresolved > 0 {
		return fmt.Errorf("not resolved: %d of %d", unresolved, len(records))
	}
	return nil
}

// cloudIDsOf lists each cloudID once, because a repeated cloudID has one record.
func cloudIDsOf(items []tasks.Item) []string {
	seen := make(map[string]bool, len(items))
	var ids []string
	for _, it := range items {
		if !seen[it.CloudID] {
			seen[it.CloudID] = true
			ids = append(ids, it.CloudID)
		}
	}
	return ids
}
