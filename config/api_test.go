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
		"2020-02-29":                  "2020-02-29T23:59:59.999999999Z", // an expired key may remain in the file
		"2027-01-31T18:00:00Z":        "2027-01-31T18:00:00Z",
		`"2027-01-31T18:00:00+08:00"`: "2027-01-31T10:00:00Z",
	} {
		if got := load(t, file(value), nil).API.Keys[0].End().UTC().Format(time.RFC3339Nano); got != want {
			t.Errorf("not_after %s expires at %s, want %s", value, got, want)
		}
	}
	cfg := load(t, with("api: {keys: [{name: shop, secret: env:API_KEY, scopes: [read]}]}\n"), nil)
	if end := cfg.API.Keys[0].End(); !end.IsZero() {
		t.Errorf("a key without not_after expires at %s", end)
	}
	for _, value := range []string{
		"soon", "2027-02-30", "2027-1-1", "'2027-01-31 18:00'", "2027-01-31T18:00:00",
		"'0001-01-01T00:00:00Z'", "20270131",
	} {
		got := faults(t, file(value), nil)
		if !strings.HasPrefix(got, "cloudidq.yaml:1: api.keys[0].not_after: must be a ") {
			t.Errorf("Load(not_after: %s) = %s", value, got)
		}
	}
}

// A range of proxies must be a valid range, and must not contain every address.
func TestLoad_TrustedProxies(t *testing.T) {
	t.Parallel()
	file := func(value string) string { return with("api: {trusted_proxies: " + value + "}\n") }
	proxies := load(t, file("[10.1.2.3/8, 'fd00::/8']"), nil).API.Proxies()
	if len(proxies) != 2 || proxies[0].String() != "10.0.0.0/8" || proxies[1].String() != "fd00::/8" {
		t.Errorf("Proxies = %v", proxies)
	}
	for value, want := range map[string]string{
		"[10.0.0.1]":              `api.trusted_proxies[0]: must be a range such as 10.0.0.0/8, or 10.0.0.7/32 for one address, is "10.0.0.1"`,
		"[10.0.0.0/8, proxy]":     `api.trusted_proxies[1]: must be a range`,
		"[0.0.0.0/0]":             `api.trusted_proxies[0]: must not contain every address`,
		"['::/0']":                `api.trusted_proxies[0]: must not contain every address`,
		"['::ffff:10.0.0.0/104']": `api.trusted_proxies[0]: must be written as an IPv4 range`,
		"10.0.0.0/8":              `api.trusted_proxies: must be a list`,
	} {
		if got := faults(t, file(value), nil); !strings.Contains(got, want) {
			t.Errorf("Load(trusted_proxies: %s) = %s, want %s", value, got, want)
		}
	}
}
