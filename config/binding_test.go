package config_test

import (
	"strings"
	"testing"
)

const bound = `apps:
  - {appid: wxA, webhook: ofA, token: {mode: static, access_token: x}}
  - {appid: wxB, webhook: open, token: {mode: static, access_token: x}}
webhooks:
  - {name: ofA, url: "https://a.example.com", secrets: [x], appids: [wxA]}
  - {name: ofB, url: "https://b.example.com", secrets: [x], appids: [wxB, wxA]}
  - {name: onlyB, url: "https://b.example.com", secrets: [x], appids: [wxB]}
  - {name: open, url: "https://c.example.com", secrets: [x]}
store: {encryption: "off"}
`

// An endpoint accepts the results of the apps that it lists, or of all apps if it lists none. A
// caller that is limited to some apps may name the endpoints that list the app, and the app's own.
func TestMayName(t *testing.T) {
	t.Parallel()
	cfg := load(t, bound, nil)
	for _, tt := range []struct {
		app, name    string
		all, limited bool // whether a caller of all apps, and a limited one, may name it
	}{
		{"wxA", "", true, true},
		{"wxA", "ofA", true, true},
		{"wxA", "ofB", true, true}, // lists both apps
		{"wxA", "onlyB", false, false},
		{"wxA", "open", true, false},
		{"wxB", "open", true, true}, // the app's own
		{"wxB", "ofA", false, false},
		{"wxA", "nope", false, false},
	} {
		if err := cfg.MayName(tt.app, tt.name, false); (err == nil) != tt.all {
			t.Errorf("MayName(%s, %q, false) = %v", tt.app, tt.name, err)
		}
		if err := cfg.MayName(tt.app, tt.name, true); (err == nil) != tt.limited {
			t.Errorf("MayName(%s, %q, true) = %v", tt.app, tt.name, err)
		}
	}
	unknown, others := cfg.MayName("wxA", "nope", true), cfg.MayName("wxA", "onlyB", true)
	if unknown.Error() != others.Error() {
		t.Errorf("a limited caller can find out which endpoints exist: %q, %q", unknown, others)
	}
}

// The endpoint of a platform is its merchants' own if the merchants can only belong to that
// platform.
func TestMayName_Merchants(t *testing.T) {
	t.Parallel()
	component := func(id, webhook string) string {
		return "  - {appid: " + id + ", secret: x, verify_token: x, aes_key: x, authorizers: {webhook: " + webhook + "}}\n"
	}
	hooks := `webhooks:
  - {name: a, url: 'https://a.b', secrets: [x]}
  - {name: b, url: 'https://a.b', secrets: [x]}
  - {name: m, url: 'https://a.b', secrets: [x], appids: [wxM]}
`
	one := load(t, with(hooks+"components:\n"+component("wxc", "a")), nil)
	two := load(t, with(hooks+"components:\n"+component("wxc", "a")+component("wxd", "b")), nil)
	if one.MayName("wxM", "a", true) != nil || one.MayName("wxM", "b", true) == nil ||
		one.MayName("wxM", "m", true) != nil {
		t.Error("with one platform, a limited caller must be able to name a and m, but not b")
	}
	if two.MayName("wxM", "a", true) == nil || two.MayName("wxM", "a", false) != nil {
		t.Error("with two platforms, a limited caller can name an endpoint of the other platform")
	}
}

func TestLoad_BindingFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range [][3]string{
		{"appids: [wxB]}\n  - {name: open", "appids: [wxB, wxB]}\n  - {name: open",
			`webhooks[2].appids[1]: "wxB" is already listed in appids[0]`},
		{"appids: [wxB]}\n  - {name: open", "appids: [wxC]}\n  - {name: open",
			`webhooks[2].appids[0]: "wxC" is not the appid of any of apps`},
		{"appids: [wxB]}\n  - {name: open", "appids: ['']}\n  - {name: open",
			`webhooks[2].appids[0]: missing`},
		{"appids: [wxB]}\n  - {name: open", "appids: ['wx B']}\n  - {name: open",
			`webhooks[2].appids[0]: must be 1 to 64`},
		{"webhook: ofA", "webhook: onlyB", `apps[0].webhook: "onlyB" does not list this app in its appids`},
		{"store:",
			"components: [{appid: wxc, secret: x, verify_token: x, aes_key: x, authorizers: {webhook: ofA}}]\nstore:", `components[0].authorizers.webhook: "ofA" accepts only the apps in its appids`},
	} {
		text := strings.Replace(bound, tt[0], tt[1], 1)
		if got := faults(t, text, nil); text == bound || !strings.Contains(got, tt[2]) {
			t.Errorf("Load with %q = %s, want %s", tt[1], got, tt[2])
		}
	}
}
