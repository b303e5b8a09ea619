package config_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const printable = `redis: {url: "redis://user:planted4711@redis:6379/0"}
store: {encryption: off, result_ttl: 90m}
cloudid_lifetime: 1m30s
apps:
  - appid: wx1
    token: {mode: stable, secret: env:WX_SECRET}
    batch_linger: 0s
  - appid: wx2
    token: {mode: static, access_token: file:keys/token}
    group_by: app
  - appid: wx3
    token: {mode: stable, secret: planted4711}
  - appid: wx4
    token: {mode: remote, url: "https://tokens.example.com/wx?app=planted4711&key=planted4711", header: "env:TOKEN_HEADER"}
  - appid: wx5
    token: {mode: component, component: wxc, refresh_token: planted4711}
components:
  - appid: wxc
    secret: planted4711
    verify_token: env:COMPONENT_TOKEN
    aes_key: file:keys/aes
    authorizers: {batch_max: 5}
webhooks:
  - name: orders
    url: https://example.com/hooks/cloudid?token=planted4711
    secrets: [env:WHSEC]
  - name: plain
    url: https://example.com/hooks/cloudid
    secrets: [planted4711]
`

func TestYAML_Golden(t *testing.T) {
	t.Parallel()
	cfg := load(t, printable, map[string]string{"CLOUDIDQ_WORKER_CONCURRENCY": "8"})
	golden(t, "print.golden.yaml", yamlOf(t, cfg))
}

// A credential is never printed, whether it comes from the file or from the environment, and in
// every form of the address.
func TestYAML_ShowsNoCredential(t *testing.T) {
	t.Parallel()
	for name, dsn := range map[string]string{
		"URL":      "postgres://planted4711:planted4711@db:5432/c?sslpassword=planted4711",
		"keywords": "host=db user=planted4711 password='planted4711'",
	} {
		vars := map[string]string{
			"CLOUDIDQ_STORE_DRIVER": "postgres", "CLOUDIDQ_STORE_DSN": dsn,
			"CLOUDIDQ_REDIS_URL": "redis-sentinel://user:planted4711@h1:26379,h2:26379/mymaster",
		}
		cfg := load(t, printable, vars)
		shown := yamlOf(t, cfg) + fmt.Sprintf("%v %+v %s %q", cfg, cfg, cfg.Webhooks[0].URL, cfg.Apps[3].Token.URL)
		if text, err := json.Marshal(cfg); err != nil {
			t.Error(err)
		} else {
			shown += string(text)
		}
		if strings.Contains(shown, planted) {
			t.Errorf("%s: a credential is printed:\n%s", name, shown)
		}
		for _, stays := range []string{
			"https://example.com/hooks/cloudid?token=[redacted]",
			"https://tokens.example.com/wx?app=[redacted]&key=[redacted]",
			"@h1:26379,h2:26379/mymaster",
		} {
			if !strings.Contains(shown, stays) {
				t.Errorf("%s: %s is not printed:\n%s", name, stays, shown)
			}
		}
	}
}

// If a URL is in the wrong place, the fault quotes it without its credential.
func TestLoad_FaultsShowNoCredential(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"store: {driver: 'postgres://u:planted4711@db/c'}\n",
		"store: {encryption: 'host=db password=planted4711'}\n",
		"api: {listen: 'http://u:planted4711@h?planted4711'}\n",
		"wechat: {base_url: 'http://u:planted4711@h/?x=planted4711'}\n",
		"webhooks: [{name: 'https://u:planted4711@h', url: 'ftp://u:planted4711@h/?x=planted4711', " +
			"secrets: [env:A], allow_cidrs: ['https://planted4711@h']}]\n",
	} {
		if got := faults(t, with(text), nil); strings.Contains(got, planted) {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// A printed configuration whose URLs still contain the placeholder is rejected before a request is
// sent to them.
func TestResolveSecrets_RefusesRedactedURLs(t *testing.T) {
	t.Parallel()
	redact := strings.NewReplacer(
		"planted4711&key=planted4711", "[redacted]", "token=planted4711", "token=[redacted]")
	cfg := load(t, redact.Replace(printable), nil)
	err := cfg.ResolveSecrets()
	for _, path := range []string{"apps[3].token.url", "webhooks[0].url"} {
		if err == nil || !strings.Contains(err.Error(),
			path+": contains the placeholder of config print") {
			t.Errorf("ResolveSecrets = %v, want a fault at %s", err, path)
		}
	}
}

func TestYAML_CanBeLoaded(t *testing.T) {
	t.Parallel()
	cfg := load(t, printable, nil)
	printed := yamlOf(t, cfg)
	if strings.Contains(printed, planted) {
		t.Errorf("a credential is printed:\n%s", printed)
	}
	if n := strings.Count(printed, "[redacted]"); n != 8 {
		t.Errorf("%d values are redacted, want 8:\n%s", n, printed)
	}
	load(t, printed, nil) // even with the placeholders
	same(t, load(t, strings.ReplaceAll(printed, "[redacted]", planted), nil), cfg)
}
