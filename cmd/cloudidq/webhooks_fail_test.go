package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/porttest"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
)

// listed returns the deliveries as an operator sees them.
func (s *site) listed(t *testing.T, args ...string) []store.Delivery {
	t.Helper()
	list := s.start(t, append([]string{"deliveries", "list", "--config", s.config, "--json", "--limit", "0"}, args...)...)
	if status := list.status(t); status != 0 {
		t.Fatalf("deliveries list: exit %d: %s", status, list.err.String())
	}
	return deliveriesOf(t, list.out.String())
}

func deliveriesOf(t *testing.T, text string) []store.Delivery {
	t.Helper()
	var all []store.Delivery
	for line := range strings.Lines(text) {
		var d store.Delivery
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("not NDJSON: %v: %s", err, text)
		}
		all = append(all, d)
	}
	return all
}

// undelivered counts the deliveries that have not arrived.
func (s *site) undelivered(t *testing.T) int {
	t.Helper()
	n := 0
	err := store.NewDeliveries(s.redis.Client(t)).List(t.Context(), store.Filter{}, func(d store.Delivery) bool {
		if d.State != store.DeliveryDelivered {
			n++
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// runRetries starts the next attempt of waiting deliveries at once, as the dashboard's button does.
// The schedule takes hours.
func (s *site) runRetries(t *testing.T) {
	t.Helper()
	_, err := asynq.NewInspectorFromRedisClient(s.redis.Client(t)).RunAllRetryTasks(tasks.QueueWebhooks)
	if err != nil && !strings.Contains(err.Error(), "does not exist") {
		t.Fatal(err)
	}
}

// closeCircuit closes the circuit of an endpoint that did not answer. Otherwise it stays open for
// half a minute or more.
func (s *site) closeCircuit(t *testing.T) {
	t.Helper()
	deliveries := store.NewDeliveries(s.redis.Client(t))
	state, err := deliveries.Endpoint(t.Context(), "orders")
	if err == nil && state.OpenUntil.After(time.Now()) {
		err = deliveries.OpenCircuit(t.Context(), "orders", time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The receiver is down for a while, then rejects two requests, and then accepts everything. Each
// delivery has one id and always the same bytes; the receiver compares them.
func TestWebhooks_ReceiverIsDown(t *testing.T) {
	t.Parallel()
	var down time.Duration                                   // minimum duration
	if text := os.Getenv("CLOUDIDQ_TEST_DOWN"); text != "" { // such as 60s
		down, _ = time.ParseDuration(text)
	}
	s := newSite(t, wechattest.Config{Seed: 13})
	twin := s.twin(t)
	r := newReceiver(t, func(n int, w http.ResponseWriter) {
		if n <= 2 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	s.appSettings = ", webhook: orders"
	s.configure(t, r.settings(", batch_max: 50"))
	s.worker(t)
	taps := s.enqueueMany(t, twin, 150, 50)
	begun := time.Now()
	waitFor(t, "failed attempts while the receiver is down", func() bool {
		s.runRetries(t)
		waiting, attempts := s.listed(t, "--status", "pending"), 0
		for _, d := range waiting {
			attempts += d.Tried
		}
		return time.Since(begun) >= down && len(waiting) >= 3 && attempts > 0
	})
	r.listen()
	waitFor(t, "all results to be delivered", func() bool {
		s.closeCircuit(t)
		s.runRetries(t)
		return r.arrived() == len(taps)
	})
	r.checkAgainst(twin, taps)
	if requests, deliveries := r.received(); requests != deliveries+2 {
		t.Errorf("%d requests for %d deliveries, want two rejected ones", requests, deliveries)
	}
	waitFor(t, "the deliveries to be completed", func() bool { return s.undelivered(t) == 0 })
	for _, d := range s.listed(t) {
		if d.State != store.DeliveryDelivered {
			t.Errorf("%+v, want it delivered", d)
		}
	}
	s.checkPrivate(t, taps)
}

// A disabled endpoint gets no more requests. Its deliveries are held and go out when an operator
// replays them.
func TestWebhooks_GoneAndReplayed(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 14})
	twin := s.twin(t)
	var back atomic.Bool
	r := newReceiver(t, func(_ int, w http.ResponseWriter) {
		if !back.Load() {
			w.WriteHeader(http.StatusGone)
		}
	})
	r.listen()
	s.appSettings = ", webhook: orders"
	s.configure(t, r.settings(", batch_max: 10"))
	s.worker(t)
	taps := s.enqueueMany(t, twin, 100, 50)
	waitFor(t, "the deliveries to be held", func() bool {
		held := 0
		for _, d := range s.listed(t, "--endpoint", "orders", "--status", "held") {
			held += d.Results
		}
		return held == len(taps)
	})
	requests, _ := r.received()
	if requests == 0 || requests > 20 {
		t.Errorf("%d requests, want a few at first and none afterwards", requests)
	}
	one := s.listed(t, "--status", "held")[0]
	show := s.start(t, "deliveries", "show", "--config", s.config, one.ID)
	if status := show.status(t); status != 0 || one.AppID != appA {
		t.Errorf("deliveries show: exit %d, %s", status, show.out.String())
	}
	back.Store(true)
	replay := s.start(t, "deliveries", "replay", "--config", s.config, "--endpoint", "orders")
	if status := replay.status(t); status != 0 {
		t.Errorf("deliveries replay: exit %d: %s", status, replay.err.String())
	}
	waitFor(t, "all results to be delivered", func() bool { return r.arrived() == len(taps) })
	r.checkAgainst(twin, taps)
	waitFor(t, "the deliveries to be completed", func() bool { return s.undelivered(t) == 0 })
	again := s.start(t, "deliveries", "replay", "--config", s.config, one.ID)
	if status := again.status(t); status != 1 || !strings.Contains(again.err.String(), "has been delivered") {
		t.Errorf("replay of a delivered delivery: exit %d: %s", status, again.err.String())
	}
}

// After the erasure of a user, no result of that user reaches the receiver. The results of other
// users do.
func TestWebhooks_ErasedWhileWaiting(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 15})
	twin := s.twin(t)
	r := newReceiver(t, nil)
	s.appSettings = ", webhook: orders"
	s.configure(t, r.settings(""))
	s.worker(t)
	taps := s.enqueueMany(t, twin, 40, 4)
	waitFor(t, "the results to wait for delivery", func() bool {
		waiting := 0
		for _, d := range s.listed(t, "--status", "pending") {
			if d.Tried > 0 {
				waiting += d.Results
			}
		}
		return waiting == len(taps)
	})
	erase := s.start(t, "erase", "--config", s.config, "--appid", appA, "--openid", taps[0].OpenID)
	if status := erase.status(t); status != 0 || !strings.Contains(erase.out.String(), `"erased":10`) {
		t.Errorf("erase: exit %d: %s", status, erase.out.String())
	}
	r.listen()
	waitFor(t, "the others' results to be delivered", func() bool {
		s.runRetries(t)
		return r.arrived() >= 30 && s.undelivered(t) == 0
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tap := range taps {
		if got := len(r.results[tap.CloudID]) > 0; got == (tap.OpenID == taps[0].OpenID) {
			t.Errorf("a result has arrived: %t", got)
		}
	}
}

// An endpoint inside the network is rejected under any name and through any proxy. The attempt has a
// class and a text that explains it, as for any other unreachable endpoint.
func TestWebhooks_Egress(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 16})
	twin := s.twin(t)
	var reached atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer proxy.Close()
	s.env = append(s.env, "HTTP_PROXY="+proxy.URL, "HTTPS_PROXY="+proxy.URL, "NO_PROXY=")
	selfSigned := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	selfSigned.Config.ErrorLog = log.New(io.Discard, "", 0)
	selfSigned.StartTLS()
	defer selfSigned.Close()
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer secret.Close()
	redirecting := newReceiver(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Location", secret.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	redirecting.listen()
	port := secret.URL[strings.LastIndex(secret.URL, ":"):]
	classes, settings := map[string]string{}, "webhooks:\n"
	for name, to := range map[string]struct{ url, cidr, class string }{
		"redirect":      {"http://" + redirecting.addr, "127.0.0.0/8", "refused"},
		"self-signed":   {selfSigned.URL, "127.0.0.0/8", "certificate"},
		"no-tls":        {"https://" + redirecting.addr, "127.0.0.0/8", "tls"},
		"nobody":        {"http://" + porttest.Reserve(t), "127.0.0.0/8", "connect"},
		"no-name":       {"http://no-such-host.invalid", "127.0.0.0/8", "dns"},
		"metadata-open": {"http://169.254.169.254/latest", "0.0.0.0/0", "forbidden"},
	} {
		classes[name] = to.class
		settings += fmt.Sprintf("  - {name: %s, url: '%s', secrets: [%s], allow_cidrs: [%s]}\n", name, to.url, hookSecret, to.cidr)
	}
	for name, url := range map[string]string{
		"v4": "http://127.0.0.1" + port, "v6": "http://[::1]" + port, "name": "http://localhost" + port,
		"metadata": "http://169.254.169.254/latest",
	} {
		classes[name] = "forbidden"
		settings += fmt.Sprintf("  - {name: %s, url: '%s', secrets: [%s], allow_cidrs: [10.250.0.0/16]}\n", name, url, hookSecret)
	}
	s.configure(t, settings)
	s.worker(t)
	user := 0
	for name := range classes {
		tap := twin.CloudID(appA, user, 0, time.Now())
		user++
		p := s.start(t, "enqueue", "--config", s.config, "--appid", appA, "--openid", tap.OpenID, "--webhook", name, tap.CloudID)
		if status := p.status(t); status != 0 {
			t.Fatalf("enqueue: exit %d: %s", status, p.err.String())
		}
	}
	waitFor(t, "an attempt at each", func() bool {
		attempts := 0
		for _, d := range s.listed(t) {
			attempts += min(1, d.Tried)
		}
		return attempts == len(classes)
	})
	for _, d := range s.listed(t) {
		show := s.start(t, "deliveries", "show", "--config", s.config, d.ID)
		show.status(t)
		got := deliveriesOf(t, show.out.String())
		attempts := got[0].Attempts
		for len(attempts) > 1 && attempts[0].Class == "timeout" { // possible on a very busy machine
			attempts = attempts[1:]
		}
		if len(got) != 1 || len(attempts) == 0 || attempts[0].Class != classes[d.Endpoint] || attempts[0].Error == "" {
			t.Errorf("%s: %s, want class %s and its explanation", d.Endpoint, show.out.String(),
				classes[d.Endpoint])
		}
		if strings.Contains(show.out.String(), "127.0.0.1") {
			t.Errorf("%s: an address is shown: %s", d.Endpoint, show.out.String())
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests have reached a forbidden address", n)
	}
}
