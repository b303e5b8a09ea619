package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/app"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// newErase returns the command erase.
func newErase(s streams) *cobra.Command {
	var appID, openID string
	var former bool
	cmd := &cobra.Command{
		Use:   "erase --config FILE --appid APPID --openid OPENID",
		Short: "Remove all that is stored of one person",
		Long: "erase removes every record of one user of an app and prints how many there were. Their cloudIDs stay unknown until\n" +
			"store.result_ttl is over, an answer that comes late does not bring them back, and what of this user still waits in\n" +
			"the queues is taken out of them. A cloudID that is accepted afterwards is resolved as ever. For an app that has left the\n" +
			"configuration, whose records live until store.result_ttl is over, add --former-app.",
		Example: "  cloudidq erase --config cloudidq.yaml --appid wx0000000000000001 --openid oUser\n" +
			"  cloudidq erase --config cloudidq.yaml --appid wx0000000000000009 --former-app --openid oUser",
		Args: takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	cmd.Flags().StringVar(&appID, "appid", "", "the mini program")
	cmd.Flags().StringVar(&openID, "openid", "", "the user")
	cmd.Flags().BoolVar(&former, "former-app", false, "the app need not be in the configuration: it was")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		if err := checkSubject(cfg, appID, openID, former); err != nil {
			return err
		}
		return withRecords(cmd.Context(), s, cfg, func(rdb redis.UniversalClient, records *app.Records) error {
			// The eraser removes the records, and the user's cloudIDs from the queued tasks.
			erased, err := worker.NewEraser(records, rdb).Erase(cmd.Context(), appID, openID)
			if err != nil {
				return err
			}
			newLogger(s.err, cfg.Log).Info("a person was erased", "appid", appID, "records", erased) // the audit entry
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
		faults[0] = fmt.Errorf("%w; if it was, add --former-app", faults[0])
	}
	if openID == "" {
		faults = append(faults, errors.New("--openid is missing"))
	}
	return usage(faults...)
}
