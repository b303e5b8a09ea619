package config_test

import (
	"strings"
	"testing"
)

const bound = `apps:
  - {appid: wxA, webhook: ofA, token: {mode: static, access_token: x}}
  - {appid: wxB, webhook: everybodys, token: {mode: static, access_token: x}}
webhooks:
  - {name: ofA, url: "https://a.example.com", secrets: [x], appids: [wxA]}
  - {name: ofB, url: "https://b.example.com", secrets: [x], appids: [wxB, wxA]}
  - {name: onlyB, url: "https://b.example.com", secrets: [x], appids: [wxB]}
  - {name: everybodys, url: "https://c.example.com", secrets: [x]}
store: {encryption: "off"}
`

// An endpoint takes the results of the apps that it lists, and of all if it lists none. Who reaches some apps alone may name
// those that list the app, and the app's own.
func TestMayName(t *testing.T) {
	t.Parallel()
	cfg := load(t, bound, nil)
	for _, tt := range []struct {
		app, name       string
		anybody, bounds bool // whether a caller of all apps, or a limited one, may
	}{
		{"wxA", "", true, true},
		{"wxA", "ofA", true, true},
		{"wxA", "ofB", true, true}, // which lists both
		{"wxA", "onlyB", false, false},
		{"wxA", "everybodys", true, false},
		{"wxB", "everybodys", true, true}, // its own
		{"wxB", "ofA", false, false},
		{"wxA", "nope", false, false},
	} {
		if err := cfg.MayName(tt.app, tt.name, false); (err == nil) != tt.anybody {
			t.Errorf("MayName(%s, %q, false) = %v", tt.app, tt.name, err)
		}
		if err := cfg.MayName(tt.app, tt.name, true); (err == nil) != tt.bounds {
			t.Errorf("MayName(%s, %q, true) = %v", tt.app, tt.name, err)
		}
	}
	unknown, others := cfg.MayName("wxA", "nope", true), cfg.MayName("wxA", "onlyB", true)
	if unknown.Error() != others.Error() {
		t.Errorf("a limited caller learns which endpoints there are: %q, %q", unknown, others)
	}
}

// The endpoint of a platform's merchants is their own, as far as it is known whose merchants they are.
func TestMayName_Merchants(t *testing.T) {
	t.Parallel()
	component := func(id, webhook string) string {
		return "  - {appid: " + id + ", secret: x, verify_token: x, aes_key: x, authorizers: {webhook: " + webhook + "}}\n"
	}
	hooks := "webhooks:\n  - {name: a, url: 'https://a.b', secrets: [x]}\n  - {name: b, url: 'https://a.b', secrets: [x]}\n  - {name: m, url: 'https://a.b', secrets: [x], appids: [wxM]}\n"
	one := load(t, with(hooks+"components:\n"+component("wxc", "a")), nil)
	two := load(t, with(hooks+"components:\n"+component("wxc", "a")+component("wxd", "b")), nil)
	if one.MayName("wxM", "a", true) != nil || one.MayName("wxM", "b", true) == nil || one.MayName("wxM", "m", true) != nil {
		t.Error("with one platform: a must be the merchant's own, b not, and m lists the merchant")
	}
	if two.MayName("wxM", "a", true) == nil || two.MayName("wxM", "a", false) != nil {
		t.Error("with two platforms a limited caller names an endpoint that may be the other's")
	}
}

func TestLoad_BindingFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range [][3]string{
		{"appids: [wxB]}\n  - {name: everybodys", "appids: [wxB, wxB]}\n  - {name: everybodys", `webhooks[2].appids[1]: "wxB" stands in appids[0] already`},
		{"appids: [wxB]}\n  - {name: everybodys", "appids: [wxC]}\n  - {name: everybodys", `webhooks[2].appids[0]: "wxC" is the appid of none of apps`},
		{"appids: [wxB]}\n  - {name: everybodys", "appids: ['']}\n  - {name: everybodys", `webhooks[2].appids[0]: missing`},
		{"appids: [wxB]}\n  - {name: everybodys", "appids: ['wx B']}\n  - {name: everybodys", `webhooks[2].appids[0]: must be 1 to 64`},
		{"webhook: ofA", "webhook: onlyB", `apps[0].webhook: "onlyB" does not list this app in its appids`},
		{"store:", "components: [{appid: wxc, secret: x, verify_token: x, aes_key: x, authorizers: {webhook: ofA}}]\nstore:", `components[0].authorizers.webhook: "ofA" takes the results of its appids alone`},
	} {
		text := strings.Replace(bound, tt[0], tt[1], 1)
		if got := faults(t, text, nil); text == bound || !strings.Contains(got, tt[2]) {
			t.Errorf("Load with %q = %s, want %s", tt[1], got, tt[2])
		}
	}
}
