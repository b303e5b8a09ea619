package httpapi_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/httpapi"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat/push"
)

const eventsPath = "/v1/wechat/components/wxc/events?msg_signature=planted"

func TestEvents_ReachThePlatform(t *testing.T) {
	created := time.Unix(1_700_000_000, 0)
	for want, event := range map[string]push.Event{
		"ticket planted 1700000000":             {Type: push.Ticket, Ticket: secret.New("planted"), CreatedAt: created},
		"authorize wxm code-planted 1700000000": {Type: push.Authorized, Authorizer: "wxm", Code: secret.New("code-planted"), CreatedAt: created},
		"authorize wxm planted 1700000000":      {Type: push.UpdateAuthorized, Authorizer: "wxm", Code: secret.New("planted"), CreatedAt: created},
		"unauthorize wxm 1700000000":            {Type: push.Unauthorized, Authorizer: "wxm", CreatedAt: created},
		"":                                      {Type: push.Other, CreatedAt: created},
	} {
		p := &platform{event: event}
		a := serve(t, httpapi.Config{}, p)
		got := do(t, "POST", a.url+eventsPath, "planted")
		if got.status != 200 || got.body != "success" || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
			t.Errorf("answer to %s = %d %s, want the plain text success", event.Type, got.status, got.body)
		}
		if diff := cmp.Diff(want, strings.Join(p.calls, "; ")); diff != "" {
			t.Errorf("calls of the platform (-want +got):\n%s", diff)
		}
		if said := a.log.String(); strings.Contains(said, "planted") || !strings.Contains(said, "type="+event.Type.String()) {
			t.Errorf("log = %s, want the event without its secrets", said)
		}
	}
}

func TestEvents_Refusals(t *testing.T) {
	for name, tt := range map[string]struct {
		platform *platform
		body     string
		want     int
	}{
		"Signature": {&platform{open: push.ErrSignature}, "planted", 403},
		"Stale":     {&platform{open: push.ErrStale}, "planted", 403},
		"Malformed": {&platform{open: fmt.Errorf("%w: no ticket", push.ErrMalformed)}, "planted", 400},
		"TooLarge":  {&platform{}, strings.Repeat("planted", push.MaxBytes/7+1), 413},
		"NoEffect": {&platform{event: push.Event{Type: push.Ticket}, apply: errors.New("Redis is down")},
			"planted", 503},
	} {
		t.Run(name, func(t *testing.T) {
			a := serve(t, httpapi.Config{}, tt.platform)
			got := do(t, "POST", a.url+eventsPath, tt.body)
			wantProblem(t, got, tt.want)
			if retry := got.header.Get("Retry-After"); (retry != "") != (tt.want == 503) {
				t.Errorf("Retry-After = %q with %d", retry, tt.want)
			}
			if said := a.log.String(); strings.Contains(said, "planted") {
				t.Errorf("log = %s, which repeats the push", said)
			}
		})
	}
}
