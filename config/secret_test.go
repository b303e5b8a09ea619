package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudidq/config"
)

const planted = "planted4711"

// secretApp returns a file with one app that has this AppSecret.
func secretApp(value string) string {
	return app("appid: wx1", "token:", "  mode: stable", "  secret: "+value)
}

func TestResolveSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	absolute := filepath.Join(dir, "absolute")
	if err := os.WriteFile(absolute, []byte(planted+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Variable":     "env:WX_SECRET",
		"RelativeFile": "file:keys/secret",
		"AbsoluteFile": "file:" + absolute,
		"Literal":      planted,
		"Quoted":       `"` + planted + `"`,
		"Block":        "|\n        " + planted,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, secretApp(value))
			if err := os.MkdirAll(filepath.Join(filepath.Dir(path), "keys"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(filepath.Dir(path), "keys", "secret"), []byte(planted+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := config.Load(path, environment(map[string]string{"WX_SECRET": planted}))
			if err != nil {
				t.Fatal(err)
			}
			if isReference := strings.Contains(value, ":"); cfg.Apps[0].Token.Secret.Text().Empty() != isReference {
				t.Errorf("Load() resolved the secret or lost it")
			}
			for range 2 { // a second call is allowed
				if err := cfg.ResolveSecrets(); err != nil {
					t.Fatal(err)
				}
				if got := cfg.Apps[0].Token.Secret.Text().Reveal(); got != planted {
					t.Errorf("secret = %q, want %q", got, planted)
				}
			}
		})
	}
}

func TestResolveSecrets_Faults(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	file.WriteString("store: {encryption: off}\napps:\n")
	for i, value := range []string{
		"env:UNSET", "env:EMPTY", "env:TWO_LINES", "file:missing", "file:empty", "file:.", "file:long", "env:GOOD",
		`"[redacted]"`, `"with space"`,
	} {
		fmt.Fprintf(&file, "  - {appid: wx%d, token: {mode: static, access_token: %s}}\n", i, value)
	}
	path := write(t, file.String())
	for name, text := range map[string]string{"empty": "\n", "long": strings.Repeat(planted, 1<<13)} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(path, environment(map[string]string{"EMPTY": "", "TWO_LINES": planted + "\nb", "GOOD": planted}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `cloudidq.yaml:3: apps[0].token.access_token: the variable UNSET is not set
cloudidq.yaml:4: apps[1].token.access_token: the variable EMPTY is empty
cloudidq.yaml:5: apps[2].token.access_token: must not contain whitespace or control characters
cloudidq.yaml:6: apps[3].token.access_token: reading the secret from missing: no such file or directory
cloudidq.yaml:7: apps[4].token.access_token: reading the secret from empty: the file is empty
cloudidq.yaml:8: apps[5].token.access_token: reading the secret from DIR: is a directory
cloudidq.yaml:9: apps[6].token.access_token: reading the secret from long: more than 65536 bytes
cloudidq.yaml:11: apps[8].token.access_token: is the placeholder of config print; replace it with the secret
cloudidq.yaml:12: apps[9].token.access_token: must not contain whitespace or control characters`
	got := short(t, nil, cfg.ResolveSecrets(), path)
	got = strings.ReplaceAll(got, filepath.Dir(path), "DIR")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults differ (-want +got):\n%s", diff)
	}
	if got := cfg.Apps[7].Token.AccessToken.Text().Reveal(); got != planted {
		t.Errorf("the valid secret = %q, want %q", got, planted)
	}
}

func TestLoad_SecretForm(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"'env:'":               "env: must be followed by the name of a variable",
		"env:" + "1" + planted: "env: must be followed by the name of a variable",
		"'env:A B'":            "env: must be followed by the name of a variable",
		"'file:'":              "file: must be followed by a path",
		`""`:                   "is empty",
		"~":                    "has no value",
		"4711":                 "must be a text, is a bare number (put it in quotes)",
		"{a: " + planted + "}": "must be a text, is a mapping",
		"[" + planted + "]":    "must be a text, is a list",
		"&a " + planted:        "must be a text, is an anchor, an alias or a tag, which are not supported",
	} {
		got := faults(t, secretApp(value), nil)
		if !strings.HasSuffix(got, want) || !strings.HasPrefix(got, "cloudidq.yaml:6: apps[0].token.secret") {
			t.Errorf("Load(secret: %s) = %s, want %s", value, got, want)
		}
		if strings.Contains(got, planted) {
			t.Errorf("Load(secret: %s) = %s quotes the secret", value, got)
		}
	}
}

// A secret in the wrong place, or in a file that is not valid YAML, is not quoted.
func TestLoad_NeverQuotesSecrets(t *testing.T) {
	t.Parallel()
	long := planted + strings.Repeat("a", 21) // as long as an AppSecret
	for _, text := range []string{
		app("appid: wx1", "token: "+long),
		app("appid: wx1", "token: {mode: stable, secret: "+long),
		app("appid: wx1", "token: {mode: stable, secret, "+long+"}"),
		app("appid: wx1", "token:", "  secret: '"+long),
		app("appid: wx1", "token:", "  secret: \""+long+"\\q\""),
		app("appid: wx1", "token:", "  secret: |"+long, "    a"),
		app("appid: wx1", "token:", "  secret: "+long+": b"),
		app("appid: wx1", "token:", "  secret: !!int "+long),
		app("appid: wx1", "token:", "  secret: a", "  "+long+": b"),
		app("appid: wx1", "token:", "  secret: a", "  "+long+": b", "  "+long+": b"),
		app("appid: wx1", "token:", "  secret: a", "    "+long),
		app("appid: wx1", "token:", "  secret: @"+long),
		app("appid: wx1", "token:", "\tsecret: "+long),
		"%YAML " + long + "\n---\n" + minimal,
		with("redis: {url: 'redis://u:" + long + "@/'}\n"),
		with("redis: {url: 'redis://" + long + "@h'}\n"),
		with("redis: {url: 'redis://u:%zz" + long + "@h'}\n"),
		with("redis: {url: 'u:" + long + "@h'}\n"),
		with("redis: {url: 'redis://h/0?password=" + long + "'}\n"),
		with("redis: {url: 'redis://h:" + long + "'}\n"),
		with("redis: [" + long + "]\n"),
	} {
		if got := faults(t, text, nil); strings.Contains(got, planted) {
			t.Errorf("Load() = %s\nquotes the secret of\n%s", got, text)
		}
	}
}

func TestConfig_NeverPrintsSecrets(t *testing.T) {
	t.Parallel()
	cfg := load(t, with("redis: {url: 'redis://user:"+planted+"@h:6379/0'}\n")+
		"  - {appid: wx2, token: {mode: static, access_token: "+planted+"}}\n", map[string]string{"WX_SECRET": planted})
	if err := cfg.ResolveSecrets(); err != nil {
		t.Fatal(err)
	}
	if cfg.Apps[0].Token.Secret.Text().Reveal() != planted {
		t.Fatal("the secret was not resolved")
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb, cfg)
		fmt.Fprintf(&out, verb, *cfg)
		fmt.Fprintf(&out, verb, cfg.Redis.URL)
		fmt.Fprintf(&out, verb, cfg.Apps[1].Token.AccessToken)
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("m", "cfg", cfg, "redis", cfg.Redis, "url", cfg.Redis.URL, "token", cfg.Apps[1].Token,
			"secret", cfg.Apps[1].Token.AccessToken)
	}
	if err := json.NewEncoder(&out).Encode(struct {
		Apps  []config.App
		Redis config.Redis
	}{cfg.Apps, cfg.Redis}); err != nil {
		t.Fatal(err)
	}
	out.WriteString(yamlOf(t, cfg))
	if strings.Contains(out.String(), planted) || strings.Contains(out.String(), fmt.Sprintf("%x", planted)) {
		t.Errorf("a secret was printed:\n%s", out.String())
	}
}
