package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/open"
	"cloudidq/internal/queue"
	"cloudidq/tasks"
)

// newErase returns the command erase.
func newErase(s streams) *cobra.Command {
	var appID, openID string
	var former bool
	cmd := &cobra.Command{
		Use:   "erase --config FILE --appid APPID --openid OPENID",
		Short: "Remove all stored data of one user",
		Long: "erase removes all records of one user of an app and prints their number. It also\n" +
			"removes the user's cloudIDs from queued tasks. An erased cloudID remains unknown\n" +
			"for store.result_ttl, even if a request for it is in flight or it is submitted\n" +
			"again. New cloudIDs of the user are resolved as usual.\n\n" +
			"If the app is no longer in the configuration, add --former-app. Its records exist\n" +
			"for up to store.result_ttl.",
		Example: "  cloudidq erase --config cloudidq.yaml --appid wx0000000000000001 --openid oUser\n" +
			"  cloudidq erase --config cloudidq.yaml --appid wx0000000000000009 --former-app --openid oUser",
		Args: takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	cmd.Flags().StringVar(&appID, "appid", "", "appid of the mini program")
	cmd.Flags().StringVar(&openID, "openid", "", "openid of the user")
	cmd.Flags().BoolVar(&former, "former-app", false,
		"accept an app that is no longer in the configuration")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		if err := checkSubject(cfg, appID, openID, former); err != nil {
			return err
		}
		return withRecords(cmd.Context(), s, cfg, func(rdb redis.UniversalClient, records *open.Records) error {
			// The eraser removes the records, and the user's cloudIDs from the queued tasks.
			erased, err := queue.NewEraser(records, rdb).Erase(cmd.Context(), appID, openID)
			if err != nil {
				return err
			}
			newLogger(s.err, cfg.Log).Info("user erased", "appid", appID, "records", erased) // the audit entry
			if err := json.NewEncoder(s.out).Encode(map[string]int{"erased": erased}); err != nil {
				return fmt.Errorf("writing the result: %w", err)
			}
			return nil
		})
	}
	return cmd
}

// checkSubject rejects an appid and openid that cannot belong to a user.
func checkSubject(cfg *config.Config, appID, openID string, former bool) error {
	faults := []error{wrongApp(cfg, appID)}
	if former && appID != "" {
		faults[0] = wrongAppID("--appid", appID)
	} else if faults[0] != nil && tasks.ValidAppID(appID) {
		faults[0] = fmt.Errorf("%w; for a removed app, add --former-app", faults[0])
	}
	if openID == "" {
		faults = append(faults, errors.New("--openid is missing"))
	}
	return usage(faults...)
}
