package main

import (
	"errors"
	"fmt"

	"cloudidq/config"
	"cloudidq/tasks"
)

// wrongApp returns the problem with --appid if the command needs an app of the configuration, or
// nil.
func wrongApp(cfg *config.Config, appID string) error {
	switch {
	case appID == "":
		return errors.New("--appid is missing")
	case !tasks.ValidAppID(appID):
		return wrongAppID("--appid", appID)
	case !cfg.Serves(appID):
		return errors.New("--appid is not among the apps of the configuration")
	default:
		return nil
	}
}

// wrongAppID returns the problem with the form of an appid, or nil.
func wrongAppID(where, appID string) error { return problemError(where, tasks.AppIDProblem(appID)) }

// wrongWebhook returns the problem with --webhook for results of an app, or nil. name may be
// empty.
func wrongWebhook(cfg *config.Config, appID, name string) error {
	if name == "" {
		return nil
	}
	if err := wrongName("--webhook", name); err != nil {
		return err
	}
	if err := cfg.MayName(appID, name, false); err != nil {
		return fmt.Errorf("--webhook %w", err)
	}
	return nil
}

// wrongName returns the problem with the form of a webhook's name, or nil.
func wrongName(where, name string) error { return problemError(where, tasks.NameProblem(name)) }

// problemError converts a problem to an error, and "" to nil.
func problemError(where, problem string) error {
	if problem == "" {
		return nil
	}
	return fmt.Errorf("%s %s", where, problem)
}

// usage joins the errors into one [usageError]. It returns nil if all of them are nil.
func usage(faults ...error) error {
	if err := errors.Join(faults...); err != nil {
		return usageError{err}
	}
	return nil
}
