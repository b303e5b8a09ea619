package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/config"
)

func TestLoad_Environment(t *testing.T) {
	t.Parallel()
	vars := map[string]string{
		"CLOUDIDQ_REDIS_URL":               "redis://redis:6380/1",
		"CLOUDIDQ_STORE_DRIVER":            "postgres",
		"CLOUDIDQ_STORE_DSN":               "env:OTHER_DSN",
		"CLOUDIDQ_STORE_RESULT_TTL":        "48h",
		"CLOUDIDQ_STORE_ENCRYPTION":        "keyset",
		"CLOUDIDQ_STORE_KEYSET":            "env:OTHER_KEYSET",
		"CLOUDIDQ_WECHAT_BASE_URL":         "http://127.0.0.1:8081",
		"CLOUDIDQ_WECHAT_TIMEOUT":          "3s",
		"CLOUDIDQ_CLOUDID_LIFETIME":        "4m",
		"CLOUDIDQ_QUEUES_EVENTS":           "7",
		"CLOUDIDQ_QUEUES_BACKFILL":         "8",
		"CLOUDIDQ_QUEUES_WEBHOOKS":         "9",
		"CLOUDIDQ_WORKER_CONCURRENCY":      "10",
		"CLOUDIDQ_WORKER_FETCHERS":         "11",
		"CLOUDIDQ_WORKER_SHUTDOWN_TIMEOUT": "12s",
		"CLOUDIDQ_API_LISTEN":              "localhost:8088",
		"CLOUDIDQ_API_COMMIT_LINGER":       "3ms",
		"CLOUDIDQ_API_MAX_PENDING":         "77",
		"CLOUDIDQ_OPS_LISTEN":              "127.0.0.1:9191",
		"CLOUDIDQ_LOG_LEVEL":               "warn",
		"CLOUDIDQ_LOG_FORMAT":              "text",
		"CLOUDIDQ_UNKNOWN":                 "is ignored",
	}
	want := &config.Config{
		Redis:           config.Redis{URL: "redis://redis:6380/1"},
		Store:           config.Store{Driver: "postgres", ResultTTL: 48 * time.Hour, Encryption: "keyset"},
		WeChat:          config.WeChat{BaseURL: "http://127.0.0.1:8081", Timeout: 3 * time.Second},
		CloudIDLifetime: 4 * time.Minute,
		Queues:          config.Queues{Events: 7, Backfill: 8, Webhooks: 9},
		Worker:          config.Worker{Concurrency: 10, Fetchers: 11, ShutdownTimeout: 12 * time.Second},
		API:             config.API{Listen: "localhost:8088", CommitLinger: 3 * time.Millisecond, MaxPending: 77},
		Ops:             config.Ops{Listen: "127.0.0.1:9191"},
		Log:             config.Log{Level: "warn", Format: "text"},
	}
	got := load(t, string(config.Example()), vars)
	if got.Store.Keyset.String() != "env:OTHER_KEYSET" {
		t.Errorf("keyset = %s, want the value of the variable", got.Store.Keyset)
	}
	if got.Store.DSN.String() != "env:OTHER_DSN" {
		t.Errorf("dsn = %s, want the value of the variable", got.Store.DSN)
	}
	want.Store.DSN, want.Store.Keyset = got.Store.DSN, got.Store.Keyset
	want.Apps = got.Apps // lists have no variables
	same(t, got, want)

	// The table above must contain every setting outside the list.
	settings := 0
	for line := range strings.Lines(yamlOf(t, got)) {
		if value := strings.HasSuffix(line, ":\n"); !value && !strings.HasPrefix(line, "    ") {
			settings++
		}
	}
	// The lines of the first level of a list item begin with "  - ".
	settings -= len(got.Apps)
	if want := len(vars) - 1; settings != want {
		t.Errorf("%d settings outside the list, but the test sets %d variables", settings, want)
	}
}

func TestLoad_Environment_EmptyIsUnset(t *testing.T) {
	t.Parallel()
	cfg := load(t, with("worker: {concurrency: 5}\n"), map[string]string{
		"CLOUDIDQ_WORKER_CONCURRENCY": "", "CLOUDIDQ_STORE_DSN": "",
	})
	if cfg.Worker.Concurrency != 5 {
		t.Errorf("worker.concurrency = %d, want 5 from the file", cfg.Worker.Concurrency)
	}
}

func TestLoad_Environment_FaultsNameTheVariable(t *testing.T) {
	t.Parallel()
	const want = `cloudidq.yaml:1: worker.fetchers: must be between 1 and 16, is 99
CLOUDIDQ_API_LISTEN: api.listen: must be a loopback address, is "": without api.keys, everyone could use the API
CLOUDIDQ_CLOUDID_LIFETIME: cloudid_lifetime: must be a duration with its unit, such as 500ms or 5s, is "300"
CLOUDIDQ_OPS_LISTEN: ops.listen: must be host:port, such as 127.0.0.1:8080, or off
CLOUDIDQ_QUEUES_EVENTS: queues.events: must be between 1 and 100, is 0
CLOUDIDQ_REDIS_URL: redis.url: must end with the number of a database
CLOUDIDQ_STORE_DSN: store.dsn: belongs to driver postgres; the driver is redis
CLOUDIDQ_STORE_ENCRYPTION: store.encryption: must be keyset or off, is "none"
CLOUDIDQ_STORE_KEYSET: store.keyset: env: must be followed by the name of a variable
CLOUDIDQ_WORKER_CONCURRENCY: worker.concurrency: must be a whole number, is "many"`
	got := faults(t, with("worker: {fetchers: 99}\n"), map[string]string{
		"CLOUDIDQ_API_LISTEN":         ":8080",
		"CLOUDIDQ_CLOUDID_LIFETIME":   "300",
		"CLOUDIDQ_OPS_LISTEN":         "9090",
		"CLOUDIDQ_QUEUES_EVENTS":      "0",
		"CLOUDIDQ_REDIS_URL":          "redis://u:planted@host/planted",
		"CLOUDIDQ_STORE_DSN":          "postgres://planted",
		"CLOUDIDQ_STORE_ENCRYPTION":   "none",
		"CLOUDIDQ_STORE_KEYSET":       "env:planted 4711",
		"CLOUDIDQ_WORKER_CONCURRENCY": "many",
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults differ (-want +got):\n%s", diff)
	}
}

// A variable overrides a value of the file that is out of bounds.
func TestLoad_Environment_WinsOverFile(t *testing.T) {
	t.Parallel()
	cfg := load(t, with("worker: {fetchers: 99}\n"), map[string]string{"CLOUDIDQ_WORKER_FETCHERS": "4"})
	if cfg.Worker.Fetchers != 4 {
		t.Errorf("worker.fetchers = %d, want 4 from the variable", cfg.Worker.Fetchers)
	}
}
