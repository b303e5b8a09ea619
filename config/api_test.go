package config_test

import (
	"strings"
	"testing"
	"time"
)

func TestLoad_KeyNotAfter(t *testing.T) {
	t.Parallel()
	file := func(value string) string {
		return with("api: {keys: [{name: shop, secret: env:API_KEY, scopes: [read], not_after: " + value + "}]}\n")
	}
	for value, want := range map[string]string{
		"2027-01-31":                  "2027-01-31T23:59:59.999999999Z",
		"'2027-01-31'":                "2027-01-31T23:59:59.999999999Z",
		"2020-02-29":                  "2020-02-29T23:59:59.999999999Z", // which is over: it may stay
		"2027-01-31T18:00:00Z":        "2027-01-31T18:00:00Z",
		`"2027-01-31T18:00:00+08:00"`: "2027-01-31T10:00:00Z",
	} {
		if got := load(t, file(value), nil).API.Keys[0].End().UTC().Format(time.RFC3339Nano); got != want {
			t.Errorf("not_after %s ends %s, want %s", value, got, want)
		}
	}
	if end := load(t, with("api: {keys: [{name: shop, secret: env:API_KEY, scopes: [read]}]}\n"), nil).API.Keys[0].End(); !end.IsZero() {
		t.Errorf("a key without not_after ends %s", end)
	}
	for _, value := range []string{"soon", "2027-02-30", "2027-1-1", "'2027-01-31 18:00'", "2027-01-31T18:00:00", "'0001-01-01T00:00:00Z'", "20270131"} {
		got := faults(t, file(value), nil)
		if !strings.HasPrefix(got, "cloudidq.yaml:1: api.keys[0].not_after: must be a ") {
			t.Errorf("Load(not_after: %s) = %s", value, got)
		}
	}
}
