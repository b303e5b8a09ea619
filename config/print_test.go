package config_test

import (
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
	load(t, printed, nil) // as it is, to be looked at
	same(t, load(t, strings.ReplaceAll(printed, "[redacted]", planted), nil), cfg)
}
