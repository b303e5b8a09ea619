package config_test

import (
	"fmt"
	"strings"
	"testing"

	"cloudidq/config"
)

// Every bound is tested from both sides: the first two values are valid, the last two are not.
func TestLoad_Bounds(t *testing.T) {
	t.Parallel()
	section := func(section, key string) func(string) string {
		return func(value string) string { return with(section + ": {" + key + ": " + value + "}\n") }
	}
	inApp := func(key string) func(string) string {
		return func(value string) string {
			return app("appid: wx1", "token: {mode: static, access_token: t}", key+": "+value)
		}
	}
	inStore := func(value string) string {
		// The lifetime is below all values, so that only the bounds of result_ttl apply.
		return "cloudid_lifetime: 1s\n" + strings.Replace(minimal, "off", "off, result_ttl: "+value, 1)
	}
	for _, test := range []struct {
		path   string
		file   func(value string) string
		values [4]string
		bounds string
	}{
		{"store.result_ttl", inStore, [4]string{"1m", "720h", "59.999s", "720h0m1s"}, "1m and 720h"},
		{"wechat.timeout", section("wechat", "timeout"), [4]string{"100ms", "15s", "99ms", "15.001s"}, "100ms and 15s"},
		{"cloudid_lifetime", func(v string) string { return with("cloudid_lifetime: " + v + "\n") },
			[4]string{"1s", "5m", "999ms", "5m0.001s"}, "1s and 5m"},
		{"apps[0].batch_max", inApp("batch_max"), [4]string{"1", "100", "0", "101"}, "1 and 100"},
		{"apps[0].batch_linger", inApp("batch_linger"), [4]string{"0s", "1s", "-1ns", "1.001s"}, "0s and 1s"},
		{"apps[0].max_in_flight", inApp("max_in_flight"), [4]string{"1", "4096", "0", "4097"}, "1 and 4096"},
		{"apps[0].rate_per_minute", inApp("rate_per_minute"), [4]string{"0", "600000", "-1", "600001"}, "0 and 600000"},
		{"queues.events", section("queues", "events"), [4]string{"1", "100", "0", "101"}, "1 and 100"},
		{"queues.backfill", section("queues", "backfill"), [4]string{"1", "100", "0", "101"}, "1 and 100"},
		{"worker.concurrency", section("worker", "concurrency"), [4]string{"1", "4096", "0", "4097"}, "1 and 4096"},
		{"worker.fetchers", section("worker", "fetchers"), [4]string{"1", "16", "0", "17"}, "1 and 16"},
		{"worker.shutdown_timeout", section("worker", "shutdown_timeout"), [4]string{"1s", "10m", "999ms", "10m1s"}, "1s and 10m"},
	} {
		t.Run(test.path, func(t *testing.T) {
			t.Parallel()
			for _, value := range test.values[:2] {
				if printed := yamlOf(t, load(t, test.file(value), nil)); !strings.Contains(printed, ": "+value) {
					t.Errorf("%s is not printed as %s:\n%s", test.path, value, printed)
				}
			}
			for _, value := range test.values[2:] {
				want := fmt.Sprintf("%s: must be between %s, is %s", test.path, test.bounds, value)
				if got := faults(t, test.file(value), nil); !strings.Contains(got, want) || strings.Contains(got, "\n") {
					t.Errorf("Load(%s) = %s\nwant %s", value, got, want)
				}
			}
		})
	}
}

func TestLoad_ResultTTL_NotBelowLifetime(t *testing.T) {
	t.Parallel()
	ttl := func(value string) string { return strings.Replace(minimal, "off", "off, result_ttl: "+value, 1) }
	load(t, ttl("5m"), nil)
	const want = "cloudidq.yaml:1: store.result_ttl: must not be less than cloudid_lifetime (5m), is 4m59s: a cloudID could be resolved twice"
	if got := faults(t, ttl("4m59s"), nil); got != want {
		t.Errorf("Load() = %s\nwant %s", got, want)
	}
}

func TestLoad_Words(t *testing.T) {
	t.Parallel()
	for path, values := range map[string][]string{
		"log.level":  {"debug", "info", "warn", "error", "INFO", "trace"},
		"log.format": {"json", "text", "xml", "logfmt"},
	} {
		section, key, _ := strings.Cut(path, ".")
		for i, value := range values {
			text := with(section + ": {" + key + ": " + value + "}\n")
			if i < len(values)-2 {
				load(t, text, nil)
			} else if got := faults(t, text, nil); !strings.Contains(got, `, is "`+value+`"`) {
				t.Errorf("Load(%s: %s) = %s", path, value, got)
			}
		}
	}
	for _, by := range []string{"openid", "app"} {
		load(t, app("appid: wx1", "token: {mode: static, access_token: t}", "group_by: "+by), nil)
	}
}

func TestLoad_AppID(t *testing.T) {
	t.Parallel()
	file := func(id string) string { return app("appid: '"+id+"'", "token: {mode: static, access_token: t}") }
	for _, id := range []string{"w", "wx0000000000000001", "a-b_C", strings.Repeat("a", 64)} {
		load(t, file(id), nil)
	}
	for _, id := range []string{strings.Repeat("a", 65), "wx 1", "wx/1", "wx{1}", "ö"} {
		if got := faults(t, file(id), nil); !strings.Contains(got, "apps[0].appid: must be 1 to 64 letters, digits, - or _, is \"") {
			t.Errorf("Load(appid %q) = %s", id, got)
		}
	}
	if got, want := faults(t, file(""), nil), "cloudidq.yaml:3: apps[0].appid: missing"; got != want {
		t.Errorf("Load() = %s, want %s", got, want)
	}
}

func TestLoad_BaseURL(t *testing.T) {
	t.Parallel()
	file := func(url string) string { return with("wechat: {base_url: '" + url + "'}\n") }
	for _, url := range []string{
		"https://api.weixin.qq.com", "https://gateway.example.com:8443/wechat", "http://localhost:8081",
		"http://127.0.0.1:8081", "http://127.9.9.9", "http://[::1]:8081",
	} {
		load(t, file(url), nil)
	}
	for url, want := range map[string]string{
		"http://api.weixin.qq.com":      "http is allowed only for loopback addresses",
		"http://10.0.0.1:80":            "http is allowed only for loopback addresses",
		"http://localhost.example.com":  "http is allowed only for loopback addresses",
		"ftp://localhost":               "must be https",
		"api.weixin.qq.com":             "must be a URL",
		"":                              "must be a URL",
		"https://":                      "must be a URL",
		"https://:443":                  "must be a URL",
		"http://[::1":                   "must be a URL",
		"https://u:planted@example.com": "must have no user",
		"https://example.com?a=planted": "must have no user, no query",
		"https://example.com#planted":   "must have no user, no query and no fragment",
		"http://planted@10.0.0.1/":      "must have no user",
	} {
		got := faults(t, file(url), nil)
		if !strings.HasPrefix(got, "cloudidq.yaml:1: wechat.base_url: ") || !strings.Contains(got, want) {
			t.Errorf("Load(%s) = %s, want %s", url, got, want)
		}
		if strings.Contains(got, "planted") {
			t.Errorf("Load(%s) = %s quotes a possible secret", url, got)
		}
	}
}

func TestValidate_CreatedInCode(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Redis.URL = "embedded"
	const want = noKeyset + "\n" + noApps
	if err := cfg.Validate(); err == nil || err.Error() != want {
		t.Errorf("Validate() = %v, want %s", err, want)
	}
	cfg.Store.Encryption = "off"
	cfg.Apps = []config.App{{
		AppID: "wx1", Token: config.Token{Mode: config.ModeStatic, AccessToken: config.NewSecret("t")},
		Calls: config.Calls{GroupBy: config.GroupByApp, BatchMax: 1, MaxInFlight: 1},
	}}
	if err := cfg.Validate(); err != nil {
		t.Errorf("Validate() = %v", err)
	}
	if err := cfg.ResolveSecrets(); err != nil {
		t.Errorf("ResolveSecrets() = %v", err)
	}
}

func TestLoad_OpsListen(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"127.0.0.1:9090", "0.0.0.0:9090", "':0'", "'[::]:9091'", "off"} {
		load(t, with("ops: {listen: "+value+"}\n"), nil)
	}
	load(t, with("ops: {listen: '127.0.0.1:0'}\napi: {listen: '127.0.0.1:0'}\n"), nil)
	for value, want := range map[string]string{
		"'9090'":           "must be host:port, such as 127.0.0.1:8080, or off",
		"'127.0.0.1:http'": "must end with a port from 0 to 65535, or off",
		"'127.0.0.1:8080'": `must differ from api.listen, "127.0.0.1:8080"`,
		"none":             "must be host:port, such as 127.0.0.1:8080, or off",
	} {
		if got := faults(t, with("ops: {listen: "+value+"}\n"), nil); !strings.HasSuffix(got, "ops.listen: "+want) {
			t.Errorf("Load(ops.listen: %s) = %s, want %s", value, got, want)
		}
	}
}
