package wechat_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// Values that no text may contain. Each has characters that are escaped in a URL.
const (
	plantedToken   = "TOKEN/planted+0123456789"
	plantedOpenID  = "oPENID=planted-0123456789"
	plantedCloudID = "73_CLOUDID&planted-0123456789"
	plantedSecret  = "SECRET/planted+0123456789"
)

// wantNoSecret fails if any way to print v shows a planted value, either unchanged or escaped for a
// URL.
func wantNoSecret(t testing.TB, v any) {
	t.Helper()
	inJSON, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %q %s", v, v, v, v, inJSON)
	for _, planted := range []string{plantedToken, plantedOpenID, plantedCloudID, plantedSecret} {
		if strings.Contains(shown, planted) || strings.Contains(shown, url.QueryEscape(planted)) {
			t.Errorf("%q appears in %s", planted, shown)
		}
	}
}

func TestErrors_ContainNoSecret(t *testing.T) {
	echo := plantedToken + " " + url.QueryEscape(plantedToken) + " " + plantedOpenID + " " + plantedCloudID + " " + plantedSecret
	quoted, err := json.Marshal(echo)
	if err != nil {
		t.Fatal(err)
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	detail := fmt.Sprintf(`{"errCode":-601005,"errMsg":%s}`, quoted)
	servers := map[string]string{
		"Refused":      closed.URL,
		"HungUp":       serve(t, hangUp).URL,
		"NoSuchHost":   "http://no-such-host.invalid.",
		"EchoOnTop":    serve(t, answer(`{"errcode":40003,"errmsg":`+string(quoted)+`}`)).URL,
		"EchoInItem":   serve(t, answer(list(entry(plantedCloudID, detail)))).URL,
		"EchoAsHTML":   serve(t, answer(`<p>`+echo)).URL,
		"EchoInHeader": serve(t, func(w http.ResponseWriter, _ *http.Request) { writeRaw(w, "HTTP/1.1 "+echo+"\r\n\r\n") }).URL,
		"Redirect": serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/?"+r.URL.RawQuery, http.StatusFound)
		}).URL,
	}
	for name, url := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, url)
			req := request(plantedCloudID)
			req.OpenID = plantedOpenID
			got := client.GetOpenData(t.Context(), wechat.StaticToken(secret.New(plantedToken)), req)
			if got[0].Err == nil {
				t.Fatalf("outcome = %+v, want an error", got[0])
			}
			text := *got[0].Err
			if name == "EchoOnTop" || name == "EchoInItem" {
				// The AppSecret is not sent with this call, so it is not removed from the text.
				text.Message = strings.ReplaceAll(text.Message, plantedSecret, "")
			}
			wantNoSecret(t, text)
			wantNoSecret(t, &text)
			wantNoSecret(t, text.Error())

			source := client.StableToken("wx00", secret.New(plantedSecret))
			_, err := source.Token(t.Context())
			if err == nil {
				t.Fatal("Token succeeded, want an error")
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), plantedSecret) {
				t.Errorf("the AppSecret appears in %#v", err)
			}
		})
	}
}

func writeRaw(w http.ResponseWriter, text string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte(text))
	_ = conn.Close()
}

func TestErrors_MessageIsShortAndOnOneLine(t *testing.T) {
	tests := []struct{ name, errmsg, want string }{
		{"Controls", "a\x00b\nc\u2028d\u200be\u202ef", "abcdef"},
		{"Long", strings.Repeat("系统繁忙", 100), strings.Repeat("系统繁忙", 16) + "系统"},
		{"CutInsideAnEcho", strings.Repeat("x", 195) + plantedCloudID, strings.Repeat("x", 195) + "…"},
		{"OnlyRID", "rid: 68aeab00-21ea7900-3a442400", "invalid openid"},
		{"OnlyControls", "\x00\x01", "invalid openid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text, err := json.Marshal(tt.errmsg)
			if err != nil {
				t.Fatal(err)
			}
			_, failure := wechat.ParseResponse(200, []byte(`{"errcode":40003,"errmsg":`+string(text)+`}`), "", []string{plantedCloudID})
			if failure.Message != tt.want || len(failure.Message) > 200 || !utf8.ValidString(failure.Message) {
				t.Errorf("Message = %q, want %q", failure.Message, tt.want)
			}
		})
	}
}
