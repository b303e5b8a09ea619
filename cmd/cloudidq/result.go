package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/open"
	"cloudidq/store"
	"cloudidq/tasks"
)

// newResult returns the command result.
func newResult(s streams) *cobra.Command {
	var appID string
	cmd := &cobra.Command{
		Use:   "result --config FILE --appid APPID CLOUDID…",
		Short: "Print the records of cloudIDs as NDJSON",
		Long: "result prints one line per known cloudID, in the given order. The exit status is 1\n" +
			"if a cloudID is unknown.",
		Example: "  cloudidq result --config cloudidq.yaml --appid wx0000000000000001 73_… | jq .data",
		Args:    takes(cobra.MinimumNArgs(1)),
	}
	path := configFlag(cmd, s)
	cmd.Flags().StringVar(&appID, "appid", "", "appid of the mini program")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		if err := checkResult(cfg, appID, args); err != nil {
			return err
		}
		return withRecords(cmd.Context(), s, cfg, func(_ redis.UniversalClient, records *open.Records) error {
			found, err := records.Lookup(cmd.Context(), appID, args)
			if err != nil {
				return errors.Join(printRecords(s.out, found), err)
			}
			return printFound(s.out, found)
		})
	}
	return cmd
}

// checkResult rejects cloudIDs that could not have been enqueued.
func checkResult(cfg *config.Config, appID string, ids []string) error {
	faults := []error{wrongApp(cfg, appID)}
	items := make([]tasks.Item, len(ids))
	for i, id := range ids {
		items[i].CloudID = id
	}
	if err := checkItems(items); err != nil {
		faults = append(faults, err)
	}
	return usage(faults...)
}

// printFound prints the known records. It returns an error if a cloudID is unknown.
func printFound(out io.Writer, records []store.Record) error {
	unknown := 0
	for _, rec := range records {
		if rec.Status == "" {
			unknown++
		}
	}
	if err := printRecords(out, records); err != nil {
		return err
	}
	if unknown > 0 {
		return fmt.Errorf("unknown cloudIDs: %d of %d", unknown, len(records))
	}
	return nil
}

// printRecords writes the known records, one per line.
func printRecords(out io.Writer, records []store.Record) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for _, rec := range records {
		if rec.Status == "" {
			continue
		}
		if err := enc.Encode(rec); err != nil {
			return fmt.Errorf("writing the records: %w", err)
		}
	}
	return nil
}
