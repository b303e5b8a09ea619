package main

import (
	"errors"
	"fmt"

	"cloudidq/config"
	"cloudidq/tasks"
)

// wrongApp says what is wrong with --appid, where an app of the configuration is needed; nil if nothing is.
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

// wrongAppID says what is wrong with the form of an appid; nil if nothing is.
func wrongAppID(where, appID string) error { return problemError(where, tasks.AppIDProblem(appID)) }

// wrongWebhook says what is wrong with --webhook for results of an app; it may be empty. nil if nothing is.
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

// wrongName says what is wrong with the form of a webhook's name; nil if nothing is.
func wrongName(where, name string) error { return problemError(where, tasks.NameProblem(name)) }

func problemError(where, problem string) error {
	if problem == "" {
		return nil
	}
	return fmt.Errorf("%s %s", where, problem)
}

// usage makes one [usageError] of all that is wrong; nil if nothing is.
func usage(faults ...error) error {
	if err := errors.Join(faults...); err != nil {
		return usageError{err}
	}
	return nil
}
