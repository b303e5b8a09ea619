package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/config"
)

func TestLoad_Defaults(t *testing.T) {
	t.Parallel()
	want := &config.Config{
		Redis:           config.Redis{URL: "redis://127.0.0.1:6379/0"},
		Store:           config.Store{Driver: "redis", ResultTTL: 24 * time.Hour, Encryption: "off"},
		WeChat:          config.WeChat{BaseURL: "https://api.weixin.qq.com", Timeout: 5 * time.Second},
		CloudIDLifetime: 5 * time.Minute,
		Apps: []config.App{{
			AppID: "wx1", Token: config.Token{Mode: config.ModeStatic, AccessToken: config.NewSecret("t")},
			Calls: config.Calls{GroupBy: config.GroupByOpenID, BatchMax: 20, BatchLinger: 5 * time.Millisecond, MaxInFlight: 64},
		}},
		Queues: config.Queues{Events: 6, Backfill: 1, Webhooks: 3},
		Worker: config.Worker{Concurrency: 64, Fetchers: 2, ShutdownTimeout: 20 * time.Second},
		API:    config.API{Listen: "127.0.0.1:8080", CommitLinger: 2 * time.Millisecond, MaxPending: 100_000},
		Ops:    config.Ops{Listen: "127.0.0.1:9090"},
		Log:    config.Log{Level: "info", Format: "json"},
	}
	same(t, load(t, app("appid: wx1", "token: {mode: static, access_token: t}"), nil), want)
	// An empty section is the same as a missing one.
	empty := "redis:\nworker: ~\nlog: {}\n"
	same(t, load(t, empty+app("appid: wx1", "token: {mode: static, access_token: t}"), nil), want)
}

func TestLoad_Example(t *testing.T) {
	t.Parallel()
	cfg := load(t, string(config.Example()), nil)
	got, ok := cfg.App("wx0000000000000001")
	if !ok || got.Token.Secret.String() != "env:WX_SECRET" {
		t.Errorf("App() = %+v, %v, want the first app of the example", got, ok)
	}
	if got, ok := cfg.App("wx3"); ok {
		t.Errorf("App(wx3) = %+v, want none", got)
	}
	// The example shows every setting with its default.
	want := config.Default()
	want.Store.Keyset, want.Apps, want.Components = cfg.Store.Keyset, cfg.Apps, cfg.Components
	same(t, cfg, want)
}

func TestLoad_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	const file = `redis: {url: 127.0.0.1:6379}
store:
  driver: mysql
  dsn: postgres://localhost
wechat:
  base_url: http://api.weixin.qq.com
  timeout: 5
cloudid_lifetime: 10m
apps:
  - appid: wx1
    token: {mode: stable}
    webhook: orders
    batch_max: 101
  - token:
      mode: oauth
  - appid: wx1
    token: {mode: static, secret: env:A}
    group_by: user
wroker: {}
worker:
  concurrency: many
  fetchers: 2
  fetchers: 3
components:
  - appid: wxc
    authorizers: {batch_max: 0}
`
	const want = `cloudidq.yaml:1: redis.url: must begin with redis://, rediss://, redis-sentinel:// or redis-cluster://, or be embedded
cloudidq.yaml:2: store.keyset: missing; results contain phone numbers: set it to the output of cloudidq keys new, or set encryption: off
cloudidq.yaml:3: store.driver: must be redis or postgres, is "mysql"
cloudidq.yaml:6: wechat.base_url: must be https, is "http://api.weixin.qq.com": the query contains the access token; http is allowed only for loopback addresses
cloudidq.yaml:7: wechat.timeout: must be a duration with its unit, such as 500ms or 5s, is a bare number
cloudidq.yaml:8: cloudid_lifetime: must be between 1s and 5m, is 10m: WeChat rejects a cloudID after 5 minutes
cloudidq.yaml:11: apps[0].token.secret: missing; mode stable requires the AppSecret
cloudidq.yaml:12: apps[0].webhook: "orders" is not the name of any of webhooks
cloudidq.yaml:13: apps[0].batch_max: must be between 1 and 100, is 101
cloudidq.yaml:14: apps[1].appid: missing
cloudidq.yaml:15: apps[1].token.mode: must be stable, legacy, static, remote, component, sidecar or cloudbase_file, is "oauth"
cloudidq.yaml:16: apps[2].appid: "wx1" is already the appid of apps[0]
cloudidq.yaml:17: apps[2].token.secret: belongs to mode stable or legacy; the mode is static
cloudidq.yaml:17: apps[2].token.access_token: missing; mode static requires the token
cloudidq.yaml:18: apps[2].group_by: must be openid or app, is "user"
cloudidq.yaml:19: wroker: unknown key; did you mean worker?
cloudidq.yaml:21: worker.concurrency: must be a whole number, is a text
cloudidq.yaml:23: worker.fetchers: duplicate key, first on line 22
cloudidq.yaml:25: components[0].secret: missing
cloudidq.yaml:25: components[0].verify_token: missing
cloudidq.yaml:25: components[0].aes_key: missing
cloudidq.yaml:26: components[0].authorizers.batch_max: must be between 1 and 100, is 0
CLOUDIDQ_LOG_LEVEL: log.level: must be debug, info, warn or error, is "loud"
CLOUDIDQ_QUEUES_EVENTS: queues.events: must be between 1 and 100, is 0`
	got := faults(t, file, map[string]string{"CLOUDIDQ_LOG_LEVEL": "loud", "CLOUDIDQ_QUEUES_EVENTS": "0"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults differ (-want +got):\n%s", diff)
	}
}

// The faults of an empty file.
const (
	noKeyset = "store.keyset: missing; results contain phone numbers: " +
		"set it to the output of cloudidq keys new, or set encryption: off"
	noApps = "apps: missing; at least one app or component is required"
)

func TestLoad_Form(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"Empty", "", "cloudidq.yaml:1: " + noKeyset + "\ncloudidq.yaml:1: " + noApps},
		{"CommentsOnly", "# nothing\n",
			"cloudidq.yaml:1: " + noKeyset + "\ncloudidq.yaml:1: " + noApps},
		{"NotAMapping", "- a\n", "cloudidq.yaml:1: must be a mapping of settings, is a list"},
		{"Text", "hello\n", "cloudidq.yaml:1: must be a mapping of settings, is a text"},
		{"UnknownKey", with("\nfoo: 1\n"), "cloudidq.yaml:2: foo: unknown key"},
		{"UnknownKeyBelow", with("log:\n  levels: info\n"), "cloudidq.yaml:2: log.levels: unknown key; did you mean level?"},
		{"NumberAsKey", with("1: 2\n"), "cloudidq.yaml:1: 1: unknown key"},
		{"DuplicateKey", with("log: {}\nlog: {}\n"),
			"cloudidq.yaml:2: log: duplicate key, first on line 1"},
		{"SectionIsText", with("log: info\n"), "cloudidq.yaml:1: log: must be a mapping of settings, is a text"},
		{"AppsIsMapping", "store: {encryption: off}\napps: {appid: wx1}\n", "cloudidq.yaml:2: apps: must be a list, is a mapping"},
		{"AppsIsEmpty", "store: {encryption: off}\napps: []\n", "cloudidq.yaml:2: " + noApps},
		{"NoValue", with("log:\n  level:\n"), "cloudidq.yaml:2: log.level: has no value"},
		{"NumberForText", app("appid: 17", "token: {mode: static, access_token: t}"),
			"cloudidq.yaml:3: apps[0].appid: must be a text, is a bare number (put it in quotes)"},
		{"OffAsBool", "store: {encryption: false}\n" + minimal[strings.Index(minimal, "apps"):],
			"cloudidq.yaml:1: store.encryption: must be a text, is true or false (put it in quotes)"},
		{"Octal", with("worker: {concurrency: 007}\n"),
			"cloudidq.yaml:1: worker.concurrency: must be a whole number, is a number that is not plain decimal"},
		{"Fraction", with("worker: {concurrency: 1.5}\n"),
			"cloudidq.yaml:1: worker.concurrency: must be a whole number, is a number with a fraction"},
		{"DurationWithoutUnit", with("wechat: {timeout: 0}\n"),
			"cloudidq.yaml:1: wechat.timeout: must be a duration with its unit, such as 500ms or 5s, is a bare number"},
		{"DurationOfUnknownUnit", with("wechat: {timeout: 2 seconds}\n"),
			`cloudidq.yaml:1: wechat.timeout: must be a duration with its unit, such as 500ms or 5s, is "2 seconds"`},
		{"Alias", with("queues: &q {events: 1}\n"),
			"cloudidq.yaml:1: queues: must be a mapping of settings, is an anchor, an alias or a tag, which are not supported"},
		{"Tag", with("worker: {concurrency: !!int 5}\n"),
			"cloudidq.yaml:1: worker.concurrency: must be a whole number, is an anchor, an alias or a tag, which are not supported"},
		{"Merge", with("log:\n  <<: {level: info}\n"),
			"cloudidq.yaml:2: log.<<: merge keys are not supported; write the settings out"},
		{"TwoDocuments", minimal + "---\nlog: {}\n",
			"cloudidq.yaml:5: a second YAML document starts here; the file must contain one"},
		{"Tab", with("log:\n\tlevel: info\n"),
			"cloudidq.yaml:2: not valid YAML: a tab where only spaces are allowed"},
		{"OpenBracket", with("log: {\n"), "cloudidq.yaml:3: not valid YAML: ',' or '}' must be specified"},
		{"CRLF", strings.ReplaceAll(with("log: {}\nfoo: 1\n"), "\n", "\r\n"), "cloudidq.yaml:2: foo: unknown key"},
		{"CRLFInBlocks", strings.ReplaceAll(with("log:\n  level: |-\n    info\n  # c\n\n  format: xml\n"), "\n", "\r\n"),
			`cloudidq.yaml:6: log.format: must be json or text, is "xml"`},
		{"BOM", "\ufefffoo: 1\n" + minimal, "cloudidq.yaml:1: foo: unknown key"},
		{"NotUTF8", "log: {}\n# \xff\n" + minimal, "cloudidq.yaml:2: is not UTF-8 text"},
		{"UTF16", "\xff\xfel\x00o\x00g\x00", "cloudidq.yaml:1: is not UTF-8 text"},
		{"TooLarge", minimal + strings.Repeat("# filler\n", 1<<17), "cloudidq.yaml: must not exceed 1 MiB"},
		{"TooDeep", "apps: " + strings.Repeat("[", 1000), "cloudidq.yaml:1: must not nest more than 32 deep"},
		{"TooDeepInBlocks", "apps: \n " + strings.Repeat("- ", 1000), "cloudidq.yaml:2: must not nest more than 32 deep"},
		{"TooMany", strings.Repeat("a: 1\n", 1<<17),
			"cloudidq.yaml:33334: must not contain more than 100000 YAML tokens"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := faults(t, test.text, nil); got != test.want {
				t.Errorf("Load() = %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestLoad_Keyset(t *testing.T) {
	t.Parallel()
	for store, want := range map[string]string{
		"encryption: off, keyset: planted4711": "cloudidq.yaml:1: store.keyset: belongs to encryption keyset; the encryption is off",
		"encryption: keyset":                   "cloudidq.yaml:1: " + noKeyset,
		"result_ttl: 1h":                       "cloudidq.yaml:1: " + noKeyset,
		"encryption: none":                     `cloudidq.yaml:1: store.encryption: must be keyset or off, is "none"`,
	} {
		if got := faults(t, strings.Replace(minimal, "encryption: off", store, 1), nil); got != want {
			t.Errorf("Load(%s) = %s, want %s", store, got, want)
		}
	}
	document := `{"version":1}`
	cfg := load(t, strings.Replace(minimal, "encryption: off", "keyset: env:KEYSET", 1), map[string]string{"KEYSET": document})
	if err := cfg.ResolveStore(); err != nil || cfg.Store.Keyset.Text().Reveal() != document {
		t.Errorf("ResolveStore() = %v, keyset %s", err, cfg.Store.Keyset.Text().Reveal())
	}
}

func TestLoad_DSN(t *testing.T) {
	t.Parallel()
	for store, want := range map[string]string{
		"driver: postgres":                 "cloudidq.yaml:1: store.dsn: missing; driver postgres requires a database",
		"dsn: planted4711":                 "cloudidq.yaml:1: store.dsn: belongs to driver postgres; the driver is redis",
		"driver: redis, dsn: planted4711":  "cloudidq.yaml:1: store.dsn: belongs to driver postgres; the driver is redis",
		`driver: postgres, dsn: ""`:        "cloudidq.yaml:1: store.dsn: is empty",
		"driver: postgres, dsn: 'env:a b'": "cloudidq.yaml:1: store.dsn: env: must be followed by the name of a variable",
	} {
		if got := faults(t, strings.Replace(minimal, "{", "{"+store+", ", 1), nil); got != want {
			t.Errorf("Load(%s) = %s, want %s", store, got, want)
		}
	}
	file := strings.Replace(minimal, "{", "{driver: postgres, dsn: env:DSN, ", 1)
	cfg := load(t, file, map[string]string{"DSN": "postgres://u:planted4711@h/db"})
	if err := cfg.ResolveStore(); err != nil || cfg.Store.DSN.Text().Reveal() != "postgres://u:planted4711@h/db" {
		t.Errorf("ResolveStore() = %v, dsn %s", err, cfg.Store.DSN.Text().Reveal())
	}
	if printed := yamlOf(t, cfg); !strings.Contains(printed, "dsn: env:DSN") || strings.Contains(printed, "planted") {
		t.Errorf("YAML() = %s, want the reference instead of the DSN", printed)
	}
}

func TestLoad_NoFile(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load("", nil)
	if got := short(t, cfg, err, "x"); !strings.Contains(got, "--config") || !strings.Contains(got, "CLOUDIDQ_CONFIG") {
		t.Errorf("Load(\"\") = %s, want both the flag and the variable", got)
	}
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.yaml")
	cfg, err = config.Load(missing, nil)
	if got, want := short(t, cfg, err, missing), "missing.yaml: opening the configuration file: no such file or directory"; got != want {
		t.Errorf("Load(missing) = %s, want %s", got, want)
	}
	cfg, err = config.Load(dir, nil)
	if got := short(t, cfg, err, dir); !strings.HasSuffix(got, "reading the configuration file: is a directory") {
		t.Errorf("Load(directory) = %s", got)
	}
}

// A file with many apps is within the limits that protect the parser.
func TestLoad_ManyApps(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("store: {encryption: off}\napps:\n")
	for i := range 3000 {
		fmt.Fprintf(&text, "  - appid: wx%016d\n    token: {mode: stable, secret: env:WX_SECRET_%d}\n"+
			"    group_by: openid\n    batch_max: 50\n    max_in_flight: 8\n", i, i)
	}
	start := time.Now()
	if cfg := load(t, text.String(), nil); len(cfg.Apps) != 3000 {
		t.Errorf("%d apps, want 3000", len(cfg.Apps))
	}
	t.Logf("%d bytes in %v", text.Len(), time.Since(start))
}

func FuzzLoad(f *testing.F) {
	f.Add(config.Example())
	f.Add([]byte(minimal))
	f.Add([]byte(with("log:\n  <<: *a\n? {a: b}\n: |\n  x\n")))
	f.Add([]byte(app("appid: &a wx1", "token: {mode: static, access_token: \"t\"}", "webhook: x")))
	f.Add([]byte("---\n%YAML 1.2\n--- !!map\n{? a, [b]: c, ,}\n...\n"))
	path := filepath.Join(f.TempDir(), "cloudidq.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(path, nil)
		if err != nil {
			short(t, cfg, err, path)
			return
		}
		// Loading the printed text must return the same configuration, unless a value was redacted.
		printed := yamlOf(t, cfg)
		if strings.Contains(printed, "[redacted]") {
			return
		}
		same(t, load(t, printed, nil), cfg)
	})
}
