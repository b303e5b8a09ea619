package webhook_test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudidq/internal/webhook"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func sender(t *testing.T, e webhook.Endpoint) *webhook.Sender {
	t.Helper()
	e.Keys = []webhook.Key{key(t, specSecret)}
	s, err := webhook.NewSender(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func receiver(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// Send posts the body with the headers of Standard Webhooks.
func TestSend_Request(t *testing.T) {
	var got *http.Request
	var body string
	server := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got, body = r, string(text)
	})
	s := sender(t, webhook.Endpoint{URL: server.URL + "/hook?a=1", AllowCIDRs: loopback, UserAgent: "cloudidq/1.2"})
	attempt := s.Send(t.Context(), "msg_1", []byte(`{"a":1}`))
	if attempt.Class != webhook.OK || attempt.Status != 200 || attempt.Duration <= 0 {
		t.Errorf("attempt = %+v, want ok", attempt)
	}
	if got.Method != "POST" || got.URL.String() != "/hook?a=1" || body != `{"a":1}` || got.ContentLength != 7 ||
		got.Header.Get("Content-Type") != "application/json" || got.Header.Get("User-Agent") != "cloudidq/1.2" ||
		got.Header.Get("Webhook-Id") != "msg_1" || !strings.HasPrefix(got.Header.Get("Webhook-Signature"), "v1,") {
		t.Errorf("request = %s %s %v %s", got.Method, got.URL, got.Header, body)
	}
}

// Each status and each kind of failure has its class. Redirects are not followed.
func TestSend_Classes(t *testing.T) {
	for status, want := range map[int]webhook.Class{
		200: webhook.OK, 204: webhook.OK, 301: webhook.Refused, 307: webhook.Refused, 400: webhook.Refused, 404: webhook.Refused,
		410: webhook.Gone, 429: webhook.Slow, 500: webhook.Refused, 502: webhook.Slow, 503: webhook.Slow, 504: webhook.Slow,
	} {
		server := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://169.254.169.254/")
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(status)
		})
		got := sender(t, webhook.Endpoint{URL: server.URL, AllowCIDRs: loopback}).Send(t.Context(), "msg_1", nil)
		if (got.Class == webhook.OK) != (got.Class.Explain() == "") {
			t.Errorf("%s means %q", got.Class, got.Class.Explain())
		}
		if got.Class != want || got.Status != status || got.RetryAfter != 2*time.Minute {
			t.Errorf("%d: %+v, want %s", status, got, want)
		}
	}
	hangUp := receiver(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	plain := receiver(t, func(http.ResponseWriter, *http.Request) {})
	unknown := httptest.NewUnstartedServer(http.NotFoundHandler())
	unknown.Config.ErrorLog = quiet()
	unknown.StartTLS()
	t.Cleanup(unknown.Close)
	for url, want := range map[string]webhook.Class{
		hangUp.URL: webhook.Reset, closed.URL: webhook.Connect, "http://no-such-host.invalid.": webhook.DNS,
		unknown.URL: webhook.Certificate, strings.Replace(plain.URL, "http:", "https:", 1): webhook.TLS,
	} {
		if got := sender(t, webhook.Endpoint{URL: url, AllowCIDRs: loopback}).Send(t.Context(), "msg_1", nil); got.Class != want || got.Status != 0 {
			t.Errorf("%s: %+v, want %s", url, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := sender(t, webhook.Endpoint{URL: plain.URL, AllowCIDRs: loopback}).Send(ctx, "msg_1", nil); got.Class != webhook.Canceled {
		t.Errorf("canceled attempt: %+v", got)
	}
}

// Send never reaches a blocked address, neither by any name or spelling nor by a redirect.
func TestSend_Egress(t *testing.T) {
	var hits atomic.Int64
	server := receiver(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	unrelated := []netip.Prefix{netip.MustParsePrefix("10.11.12.0/24")} // so that http is allowed
	for _, host := range []string{
		"127.0.0.1", "[::1]", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "10.0.0.1", "192.168.1.1", "100.64.0.1",
		"[fd00::1]", "[fe80::1]", "[64:ff9b::7f00:1]",
	} {
		got := sender(t, webhook.Endpoint{URL: "http://" + host + ":" + port, AllowCIDRs: unrelated}).Send(t.Context(), "msg_1", nil)
		if got.Class != webhook.Forbidden {
			t.Errorf("%s: %+v, want forbidden", host, got)
		}
	}
	redirecting := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, server.URL, http.StatusTemporaryRedirect)
	})
	if got := sender(t, webhook.Endpoint{URL: redirecting.URL, AllowCIDRs: loopback}).Send(t.Context(), "msg_1", nil); got.Class != webhook.Refused {
		t.Errorf("redirect: %+v, want refused", got)
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests reached the server, want none", n)
	}
	// An operator may allow a range, but its metadata addresses stay blocked.
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	for _, host := range []string{"169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "169.254.0.23", "[::ffff:169.254.169.254]"} {
		if got := sender(t, webhook.Endpoint{URL: "http://" + host, AllowCIDRs: all}).Send(t.Context(), "msg_1", nil); got.Class != webhook.Forbidden {
			t.Errorf("%s: %+v, want forbidden in spite of AllowCIDRs", host, got)
		}
	}
	if got := sender(t, webhook.Endpoint{URL: server.URL, AllowCIDRs: loopback}).Send(t.Context(), "msg_1", nil); got.Class != webhook.OK || hits.Load() != 1 {
		t.Errorf("with the range in AllowCIDRs: %+v, want ok", got)
	}
}

// A slow or huge answer neither prolongs an attempt nor makes Send read more than a few kilobytes.
func TestSend_SlowOrHugeAnswer(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"SilentHeader": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"SlowBody": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		},
		"HugeBody": func(w http.ResponseWriter, _ *http.Request) {
			for range 10 << 10 {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		},
		"GzipBomb": func(w http.ResponseWriter, r *http.Request) {
			if accepted := r.Header.Get("Accept-Encoding"); accepted != "" {
				t.Errorf("Accept-Encoding: %s, want no compression", accepted)
			}
			w.Header().Set("Content-Encoding", "gzip")
			zip := gzip.NewWriter(w)
			_, _ = zip.Write(make([]byte, 10<<20))
			_ = zip.Close()
		},
	}
	for name, handler := range handlers {
		t.Run(name, func(t *testing.T) {
			// A server notices a closed connection only after it has read the whole request.
			server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				handler(w, r)
			})
			s := sender(t, webhook.Endpoint{URL: server.URL, AllowCIDRs: loopback})
			var read atomic.Int64
			s.CountReads(&read)
			if name == "SilentHeader" || name == "SlowBody" {
				s.SetTimeout(200 * time.Millisecond)
			}
			got := s.Send(t.Context(), "msg_1", nil)
			if want := webhook.OK; name != "SilentHeader" && got.Class != want {
				t.Errorf("attempt = %+v, want %s", got, want)
			}
			if name == "SilentHeader" && got.Class != webhook.Timeout {
				t.Errorf("attempt = %+v, want timeout", got)
			}
			if got.Duration > 25*time.Second {
				t.Errorf("the attempt took %s, want less than its time limit", got.Duration)
			}
			// The limit of 4 KiB, the header, and the read-ahead of a buffer.
			if n := read.Load(); n > 16<<10 {
				t.Errorf("%d bytes of an answer were read, want at most 16 KiB", n)
			}
			server.CloseClientConnections()
		})
	}
}

func TestSend_ClientCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 1 {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	pair := server.TLS.Certificates[0]
	e := webhook.Endpoint{URL: server.URL, AllowCIDRs: loopback, ClientCert: &pair}
	webhook.Trust(&e, server.Certificate())
	if got := sender(t, e).Send(t.Context(), "msg_1", nil); got.Class != webhook.OK {
		t.Errorf("attempt = %+v, want ok", got)
	}
}

func TestNewSender_ReportsAllErrors(t *testing.T) {
	for _, url := range []string{"", "example.com", "http://example.com", "ftp://example.com", "https://u:planted@example.com", "https://example.com/#planted", "https://"} {
		_, err := webhook.NewSender(webhook.Endpoint{URL: url})
		if err == nil || !strings.Contains(err.Error(), "url:") || !strings.Contains(err.Error(), "secrets:") || strings.Contains(err.Error(), "planted") {
			t.Errorf("NewSender(%q) = %v, want both errors without the URL", url, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "1.5": 0, "soon": 0, "999999999999": 24 * time.Hour, "99999999999999999999": 0,
		"Sun, 22 Nov 2026 08:01:00 GMT": time.Minute, "Sun, 22 Nov 2020 08:01:00 GMT": 0, "Sun, 22 Nov 2099 08:01:00 GMT": 24 * time.Hour,
	} {
		if got := webhook.RetryAfter(value, now); got != want {
			t.Errorf("RetryAfter(%q) = %s, want %s", value, got, want)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	s, err := webhook.NewSender(webhook.Endpoint{URL: server.URL, AllowCIDRs: loopback, Keys: []webhook.Key{key(b, specSecret)}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	body := []byte(fmt.Sprintf("%020000d", 0))
	b.ReportAllocs()
	for b.Loop() {
		s.Send(b.Context(), "msg_1", body)
	}
}

// Connect returns the same classes as Send and makes no request.
func TestConnect_SendsNoRequest(t *testing.T) {
	var requests atomic.Int64
	count := func(http.ResponseWriter, *http.Request) { requests.Add(1) }
	plain := receiver(t, count)
	secure := httptest.NewTLSServer(http.HandlerFunc(count))
	defer secure.Close()
	secure.Config.ErrorLog = nil
	dead := receiver(t, count)
	dead.Close()
	for name, tt := range map[string]struct {
		endpoint webhook.Endpoint
		want     webhook.Class
	}{
		"Reachable": {webhook.Endpoint{URL: plain.URL, AllowCIDRs: loopback}, webhook.OK},
		"Untrusted": {webhook.Endpoint{URL: secure.URL, AllowCIDRs: loopback}, webhook.Certificate},
		"NoServer":  {webhook.Endpoint{URL: dead.URL, AllowCIDRs: loopback}, webhook.Connect},
		"Forbidden": {webhook.Endpoint{URL: strings.Replace(plain.URL, "http:", "https:", 1)}, webhook.Forbidden},
		"NoName":    {webhook.Endpoint{URL: "https://no-such-host.invalid"}, webhook.DNS},
	} {
		if got := sender(t, tt.endpoint).Connect(t.Context()); got.Class != tt.want {
			t.Errorf("%s: Connect = %+v, want %s", name, got, tt.want)
		}
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("Connect sent %d requests, want none", n)
	}
}
