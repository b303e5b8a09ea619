// Package open opens what a process or a command needs, from its configuration: Redis, the store
// of records, the client of WeChat, and the webhooks. [All] opens everything for a process that
// stays up.
package open

import (
	"fmt"

	"cloudidq/config"
)

// SettingError reports an invalid setting that package config does not know. Nothing was opened.
type SettingError struct{ Err error }

// Error implements error.
func (e *SettingError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *SettingError) Unwrap() error { return e.Err }

func settingf(format string, args ...any) error {
	return &SettingError{fmt.Errorf(format, args...)}
}

// AppIDs returns the appids of all apps and platforms of the configuration.
func AppIDs(cfg *config.Config) []string {
	var ids []string
	for _, app := range cfg.Apps {
		ids = append(ids, app.AppID)
	}
	for _, component := range cfg.Components {
		ids = append(ids, component.AppID)
	}
	return ids
}
