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
	"cloudidq/store"
	"cloudidq/worker"
)

// newDeliveries returns the command group deliveries.
func newDeliveries(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deliveries",
		Short: "Show webhook deliveries, and replay them",
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
		Long: "list shows the deliveries of all apps: those that have not arrived, the newest first, then those of the last hour\n" +
			"that have. pending ones are tried again, held ones wait because their endpoint is disabled, exhausted ones have\n" +
			"failed as often as the schedule has it; each is kept for 7 days.",
		Example: "  cloudidq deliveries list --config cloudidq.yaml --endpoint orders --status held",
		Args:    takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	flags := cmd.Flags()
	flags.StringVar(&filter.AppID, "appid", "", "only those of this app")
	flags.StringVar(&filter.Endpoint, "endpoint", "", "only those to this webhook")
	flags.StringVar(&state, "status", "", "only pending, delivered, held or exhausted ones")
	flags.IntVar(&limit, "limit", 100, "how many at most; 0 = all")
	flags.BoolVar(&asJSON, "json", false, "print NDJSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter.State = store.DeliveryState(state)
		var faults []error
		if state != "" && !slices.Contains(store.DeliveryStates, filter.State) {
			faults = append(faults, fmt.Errorf("--status is %q, want pending, delivered, held or exhausted", state))
		}
		if limit < 0 {
			faults = append(faults, errors.New("--limit is negative"))
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

func printDeliveries(s streams, all []store.Delivery) error {
	enc := json.NewEncoder(s.out)
	for i := range all {
		if err := enc.Encode(&all[i]); err != nil {
			return fmt.Errorf("writing the deliveries: %w", err)
		}
	}
	return nil
}

func printDeliveriesTable(s streams, all []store.Delivery) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.AppendHeader(table.Row{"delivery", "app", "endpoint", "status", "results", "tried", "created", "next"})
	for i := range all {
		d := &all[i]
		next := ""
		if !d.Next.IsZero() {
			next = d.Next.Local().Format(time.DateTime)
		}
		t.AppendRow(table.Row{d.ID, d.AppID, d.Endpoint, d.State, d.Results, d.Tried, d.Created.Local().Format(time.DateTime), next})
	}
	_, err := fmt.Fprintln(s.out, t.Render())
	return err
}

// newDeliveriesShow returns the command deliveries show.
func newDeliveriesShow(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show --config FILE ID…",
		Short:   "Show deliveries with their attempts, as JSON",
		Long:    "show prints what is known of deliveries and of their last 20 attempts: HTTP status, class of the error, duration.\nNeither what was sent nor what the endpoint answered is shown.",
		Example: "  cloudidq deliveries show --config cloudidq.yaml msg_…",
		Args:    takes(cobra.MinimumNArgs(1)),
	}
	path := configFlag(cmd, s)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		return withDeliveries(cmd, s, *path, func(_ redis.UniversalClient, d *store.Deliveries) error {
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
		Short: "Let deliveries begin anew, and enable an endpoint",
		Long: "replay puts deliveries into the queue again, with the whole schedule before them. With --endpoint it enables a\n" +
			"webhook that has been disabled, and replays all that it has missed.",
		Example: "  cloudidq deliveries replay --config cloudidq.yaml msg_…\n  cloudidq deliveries replay --config cloudidq.yaml --endpoint orders",
		Args:    takes(cobra.ArbitraryArgs),
	}
	path := configFlag(cmd, s)
	cmd.Flags().StringVar(&endpoint, "endpoint", "", "enable this webhook and replay what it has missed")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if (endpoint == "") == (len(ids) == 0) {
			return usagef("give the ids of deliveries, or --endpoint")
		}
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		if _, found := cfg.Webhook(endpoint); endpoint != "" && !found {
			return usagef("--endpoint is not among the webhooks of the configuration")
		}
		return useDeliveries(cmd, s, cfg, func(rdb redis.UniversalClient, d *store.Deliveries) error {
			replayer := worker.NewReplayer(d, asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb))
			if endpoint != "" {
				n, err := replayer.ReplayEndpoint(cmd.Context(), endpoint)
				fmt.Fprintf(s.err, "%s is enabled; replayed: %d\n", endpoint, n)
				return err
			}
			var faults []error
			for _, id := range ids {
				if err := replay(cmd.Context(), cfg, d, replayer, id); err != nil {
					faults = append(faults, fmt.Errorf("%q: %w", id, err))
					continue
				}
				fmt.Fprintf(s.err, "%s is on its way\n", id)
			}
			return errors.Join(faults...)
		})
	}
	return cmd
}

// replay restarts a delivery, unless its endpoint no longer accepts results of the app.
func replay(ctx context.Context, cfg *config.Config, d *store.Deliveries, replayer *worker.Replayer, id string) error {
	row, err := d.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := cfg.MayName(row.AppID, row.Endpoint, false); err != nil {
		return fmt.Errorf("its endpoint %w", err)
	}
	return replayer.Replay(ctx, id)
}
