package config_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"cloudidq/config"
)

// Faults of the settings do not hide faults of the secrets, so that all of them can be fixed at
// once.
func TestLoadSecrets_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	path := write(t, `bogus: 1
store: {keyset: env:KEYSET}
apps:
  - {appid: wx1, batch_max: 0, token: {mode: stable, secret: env:NOT_SET}}
  - {appid: wx2, token: {mode: nosuch, secret: env:NOT_SET}}
api:
  keys: [{name: shop, secret: short, scopes: [root]}]
`)

	vars := environment(map[string]string{"KEYSET": "no keyset"})
	_, err := config.LoadSecrets(path, vars, func(c *config.Config, refuse func(string, error)) {
		if c.Store.Keyset.Text().Reveal() == "no keyset" {
			refuse("store.keyset", errors.New("is no keyset"))
		}
		refuse("apps[0].batch_max", errors.New("reported twice"))
	})
	faults, ok := errors.AsType[config.Faults](err)
	if !ok {
		t.Fatalf("error = %v, want Faults", err)
	}
	var got []string
	for _, f := range faults {
		text, _, _ := strings.Cut(strings.TrimPrefix(f.String(), path), ": must")
		got = append(got, text)
	}
	want := []string{
		":1: bogus: unknown key",
		":2: store.keyset: is no keyset",
		":4: apps[0].batch_max",
		":4: apps[0].token.secret: the variable NOT_SET is not set",
		":5: apps[1].token.mode",
		":5: apps[1].token.secret: the variable NOT_SET is not set",
		":7: api.keys[0].scopes[0]",
		":7: api.keys[0].secret",
	}
	if !slices.Equal(got, want) {
		t.Errorf("faults:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// If the file cannot be read, no secrets are resolved.
func TestLoadSecrets_NoFile(t *testing.T) {
	t.Parallel()
	if _, err := config.LoadSecrets("nowhere.yaml", nil); err == nil || strings.Count(err.Error(), "\n") > 0 {
		t.Errorf("error = %v, want one fault", err)
	}
}
