package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/deliver"
	"cloudidq/store"
)

// newDeliveries returns the command group deliveries.
func newDeliveries(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deliveries",
		Short: "List, show and replay webhook deliveries",
		Example: "  cloudidq deliveries list --config cloudidq.yaml --status exhausted\n" +
			"  cloudidq deliveries replay --config cloudidq.yaml --endpoint orders",
		Args: takes(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDeliveriesList(s), newDeliveriesShow(s), newDeliveriesReplay(s))
	return cmd
}

// newDeliveriesList returns the command deliveries list.
func newDeliveriesList(s streams) *cobra.Command {
	var filter store.Filter
	var state string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list --config FILE",
		Short: "List deliveries",
		Long: "list shows the deliveries of all apps: first those that are not delivered, newest\n" +
			"first, then those delivered in the last hour.\n\n" +
			"A pending delivery is attempted again. A held delivery waits because its endpoint\n" +
			"is disabled. An exhausted delivery has failed at every attempt of the schedule.\n" +
			"Deliveries are kept for 7 days.",
		Example: "  cloudidq deliveries list --config cloudidq.yaml --endpoint orders --status held",
		Args:    takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	flags := cmd.Flags()
	flags.StringVar(&filter.AppID, "appid", "", "only deliveries of this app")
	flags.StringVar(&filter.Endpoint, "endpoint", "", "only deliveries to this webhook")
	flags.StringVar(&state, "status", "",
		"only deliveries with this status: pending, delivered, held or exhausted")
	flags.IntVar(&limit, "limit", 100, "maximum number of deliveries; 0 = all")
	flags.BoolVar(&asJSON, "json", false, "print NDJSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter.State = store.DeliveryState(state)
		var faults []error
		if state != "" && !slices.Contains(store.DeliveryStates, filter.State) {
			faults = append(faults,
				fmt.Errorf("--status must be pending, delivered, held or exhausted, is %q", state))
		}
		if limit < 0 {
			faults = append(faults, errors.New("--limit must not be negative"))
		}
		if filter.AppID != "" {
			faults = append(faults, wrongAppID("--appid", filter.AppID))
		}
		if filter.Endpoint != "" {
			faults = append(faults, wrongName("--endpoint", filter.Endpoint))
		}
		if err := usage(faults...); err != nil {
			return err
		}
		return withDeliveries(cmd, s, *path, func(_ redis.UniversalClient, d *store.Deliveries) error {
			// Listing stops at the limit.
			var all []store.Delivery
			err := d.List(cmd.Context(), filter, func(one store.Delivery) bool {
				all = append(all, one)
				return limit == 0 || len(all) < limit
			})
			if err != nil {
				return err
			}
			if asJSON {
				return printDeliveries(s, all)
			}
			return printDeliveriesTable(s, all)
		})
	}
	return cmd
}

// withDeliveries is withRedis for deliveries. Their content stays sealed, so no keyset is
// needed.
func withDeliveries(
	cmd *cobra.Command, s streams, path string, use func(redis.UniversalClient, *store.Deliveries) error,
) error {
	cfg, err := config.Load(path, s.lookupEnv)
	if err != nil {
		return err
	}
	return useDeliveries(cmd, s, cfg, use)
}

// useDeliveries is withDeliveries for a configuration that is already loaded.
func useDeliveries(
	cmd *cobra.Command, s streams, cfg *config.Config, use func(redis.UniversalClient, *store.Deliveries) error,
) error {
	return withRedis(cmd.Context(), s, cfg, func(rdb redis.UniversalClient) error {
		return use(rdb, store.NewDeliveries(rdb))
	})
}

// printDeliveries prints deliveries as NDJSON.
func printDeliveries(s streams, all []store.Delivery) error {
	enc := json.NewEncoder(s.out)
	for i := range all {
		if err := enc.Encode(&all[i]); err != nil {
			return fmt.Errorf("writing the deliveries: %w", err)
		}
	}
	return nil
}

// printDeliveriesTable prints deliveries as a table.
func printDeliveriesTable(s streams, all []store.Delivery) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.AppendHeader(table.Row{"delivery", "app", "endpoint", "status", "results", "attempts",
		"created", "next"})
	for i := range all {
		d := &all[i]
		next := ""
		if !d.Next.IsZero() {
			next = d.Next.Local().Format(time.DateTime)
		}
		created := d.Created.Local().Format(time.DateTime)
		t.AppendRow(table.Row{d.ID, d.AppID, d.Endpoint, d.State, d.Results, d.Tried, created, next})
	}
	_, err := fmt.Fprintln(s.out, t.Render())
	return err
}

// newDeliveriesShow returns the command deliveries show.
func newDeliveriesShow(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show --config FILE ID…",
		Short: "Show deliveries and their attempts as JSON",
		Long: "show prints deliveries with their last 20 attempts: HTTP status, error class and\n" +
			"duration. It does not show the bodies of requests and responses.",
		Example: "  cloudidq deliveries show --config cloudidq.yaml msg_…",
		Args:    takes(cobra.MinimumNArgs(1)),
	}
	path := configFlag(cmd, s)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		return withDeliveries(cmd, s, *path, func(_ redis.UniversalClient, d *store.Deliveries) error {
			// Print the deliveries that exist, even if others do not.
			var all []store.Delivery
			var faults []error
			for _, id := range ids {
				one, err := d.Get(cmd.Context(), id)
				if err != nil {
					faults = append(faults, fmt.Errorf("%q: %w", id, err))
					continue
				}
				all = append(all, one)
			}
			return errors.Join(append(faults, printDeliveries(s, all))...)
		})
	}
	return cmd
}

// newDeliveriesReplay returns the command deliveries replay.
func newDeliveriesReplay(s streams) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "replay --config FILE {ID… | --endpoint NAME}",
		Short: "Replay deliveries, or enable an endpoint and replay what it missed",
		Long: "replay enqueues deliveries again and restarts their retry schedule. With\n" +
			"--endpoint, it enables a disabled webhook and replays the deliveries that it has\n" +
			"missed.",
		Example: "  cloudidq deliveries replay --config cloudidq.yaml msg_…\n" +
			"  cloudidq deliveries replay --config cloudidq.yaml --endpoint orders",
		Args: takes(cobra.ArbitraryArgs),
	}
	path := configFlag(cmd, s)
	cmd.Flags().StringVar(&endpoint, "endpoint", "",
		"enable this webhook and replay the deliveries that it has missed")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if (endpoint == "") == (len(ids) == 0) {
			return usagef("either delivery ids or --endpoint must be given")
		}
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		// Only a configured endpoint can be enabled.
		if _, found := cfg.Webhook(endpoint); endpoint != "" && !found {
			return usagef("--endpoint is not among the webhooks of the configuration")
		}
		return useDeliveries(cmd, s, cfg, func(rdb redis.UniversalClient, d *store.Deliveries) error {
			replayer := deliver.NewReplayer(
				d, asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb))
			if endpoint != "" {
				n, err := replayer.ReplayEndpoint(cmd.Context(), endpoint)
				fmt.Fprintf(s.err, "%s is enabled; replayed: %d\n", endpoint, n)
				return err
			}
			// Replay as many deliveries as possible, and report the others together.
			var faults []error
			for _, id := range ids {
				if err := replay(cmd.Context(), cfg, d, replayer, id); err != nil {
					faults = append(faults, fmt.Errorf("%q: %w", id, err))
					continue
				}
				fmt.Fprintf(s.err, "%s is enqueued\n", id)
			}
			return errors.Join(faults...)
		})
	}
	return cmd
}

// replay restarts a delivery, unless its endpoint no longer accepts results of the app.
func replay(
	ctx context.Context, cfg *config.Config, d *store.Deliveries, replayer *deliver.Replayer, id string,
) error {
	delivery, err := d.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := cfg.MayName(delivery.AppID, delivery.Endpoint, false); err != nil {
		return fmt.Errorf("its endpoint %w", err)
	}
	return replayer.Replay(ctx, id)
}
