package config_test

import (
	"strings"
	"testing"

	"cloudidq/config"
)

const platform = `components:
  - {appid: wxc, secret: s, verify_token: v, aes_key: abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG}
`

func TestToken_EveryMode(t *testing.T) {
	t.Parallel()
	for _, token := range []string{
		"mode: stable, secret: s", "mode: legacy, secret: s", "mode: static, access_token: t",
		"mode: remote, url: http://10.0.0.1/wx", "mode: remote, url: 'https://t/?app=1', header: 'X-Key: two words'",
		"mode: sidecar", "mode: sidecar, from_appid: wx2", "mode: cloudbase_file", "mode: cloudbase_file, path: /run/token",
		"mode: component, component: wxc", "mode: component, component: wxc, refresh_token: r",
	} {
		cfg := load(t, app("appid: wx1", "token: {"+token+"}")+platform, nil)
		if err := cfg.ResolveSecrets(); err != nil {
			t.Errorf("ResolveSecrets(%s) = %v", token, err)
		}
	}
}

func TestToken_Faults(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]string{
		"mode: legacy":                                    "secret: missing; mode legacy requires the AppSecret",
		"mode: remote, header: 'a: b'":                    "url: missing; mode remote requires the address of the token server",
		"mode: remote, url: t/wx":                         "url: must be a URL such as https://tokens.example.com/wx, without user and fragment",
		"mode: remote, url: 'https://u:planted4711@t/wx'": "url: must be a URL such as https://tokens.example.com/wx, without user and fragment",
		"mode: component":                                 "component: missing; mode component requires the appid of a platform under components",
		"mode: component, component: wxd":                 `component: "wxd" is not the appid of any of components`,
		"mode: sidecar, from_appid: 'a b'":                `from_appid: must be 1 to 64 letters, digits, - or _, is "a b"`,
		"mode: sidecar, secret: planted4711":              "secret: belongs to mode stable or legacy; the mode is sidecar",
		"mode: cloudbase_file, path: token":               "path: must be absolute",
	} {
		got := faults(t, app("appid: wx1", "token: {"+token+"}")+platform, nil)
		if want = "cloudidq.yaml:4: apps[0].token." + want; got != want {
			t.Errorf("Load(%s) = %s, want %s", token, got, want)
		}
	}
}

func TestResolveSecrets_HeaderAndAESKey(t *testing.T) {
	t.Parallel()
	text := app("appid: wx1", "token: {mode: remote, url: 'https://t/', header: planted4711}") +
		strings.Replace(platform, "abcdef", "planted4711-", 1)
	path := write(t, text)
	cfg, err := config.Load(path, environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	const want = `cloudidq.yaml:4: apps[0].token.header: must have the form "Name: value"
cloudidq.yaml:6: components[0].aes_key: must be the 43 letters and digits from the platform's console`
	if got := short(t, nil, cfg.ResolveSecrets(), path); got != want {
		t.Errorf("ResolveSecrets() = %s, want %s", got, want)
	}
}

func TestLoad_ComponentWithoutApps(t *testing.T) {
	t.Parallel()
	cfg := load(t, "store: {encryption: off}\n"+platform, nil)
	want := config.Calls{GroupBy: config.GroupByOpenID, BatchMax: 20, BatchLinger: 5e6, MaxInFlight: 64}
	if got := cfg.Components[0].Authorizers; got != want {
		t.Errorf("authorizers = %+v, want the defaults %+v", got, want)
	}
}
