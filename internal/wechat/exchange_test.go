package wechat_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// fakeTokens returns its first token until the token is rejected, then the next one. The last token
// stays.
type fakeTokens struct {
	mu       sync.Mutex // guards the fields below
	tokens   []wechat.Token
	rejected []string
	err      error
}

func (f *fakeTokens) Token(context.Context) (wechat.Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return wechat.Token{}, f.err
	}
	return f.tokens[min(len(f.rejected), len(f.tokens)-1)], nil
}

func (f *fakeTokens) Reject(_ context.Context, t wechat.Token, _ int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rejected = append(f.rejected, t.Value.Reveal())
}

func accessTokens(values ...string) *fakeTokens {
	f := &fakeTokens{}
	for _, v := range values {
		f.tokens = append(f.tokens, wechat.Token{Param: "access_token", Value: secret.New(v)})
	}
	return f
}

// network replaces the transport. Like the real transport, it connects and calls GotConn, then
// reads the body, which must have the announced length, and then waits for the answer.
type network struct {
	connect time.Duration // before the body is read
	latency time.Duration // before the answer
	answers []string      // one per request; the last one is repeated

	bodies []string
	starts []time.Time
}

// RoundTrip implements [http.RoundTripper].
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := pause(r.Context(), n.connect); err != nil {
		return nil, err
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || int64(len(body)) != r.ContentLength {
		return nil, errors.Join(err, errors.New("body shorter than announced"))
	}
	n.bodies = append(n.bodies, string(body))
	n.starts = append(n.starts, time.Now())
	text := n.answers[min(len(n.bodies), len(n.answers))-1]
	if err := pause(r.Context(), n.latency); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, ContentLength: -1, Body: io.NopCloser(strings.NewReader(text))}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// offline returns a client that uses n, for synctest bubbles.
func offline(t *testing.T, n *network) *wechat.Client {
	t.Helper()
	client := newClient(t, "https://api.weixin.qq.com")
	client.SetTransport(n)
	return client
}

func bodyOf(ids ...string) string { return `{"cloudid_list":["` + strings.Join(ids, `","`) + `"]}` }

func attempts(n int, o wechat.Outcome) wechat.Outcome {
	o.Attempts = n
	return o
}

func TestGetOpenData_RepeatsOnlyOpenItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answers: []string{
			list(entry("c", `{"errCode":-601006}`), entry("a", `{"data":{"opengid":"A"}}`), entry("b", `{"errCode":-601008}`), entry("d", ``)),
			list(entry("e", `{"data":{"opengid":"E"}}`), entry("d", `{"data":{"opengid":"D"}}`)),
			list(entry("b", `{"errCode":-601003,"errMsg":"net"}`)),
		}}
		start := time.Now()
		got := offline(t, n).GetOpenData(t.Context(), token(), request("a", "b", "c", "d", "e"))
		want := []wechat.Outcome{
			attempts(1, data("a", "group", `{"opengid":"A"}`)),
			attempts(3, refusal("b", wechat.ClassRetry, -601003, "net")),
			attempts(1, refusal("c", wechat.ClassExpired, -601006, "cloudID expired")),
			attempts(2, data("d", "group", `{"opengid":"D"}`)),
			attempts(2, data("e", "group", `{"opengid":"E"}`)),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{bodyOf("a", "b", "c", "d", "e"), bodyOf("b", "d", "e"), bodyOf("b")}, n.bodies); diff != "" {
			t.Errorf("bodies (-want +got):\n%s", diff)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("GetOpenData took %v, want at most about 3s", took)
		}
	})
}

func TestGetOpenData_WholeRequestErrors(t *testing.T) {
	tests := []struct {
		name     string
		answer   string
		class    wechat.Class
		requests int
	}{
		{"Busy_IsTriedThrice", `{"errcode":-1,"errmsg":"x"}`, wechat.ClassRetry, 3},
		{"BusyCloud_IsTriedThrice", `{"errcode":-1000,"errmsg":"x"}`, wechat.ClassRetry, 3},
		{"TooLarge_IsTheCallersToSplit", `{"errcode":47001,"errmsg":"x"}`, wechat.ClassBatch, 1},
		{"InvalidArgs_IsTheCallersToSplit", `{"errcode":40097,"errmsg":"x"}`, wechat.ClassBatch, 1},
		{"ForeignOpenID_IsFinal", `{"errcode":40003,"errmsg":"x"}`, wechat.ClassCall, 1},
		{"DayQuota_ComesBackAtOnce", `{"errcode":45009,"errmsg":"x"}`, wechat.ClassQuota, 1},
		{"MinuteQuota_ComesBackAtOnce", `{"errcode":45011,"errmsg":"x"}`, wechat.ClassRate, 1},
		{"Permission_ComesBackAtOnce", `{"errcode":48001,"errmsg":"x"}`, wechat.ClassApp, 1},
		{"Bug_ComesBackAtOnce", `{"errcode":43002,"errmsg":"x"}`, wechat.ClassBug, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{answers: []string{tt.answer}}
				got := offline(t, n).GetOpenData(t.Context(), token(), request("a", "b"))
				if len(got) != 2 || len(n.bodies) != tt.requests {
					t.Fatalf("%d outcomes after %d requests, want 2 after %d", len(got), len(n.bodies), tt.requests)
				}
				for i, o := range got {
					if o.Err == nil || o.Err.Class != tt.class || o.Attempts != tt.requests || o.CloudID != string("ab"[i]) {
						t.Errorf("outcome %d = %+v, want class %v after %d attempts", i, o, tt.class, tt.requests)
					}
				}
				if got[0].Err != got[1].Err {
					t.Error("the outcomes do not share the error of the call")
				}
			})
		})
	}
}

func TestGetOpenData_CallErrorDoesNotChangeFinishedItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answers: []string{list(entry("a", `{"data":{}}`), entry("b", `{"errCode":-601001}`)), `{"errcode":45009,"errmsg":"x"}`}}
		got := offline(t, n).GetOpenData(t.Context(), token(), request("a", "b"))
		want := []wechat.Outcome{attempts(1, data("a", "other", `{}`)), attempts(2, refusal("b", wechat.ClassQuota, 45009, "x"))}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

func TestGetOpenData_RefusedToken(t *testing.T) {
	const refused = `{"errcode":40001,"errmsg":"invalid credential"}`
	ok := list(entry("a", `{"data":{}}`))
	resolved := data("a", "other", `{}`)
	tests := []struct {
		name     string
		answers  []string
		rejected []string
		want     wechat.Outcome
	}{
		{"Replaced", []string{refused, ok}, []string{"t1"}, attempts(2, resolved)},
		{"RefusedAgain_IsFinal", []string{refused, refused, ok}, []string{"t1"},
			attempts(2, refusal("a", wechat.ClassToken, 40001, "invalid credential"))},
		{"RefusedAgainAfterBusy_IsFinal", []string{refused, `{"errcode":-1}`, refused, ok},
			[]string{"t1"},
			attempts(3, refusal("a", wechat.ClassToken, 40001, "invalid credential"))},
		{"NotLatest", []string{`{"errcode":40014}`, ok}, []string{"t1"}, attempts(2, resolved)},
		{"Expired", []string{`{"errcode":42001}`, ok}, []string{"t1"}, attempts(2, resolved)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tokens := accessTokens("t1", "t2")
				got := offline(t, &network{answers: tt.answers}).GetOpenData(t.Context(), tokens, request("a"))
				if diff := cmp.Diff([]wechat.Outcome{tt.want}, got); diff != "" {
					t.Errorf("outcomes (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.rejected, tokens.rejected); diff != "" {
					t.Errorf("rejected (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestGetOpenData_NoToken(t *testing.T) {
	own := &wechat.Error{Class: wechat.ClassApp, Code: 40013, Message: "invalid appid"}
	busy := &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "busy"}
	tests := []struct {
		name string
		err  error
		want *wechat.Error
	}{
		{"Configuration", own, own},
		{"Busy", busy, busy},
		{"OtherErrorIsHidden", errors.New("GET https://x?secret=hunter2"),
			&wechat.Error{Class: wechat.ClassRetry, Message: "no access token"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				got := offline(t, n).GetOpenData(t.Context(), &fakeTokens{err: tt.err}, request("a"))
				if diff := cmp.Diff([]wechat.Outcome{{CloudID: "a", Err: tt.want}}, got); diff != "" {
					t.Errorf("outcomes (-want +got):\n%s", diff)
				}
				if len(n.bodies) != 0 {
					t.Errorf("%d requests without a token, want none", len(n.bodies))
				}
			})
		})
	}
}

const notSent = "not sent: its lifetime is over"

func TestGetOpenData_SendsNothingAfterSendBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answers: []string{list(entry("b", `{"data":{}}`), entry("c", `{"data":{}}`))}}
		req := request("a", "b", "c")
		req.Items[0].SendBy = time.Now().Add(-time.Nanosecond)
		req.Items[2].SendBy = time.Time{} // no limit
		got := offline(t, n).GetOpenData(t.Context(), token(), req)
		want := []wechat.Outcome{
			refusal("a", wechat.ClassRetry, 0, notSent),
			attempts(1, data("b", "other", `{}`)), attempts(1, data("c", "other", `{}`)),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{bodyOf("b", "c")}, n.bodies); diff != "" {
			t.Errorf("bodies (-want +got):\n%s", diff)
		}
	})
}

func TestGetOpenData_LifetimeEndsWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{connect: 2 * time.Second, answers: []string{list(entry("b", `{"data":{}}`))}}
		req := request("a", "b")
		req.Items[0].SendBy = time.Now().Add(time.Second)
		got := offline(t, n).GetOpenData(t.Context(), token(), req)
		want := []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, notSent), attempts(1, data("b", "other", `{}`))}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{bodyOf("b")}, n.bodies); diff != "" {
			t.Errorf("bodies (-want +got):\n%s", diff)
		}
	})
}

func TestGetOpenData_LateItemKeepsItsLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{latency: time.Second, answers: []string{`{"errcode":-1,"errmsg":"busy"}`}}
		req := request("a", "b")
		req.Items[0].SendBy = time.Now().Add(500 * time.Millisecond)
		got := offline(t, n).GetOpenData(t.Context(), token(), req)
		busy := refusal("a", wechat.ClassRetry, -1, "busy")
		if diff := cmp.Diff(attempts(1, busy), got[0]); diff != "" {
			t.Errorf("outcome (-want +got):\n%s", diff)
		}
		if len(n.bodies) < 2 || n.bodies[1] != bodyOf("b") {
			t.Errorf("bodies = %q, want only b after the first", n.bodies)
		}
	})
}

func TestGetOpenData_DoesNotWaitPastSendBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answers: []string{`{"errcode":-1,"errmsg":"busy"}`}}
		req := request("a")
		req.Items[0].SendBy = time.Now()
		start := time.Now()
		got := offline(t, n).GetOpenData(t.Context(), token(), req)
		if took := time.Since(start); took != 0 || got[0].Attempts != 1 || got[0].Err.Code != -1 {
			t.Errorf("GetOpenData = %+v after %v, want the error of the first attempt without a wait",
				got[0], took)
		}
	})
}

func TestGetOpenData_TimeoutIsNotRepeatedPastThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{latency: time.Minute, answers: []string{`{}`}}
		start := time.Now()
		got := offline(t, n).GetOpenData(t.Context(), token(), request("a"))
		want := attempts(1, refusal("a", wechat.ClassRetry, 0, "no answer: timeout"))
		if diff := cmp.Diff([]wechat.Outcome{want}, got); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("GetOpenData took %v, want the timeout of one attempt", took)
		}
	})
}

func TestGetOpenData_Interrupted(t *testing.T) {
	interrupted := refusal("b", wechat.ClassRetry, 0, "interrupted")
	t.Run("BeforeTheFirstAttempt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			got := offline(t, &network{}).GetOpenData(ctx, token(), request("b"))
			if diff := cmp.Diff([]wechat.Outcome{interrupted}, got); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("WhileWaitingForTheAnswer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			got := offline(t, &network{latency: time.Minute, answers: []string{`{}`}}).GetOpenData(ctx, token(), request("b"))
			if diff := cmp.Diff([]wechat.Outcome{attempts(1, interrupted)}, got); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("BetweenAttempts_KeepsFinishedItems", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			n := &network{answers: []string{list(entry("a", `{"data":{}}`), entry("b", `{"errCode":-601001}`))}}
			client := offline(t, n)
			client.SetTransport(cancelAfter{n, func() { cancel(errors.New("shutdown")) }})
			got := client.GetOpenData(ctx, token(), request("a", "b"))
			want := []wechat.Outcome{attempts(1, data("a", "other", `{}`)), attempts(1, interrupted)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
		})
	})
}

// cancelAfter calls then after each answer.
type cancelAfter struct {
	*network
	then func()
}

// RoundTrip implements [http.RoundTripper].
func (c cancelAfter) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.network.RoundTrip(r)
	c.then()
	return response, err
}

// After LeaseUntil an item is neither sent again by the same call, nor sent over a connection that
// took too long to open.
func TestGetOpenData_SendsNothingAfterLeaseUntil(t *testing.T) {
	t.Run("BetweenAttempts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := &network{latency: 2 * time.Second, answers: []string{`{"errcode":-1,"errmsg":"system error"}`, list(entry("a", `{"data":{}}`))}}
			req := request("a")
			req.Items[0].LeaseUntil = time.Now().Add(time.Second)
			got := offline(t, n).GetOpenData(t.Context(), token(), req)
			if len(n.bodies) != 1 || got[0].Attempts != 1 || got[0].Err == nil || got[0].Err.Code != -1 {
				t.Errorf("%d requests, outcome %+v, want one request and its errcode -1", len(n.bodies),
					got[0].Err)
			}
		})
	})
	t.Run("WhileConnecting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := &network{connect: 2 * time.Second, answers: []string{list(entry("a", `{"data":{}}`))}}
			req := request("a")
			req.Items[0].LeaseUntil = time.Now().Add(time.Second)
			got := offline(t, n).GetOpenData(t.Context(), token(), req)
			if len(n.bodies) != 0 || got[0].Attempts != 0 || got[0].Err == nil || got[0].Err.Class != wechat.ClassRetry {
				t.Errorf("%d requests, outcome %+v, want no request and class retry", len(n.bodies), got[0].Err)
			}
		})
	})
	t.Run("OtherItemsAreSent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := &network{answers: []string{list(entry("b", `{"data":{}}`))}}
			req := request("a", "b")
			req.Items[0].LeaseUntil = time.Now().Add(-time.Millisecond)
			got := offline(t, n).GetOpenData(t.Context(), token(), req)
			if len(n.bodies) != 1 || n.bodies[0] != bodyOf("b") || got[0].Attempts != 0 || got[1].Err != nil {
				t.Errorf("requests %q, outcomes %+v, want only b", n.bodies, got)
			}
		})
	})
}
