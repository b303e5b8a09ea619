package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/porttest"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
)

var hookSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("planted-webhook-secret-0123456789"))

// receiver is an endpoint that verifies requests with the official library, as an operator's
// endpoint would.
type receiver struct {
	t      *testing.T
	addr   string
	verify *standardwebhooks.Webhook
	answer func(n int, w http.ResponseWriter) // n is the number of the request, from 1; may be nil

	mu       sync.Mutex
	requests int
	bodies   map[string]string         // by webhook-id
	results  map[string][]store.Record // by cloudID, from the requests that got 200
	ids      map[string]map[string]bool
	traces   []string // the traceparents of all requests
}

func newReceiver(t *testing.T, answer func(int, http.ResponseWriter)) *receiver {
	t.Helper()
	verify, err := standardwebhooks.NewWebhook(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{
		t: t, addr: porttest.Reserve(t), verify: verify, answer: answer,
		bodies: map[string]string{}, results: map[string][]store.Record{}, ids: map[string]map[string]bool{},
	}
	return r
}

// listen starts the endpoint.
func (r *receiver) listen() {
	r.t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(r.t.Context(), "tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	server := &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(ln) }()
	r.t.Cleanup(func() { _ = server.Close() })
}

// settings returns the configuration of this endpoint.
func (r *receiver) settings(more string) string {
	return fmt.Sprintf("webhooks:\n  - {name: orders, url: 'http://%s/hook', secrets: [%s], allow_cidrs: [127.0.0.0/8]%s}\n",
		r.addr, hookSecret, more)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	if err := r.verify.Verify(body, req.Header); err != nil {
		r.t.Errorf("the official library rejects a delivery: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	r.traces = append(r.traces, req.Header.Get("Traceparent"))
	id := req.Header.Get("webhook-id")
	if before, again := r.bodies[id]; again && before != string(body) {
		r.t.Errorf("%s has other bytes than before", id)
	}
	r.bodies[id] = string(body)
	results := r.parse(body)
	for _, rec := range results {
		if r.ids[rec.CloudID] == nil {
			r.ids[rec.CloudID] = map[string]bool{}
		}
		r.ids[rec.CloudID][id] = true
	}
	recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
	if r.answer != nil {
		r.answer(r.requests, recorder)
	}
	if recorder.status == http.StatusOK {
		for _, rec := range results {
			r.results[rec.CloudID] = append(r.results[rec.CloudID], rec)
		}
	}
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (r *receiver) parse(body []byte) []store.Record {
	var message struct {
		Type      string     `json:"type"`
		Timestamp store.Time `json:"timestamp"`
		Data      struct {
			AppID   string         `json:"appid"`
			Results []store.Record `json:"results"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &message); err != nil || message.Type != "resolutions.finished" || message.Data.AppID == "" {
		r.t.Errorf("not a valid webhook message: %v: %.200s", err, body)
	}
	return message.Data.Results
}

// arrived counts the cloudIDs whose result has arrived.
func (r *receiver) arrived() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.results)
}

// received counts the requests and their deliveries.
func (r *receiver) received() (requests, deliveries int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests, len(r.bodies)
}

// checkAgainst compares the received results with the truth. All deliveries of a result must
// have the same id.
func (r *receiver) checkAgainst(twin *wechattest.Simulator, taps []wechattest.Tap) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	records := make([]store.Record, len(taps))
	for i, tap := range taps {
		if got := r.results[tap.CloudID]; len(got) > 0 {
			records[i] = got[0]
		}
		if n := len(r.ids[tap.CloudID]); n != 1 {
			r.t.Errorf("result %d has %d delivery ids, want one", i, n)
		}
	}
	checkTruth(r.t, twin, taps, records)
}

func TestWebhooks_EveryResultIsDelivered(t *testing.T) {
	t.Parallel()
	t.Run("Redis", func(t *testing.T) { everyResultIsDelivered(t, "") })
	t.Run("Postgres", func(t *testing.T) { everyResultIsDelivered(t, pgtest.Database(t)) })
}

func everyResultIsDelivered(t *testing.T, dsn string) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 11, Faults: wechattest.Faults{"busy": 0.2, "missing": 0.1, "foreign": 0.1}})
	s.dsn = dsn
	twin := s.twin(t)
	r := newReceiver(t, nil)
	r.listen()
	s.appSettings = ", webhook: orders"
	s.configure(t, r.settings(""))
	s.planted = append(s.planted, "planted-webhook-secret", strings.TrimPrefix(hookSecret, "whsec_"))
	workers := []*process{s.worker(t), s.worker(t)}
	taps := s.enqueueMany(t, twin, 1000, 200)
	waitFor(t, "all results to be delivered", func() bool { return r.arrived() == len(taps) })
	r.checkAgainst(twin, taps)
	requests, _ := r.received()
	if requests > 200 {
		t.Errorf("%d results arrived in %d requests, want batches", len(taps), requests)
	}
	list := s.start(t, "deliveries", "list", "--config", s.config, "--status", "delivered", "--json", "--limit", "0")
	if status := list.status(t); status != 0 || strings.Count(list.out.String(), "\n") != requests {
		t.Errorf("deliveries list: exit %d, %d lines for %d deliveries: %s", status, strings.Count(list.out.String(), "\n"), requests, list.err.String())
	}
	for _, w := range workers {
		w.term(t)
	}
	s.checkPrivate(t, taps, list)
}
