package secret_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cloudidq/internal/secret"
)

func TestURL_ShowsNoCredential(t *testing.T) {
	for text, want := range map[string]string{
		"https://example.com/hooks/cloudid":                "https://example.com/hooks/cloudid",
		"https://example.com/hooks?token=planted&app=wx1":  "https://example.com/hooks?token=[redacted]&app=[redacted]",
		"https://example.com/?planted":                     "https://example.com/?[redacted]",
		"https://example.com?a=planted#planted":            "https://example.com?a=[redacted]#[redacted]",
		"https://example.com/?a=&b=":                       "https://example.com/?a=&b=",
		"https://user:planted@example.com:8443/x":          "https://[redacted]@example.com:8443/x",
		"https://planted@example.com/x":                    "https://[redacted]@example.com/x",
		"https://user:plan/ted@example.com/x":              "https://[redacted]@example.com/x",
		"redis://:plan#ted@example.com:6379/0":             "redis://[redacted]@example.com:6379/0",
		"redis://user:plan?ted@example.com:6379/0":         "redis://[redacted]@example.com:6379/0",
		"https://example.com/x?mail=planted@example.org":   "https://example.com/x?mail=[redacted]",
		"https://user:pl%zzanted@example.com":              "https://[redacted]@example.com",
		"https://user:planted@[::1]:80/x?y=planted":        "https://[redacted]@[::1]:80/x?y=[redacted]",
		"postgres://cloudidq:planted@db:5432/c?sslmode=on": "postgres://[redacted]@db:5432/c?sslmode=[redacted]",
		"user:planted@example.com/x":                       "[redacted]@example.com/x",
		"":                                                 "",
		"example.com":                                      "example.com",
	} {
		if got := secret.URL(text); got != want {
			t.Errorf("URL(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestURLsIn_RedactsWithinAText(t *testing.T) {
	for text, want := range map[string]string{
		`Post "https://u:planted@otel.example.com/v1/traces?key=planted": dial tcp 10.0.0.1:443: refused`: `Post "https://[redacted]@otel.example.com/v1/traces?key=[redacted]": dial tcp 10.0.0.1:443: refused`,
		"host=db user=planted password=planted dbname=c":                                                  "host=db user=[redacted] password=[redacted] dbname=c",
		`host=db password = 'plan\'ted planted' dbname=c`:                                                 "host=db password = [redacted] dbname=c",
		"PASSWORD='planted":                                "PASSWORD=[redacted]",
		`parse "redis://a:plan'ted@h1/": bad`:              `parse "redis://[redacted]@h1/": bad`,
		`parse "https://h1/?a=plan\"ted<planted>": bad`:    `parse "https://h1/?a=[redacted]": bad`,
		"see redis://a:planted@h1,h2/m.":                   "see redis://[redacted]@h1,h2/m.",
		"no URL at all":                                    "no URL at all",
		"http://u:planted@a b/?key=planted&x=planted: bad": "http://[redacted]@a b/?key=[redacted]&x=[redacted] bad",
	} {
		if got := secret.URLsIn(text); got != want {
			t.Errorf("URLsIn(%q) = %q, want %q", text, got, want)
		}
	}
}

// URLsIn redacts the password and the query values of a URL in any surrounding text.
func TestURLsIn_ShowsNoValue(t *testing.T) {
	const planted = "PLANTED4711"
	word := rapid.StringMatching(`[a-z0-9._%~+'<>-]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		text := word.Draw(t, "before") + " " + rapid.SampledFrom([]string{"https", "rediss", "postgres"}).Draw(t, "scheme") + "://" +
			word.Draw(t, "user") + ":" + word.Draw(t, "pass") + planted + "@" + word.Draw(t, "host") + "/" + word.Draw(t, "path") +
			"?" + word.Draw(t, "name") + "=" + word.Draw(t, "value") + planted + word.Draw(t, "more") + " " + word.Draw(t, "after")
		if got := secret.URLsIn(text); strings.Contains(got, planted) {
			t.Fatalf("URLsIn(%q) = %q", text, got)
		}
	})
}
