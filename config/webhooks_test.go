package config_test

import (
	"strings"
	"testing"

	"cloudidq/config"
)

const orders = `webhooks:
  - name: orders
    url: https://example.com/hooks
    secrets: [env:HOOK, planted4711]
`

func TestLoad_Webhooks(t *testing.T) {
	t.Parallel()
	cfg := load(t, with(orders+"    payload: thin\n    batch_max: 5\n    allow_cidrs: [10.1.0.0/16]\n"), map[string]string{"HOOK": "whsec_x"})
	hook, found := cfg.Webhook("orders")
	if !found || hook.Payload != config.PayloadThin || hook.BatchMax != 5 || len(hook.Secrets) != 2 || hook.AllowCIDRs[0] != "10.1.0.0/16" {
		t.Fatalf("Webhook = %+v, %t", hook, found)
	}
	if err := cfg.ResolveSecrets(); err != nil && strings.Contains(err.Error(), "webhooks") {
		t.Errorf("ResolveSecrets = %v", err)
	}
	if hook, _ = cfg.Webhook("orders"); hook.Secrets[0].Text().Reveal() != "whsec_x" {
		t.Errorf("the first secret is %q", hook.Secrets[0].Text().Reveal())
	}
	printed := yamlOf(t, cfg)
	if strings.Contains(printed, "planted4711") || !strings.Contains(printed, "env:HOOK") {
		t.Errorf("config print shows:\n%s", printed)
	}
	if defaults, _ := load(t, with(orders), nil).Webhook("orders"); defaults.Payload != config.PayloadFull || defaults.BatchMax != 100 {
		t.Errorf("defaults = %+v", defaults)
	}
}

// A list within braces is parsed according to YAML: a colon that is not followed by whitespace is
// part of a text.
func TestLoad_WebhookInOneLine(t *testing.T) {
	t.Parallel()
	text := "webhooks: [{name: a, url: http://10.0.0.1/hook, secrets: [env:HOOK, file:hook/next, 'env:LAST'], allow_cidrs: [fd00::/8]}]\n"
	hook, _ := load(t, with(text), nil).Webhook("a")
	var shown []string
	for _, s := range hook.Secrets {
		shown = append(shown, s.String())
	}
	if got := strings.Join(append(shown, hook.AllowCIDRs...), " "); got != "env:HOOK file:hook/next env:LAST fd00::/8" {
		t.Errorf("the lists are %s", got)
	}
	for _, list := range []string{"[env: HOOK]", "[{env: HOOK}]", "['env':HOOK]", "[{env: HOOK, file: hook}]"} {
		const want = "webhooks[0].secrets[0]: must be a text, is a mapping"
		if got := faults(t, with("webhooks: [{name: a, url: 'https://a.b', secrets: "+list+"}]\n"), nil); !strings.Contains(got, want) {
			t.Errorf("secrets: %s: %s, want %s", list, got, want)
		}
	}
}

func TestLoad_WebhookFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"webhooks: [{}]\n": "webhooks[0].name: missing|webhooks[0].url: missing|webhooks[0].secrets: missing",
		orders + "  - {name: orders, url: 'https://a.b', secrets: [x]}\n":         "webhooks[1].name: \"orders\" is already the name of webhooks[0]",
		"webhooks: [{name: a.b, url: 'https://a.b', secrets: [x]}]\n":             "webhooks[0].name: must be 1 to 64 letters",
		"webhooks: [{name: a, url: 'http://planted', secrets: [x]}]\n":            "webhooks[0].url: must be https; http is allowed only with allow_cidrs",
		"webhooks: [{name: a, url: 'https://u:planted@b', secrets: [x]}]\n":       "webhooks[0].url: must have neither user",
		"webhooks: [{name: a, url: 'planted', secrets: [x]}]\n":                   "webhooks[0].url: must be a URL",
		orders + "    allow_cidrs: [10.0.0.1]\n":                                  "webhooks[0].allow_cidrs[0]: must be a range",
		orders + "    allow_cidrs: {a: b}\n":                                      "webhooks[0].allow_cidrs: must be a list",
		orders + "    batch_max: 0\n":                                             "webhooks[0].batch_max: must be between 1 and 1000",
		orders + "    payload: both\n":                                            "webhooks[0].payload: must be full or thin",
		orders + "    client_cert: x\n":                                           "client_cert and client_key must both be set, or neither",
		"webhooks: [{name: a, url: 'https://a.b', secrets: [\"env:no good\"]}]\n": "webhooks[0].secrets[0]: env: must be followed",
	} {
		got := faults(t, with(text), nil)
		for part := range strings.SplitSeq(want, "|") {
			if !strings.Contains(got, part) {
				t.Errorf("Load(%q) = %s, want %s", text, got, part)
			}
		}
		if strings.Contains(got, "planted") {
			t.Errorf("Load(%q) = %s, which quotes a possible secret", text, got)
		}
	}
}
