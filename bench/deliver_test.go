package bench

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/internal/pgtest"
	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
	"cloudidq/internal/webhook"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

const (
	hookName    = "orders"
	hookSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	hookAnswers = 20 * time.Millisecond
	hookBatch   = 100
)

// endpoint is a webhook receiver that answers after 20 ms. It records each result that arrives.
type endpoint struct {
	server *httptest.Server

	mu    sync.Mutex
	posts int
	seen  map[string]struct{} // cloudIDs
	want  int
	done  chan struct{} // closed after want results have arrived
}

func newEndpoint(b *testing.B, want int) *endpoint {
	b.Helper()
	e := &endpoint{seen: make(map[string]struct{}, want), want: want, done: make(chan struct{})}
	e.server = httptest.NewServer(e)
	b.Cleanup(e.server.Close)
	return e
}

// ServeHTTP implements [http.Handler].
func (e *endpoint) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var message struct {
		Data struct {
			Results []struct {
				CloudID string       `json:"cloud_id"`
				Status  store.Status `json:"status"`
			} `json:"results"`
		} `json:"data"`
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &message) != nil {
		return
	}
	time.Sleep(hookAnswers)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.posts++
	for _, result := range message.Data.Results {
		if result.Status == store.Resolved {
			e.seen[result.CloudID] = struct{}{}
		}
	}
	if len(e.seen) == e.want {
		close(e.done)
		e.want = 0
	}
}

func hookAt(b *testing.B, name, url string, batchMax int) worker.Webhook {
	b.Helper()
	key, err := webhook.ParseKey(secret.New(hookSecret))
	if err != nil {
		b.Fatal(err)
	}
	sender, err := webhook.NewSender(webhook.Endpoint{
		Name: name, URL: url, Keys: []webhook.Key{key}, MaxInFlight: 64,
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(sender.Close)
	return worker.Webhook{Name: name, Sender: sender, BatchMax: batchMax}
}

// wait waits until all results have arrived, and returns the number of requests.
func (e *endpoint) wait(b *testing.B) int {
	b.Helper()
	select {
	case <-e.done:
	case <-time.After(2 * time.Minute):
		e.mu.Lock()
		defer e.mu.Unlock()
		b.Fatalf("%d results have arrived in %d requests", len(e.seen), e.posts)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.posts
}

// deliverEnv holds the stores of a worker, sealed as by default.
type deliverEnv struct {
	*env
	results    store.Results
	deliveries *store.Deliveries
	postgres   *store.Postgres // nil means that the results are in Redis
}

func newDeliverEnv(b *testing.B, sim *simulator, postgres bool) *deliverEnv {
	b.Helper()
	text, err := seal.New()
	if err != nil {
		b.Fatal(err)
	}
	keyset, err := store.ParseKeyset(text.Reveal())
	if err != nil {
		b.Fatal(err)
	}
	e, sealed := newEnv(b, sim), store.Sealed(keyset)
	deliveries := store.NewDeliveries(e.rdb, sealed)
	if !postgres {
		return &deliverEnv{e, store.NewRedis(e.rdb, time.Hour, sealed), deliveries, nil}
	}
	dsn := pgtest.Start(b, "fsync=on", "synchronous_commit=on", "full_page_writes=on").Database(b)
	p, err := store.OpenPostgres(b.Context(), dsn, time.Hour, sealed, store.WithOutbox(deliveries))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	return &deliverEnv{e, p, deliveries, p}
}

// tend runs the background work that the store needs in addition to the worker.
func (d *deliverEnv) tend(ctx context.Context, w *worker.Worker) error {
	if d.postgres == nil {
		return nil
	}
	return d.postgres.Run(ctx, slog.New(slog.DiscardHandler), w.Notify)
}

// worker returns a worker that resolves for the endpoint e and also knows others. It has the
// default settings, with the largest batches of cloudIDs.
func (d *deliverEnv) worker(b *testing.B, e *endpoint, others ...worker.Webhook) *worker.Worker {
	b.Helper()
	w, err := worker.New(worker.Config{
		Apps: []worker.App{{
			AppID: appID, Tokens: wechat.StaticToken(secret.New(d.sim.token)), GroupByApp: true,
			BatchMax: 100, BatchLinger: 5 * time.Millisecond, MaxInFlight: connections, Webhook: hookName,
		}},
		Webhooks: append(others, hookAt(b, hookName, e.server.URL, hookBatch)), Lifetime: 5 * time.Minute,
		Shares:      map[string]int{tasks.QueueEvents: 6, tasks.QueueBackfill: 1, tasks.QueueWebhooks: 3},
		Concurrency: 64, Fetchers: 2, ShutdownTimeout: 20 * time.Second,
	}, worker.Parts{
		Queue: d.rdb, Results: d.results, Deliveries: d.deliveries, WeChat: d.client(b), Pauses: coord.NewPauses(d.rdb),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	return w
}

// BenchmarkDeliver measures the complete path of a result to an endpoint that answers after 20
// ms. A result is resolved, saved with its outbox row, made part of a delivery, signed, sent and
// recorded. The clock runs from the start of the worker to the last result.
func BenchmarkDeliver(b *testing.B) {
	n := size(b, "BENCH_RESULTS", 50_000)
	sim := startSimulator(b)
	for _, name := range []string{"redis", "postgres"} {
		b.Run("store="+name, func(b *testing.B) {
			var took time.Duration
			var posts int
			for b.Loop() {
				t, p := deliverAll(b, newDeliverEnv(b, sim, name == "postgres"), n)
				took, posts = took+t, posts+p
			}
			b.ReportMetric(0, "ns/op") // one iteration is a whole drain, so the rate is the useful figure
			b.ReportMetric(float64(b.N*n)/took.Seconds(), "results/s")
			b.ReportMetric(float64(b.N*n)/float64(posts), "results/POST")
		})
	}
}

// deliverAll returns how long n results took to arrive, and in how many requests.
func deliverAll(b *testing.B, d *deliverEnv, n int) (took time.Duration, posts int) {
	b.Helper()
	producer := tasks.NewClient(d.rdb, tasks.Options{})
	defer producer.Close()
	if _, err := producer.ResolveAll(b.Context(), tasks.Request{AppID: appID, Items: items(taps(n))}); err != nil {
		b.Fatal(err)
	}
	e := newEndpoint(b, n)
	w := d.worker(b, e)
	ctx, stop := context.WithCancel(b.Context())
	stopped := make(chan error, 2)
	begun := time.Now()
	go func() { stopped <- w.Run(ctx) }()
	go func() { stopped <- d.tend(ctx, w) }()
	posts = e.wait(b)
	took = time.Since(begun)
	stop()
	for range cap(stopped) {
		if err := <-stopped; err != nil {
			b.Fatal(err)
		}
	}
	return took, posts
}
