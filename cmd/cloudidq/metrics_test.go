package main

import (
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"cloudidq/internal/coord"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/queue"
	"cloudidq/internal/redistest"
	"cloudidq/internal/secret"
	"cloudidq/internal/telemetry"
	"cloudidq/internal/webhook"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

var update = flag.Bool("update", false, "rewrite the table in docs/metrics.md")

// series is a metric as docs/metrics.md describes it.
type series struct{ name, kind, labels, help string }

// recorder is a registry that records the registered metrics and their types.
type recorder struct {
	*prometheus.Registry
	t   *testing.T
	all map[string]series
}

// describes parses the text of a descriptor, which has no other accessors.
var describes = regexp.MustCompile(`^Desc\{fqName: "(.*?)", help: "(.*?)", unit: "", constLabels: \{\}, variableLabels: \{(.*)\}\}$`)

// Register implements [prometheus.Registerer].
func (r *recorder) Register(c prometheus.Collector) error {
	kinds := kindsOf(c)
	for desc := range drain(c.Describe) {
		found := describes.FindStringSubmatch(desc.String())
		if found == nil {
			r.t.Fatalf("cannot parse %s", desc)
		}
		kind := kinds[desc.String()]
		switch c.(type) {
		case *prometheus.CounterVec:
			kind = "counter"
		case *prometheus.GaugeVec:
			kind = "gauge"
		case *prometheus.HistogramVec:
			kind = "histogram"
		}
		if kind == "" {
			r.t.Errorf("unknown type of %s", found[1])
		}
		r.all[found[1]] = series{found[1], kind, strings.ReplaceAll(found[3], ",", ", "), found[2]}
	}
	return r.Registry.Register(c)
}

// MustRegister implements [prometheus.Registerer].
func (r *recorder) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// drain returns a channel with everything that f sends.
func drain[T any](f func(chan<- T)) chan T {
	ch := make(chan T, 10_000)
	f(ch)
	close(ch)
	return ch
}

// kindsOf returns the types of a collector's metrics, by descriptor.
func kindsOf(c prometheus.Collector) map[string]string {
	kinds := map[string]string{}
	for m := range drain(c.Collect) {
		var wire dto.Metric
		if m.Write(&wire) != nil {
			continue
		}
		switch {
		case wire.Counter != nil:
			kinds[m.Desc().String()] = "counter"
		case wire.Gauge != nil:
			kinds[m.Desc().String()] = "gauge"
		case wire.Histogram != nil:
			kinds[m.Desc().String()] = "histogram"
		}
	}
	return kinds
}

// registered returns all of cloudidq's metrics in a process with all parts.
func registered(t *testing.T) (map[string]series, *prometheus.Registry) {
	t.Helper()
	rdb := redistest.Start(t).Client(t)
	r := &recorder{Registry: prometheus.NewRegistry(), t: t, all: map[string]series{}}
	labels := wechat.NewAppLabels(appA)
	client, err := wechat.New(wechat.Config{BaseURL: "https://api.weixin.qq.com", Metrics: wechat.NewMetrics(r, labels)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	stores := store.NewMetrics(r)
	httpapi.NewMetrics(r)
	queues := queue.NewCollector(rdb)
	t.Cleanup(queues.Close)
	r.MustRegister(queues)
	key, err := webhook.ParseKey(secret.New(hookSecret))
	if err != nil {
		t.Fatal(err)
	}
	sender, err := webhook.NewSender(webhook.Endpoint{Name: "orders", URL: "https://example.com", Keys: []webhook.Key{key}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = worker.New(worker.Config{
		Apps:     []worker.App{{AppID: appA, Tokens: wechat.StaticToken(secret.New("t")), BatchMax: 1, MaxInFlight: 1}},
		Webhooks: []worker.Webhook{{Name: "orders", Sender: sender, BatchMax: 1}},
		Lifetime: time.Minute, Concurrency: 1, Fetchers: 1, ShutdownTimeout: time.Second,
	}, worker.Parts{
		Queue: rdb, Results: store.Observed(store.NewRedis(rdb, time.Hour), stores, nil), WeChat: client,
		Deliveries: store.ObserveDeliveries(store.NewDeliveries(rdb), stores, nil), Pauses: coord.NewPauses(rdb),
		Log: slog.New(slog.DiscardHandler), Metrics: r, Quotas: client, Leases: coord.NewLeases(rdb),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.all, r.Registry
}

// docs/metrics.md lists exactly cloudidq's series, with type, labels and meaning. Other tests
// compare dashboards and alerts with it.
func TestMetrics_AreDocumented(t *testing.T) {
	t.Parallel()
	const path = "../../docs/metrics.md"
	all, registry := registered(t)
	all["cloudidq_build_info"] = buildInfo(t)
	var table strings.Builder
	table.WriteString("| series | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", s.name, s.kind, s.labels, s.help)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- begin of the table -->\n", "<!-- end of the table -->"
	head, rest, ok := strings.Cut(string(text), begin)
	was, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/metrics.md does not contain the markers of the table")
	}
	if *update {
		if err := os.WriteFile(path, []byte(head+begin+table.String()+end+tail), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if was != table.String() {
		t.Errorf("docs/metrics.md differs from the registered metrics; run with -update to write it; want\n%s", table.String())
	}
	lintMetrics(t, registry)
}

// lintMetrics checks cloudidq's names against Prometheus's rules. It cannot change asynq's
// names.
func lintMetrics(t *testing.T, registry *prometheus.Registry) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "asynq_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// buildInfo returns the one series that telemetry registers itself.
func buildInfo(t *testing.T) series {
	t.Helper()
	tel, err := telemetry.New(t.Context(), telemetry.Config{
		Out: os.Stderr, LookupEnv: func(string) (string, bool) { return "", false },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Shutdown()
	families, err := tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if name := family.GetName(); strings.HasPrefix(name, "cloudidq_") {
			var labels []string
			for _, l := range family.GetMetric()[0].GetLabel() {
				labels = append(labels, l.GetName())
			}
			return series{name, strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp()}
		}
	}
	t.Fatal("no series of cloudidq")
	return series{}
}

// If asynq cannot describe a queue, the collector reports the error and still shows the other
// queues.
func TestQueueCollector_BrokenQueue(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := asynq.NewClientFromRedisClient(rdb)
	for _, queue := range []string{tasks.QueueEvents, tasks.QueueBackfill} {
		task, err := tasks.NewResolveTask(tasks.ResolvePayload{AppID: appA, Items: []tasks.Item{{CloudID: "73_x"}}}, queue)
		if err != nil {
			t.Fatal(err)
		}
		info, err := client.EnqueueContext(t.Context(), task)
		if err != nil {
			t.Fatal(err)
		}
		if queue == tasks.QueueBackfill { // its id stays in the pending list
			if err := rdb.Del(t.Context(), "asynq:{backfill}:t:"+info.ID).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	queues := queue.NewCollector(rdb)
	t.Cleanup(queues.Close)
	registry := prometheus.NewRegistry()
	registry.MustRegister(queues)
	values := func() map[string]float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetValue())
				}
				got[family.GetName()+" "+strings.Join(labels, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return got
	}
	got := values()
	for name, want := range map[string]float64{
		"asynq_tasks_enqueued_total events pending": 1, "asynq_queue_size events": 1, "asynq_queue_paused_total events": 0,
		"asynq_queue_size webhooks": 0, "asynq_tasks_processed_total webhooks": 0,
		"cloudidq_queue_scrape_failures_total backfill": 1, "cloudidq_queue_scrape_failures_total events": 0,
	} {
		if value, there := got[name]; !there || value != want {
			t.Errorf("%s = %v (%v), want %v", name, value, there, want)
		}
	}
	for name := range got {
		if strings.HasPrefix(name, "asynq_") && strings.Contains(name, "backfill") {
			t.Errorf("%s is exported", name)
		}
	}
	if got["asynq_queue_memory_usage_approx_bytes events"] < 100 {
		t.Errorf("memory of events = %v", got["asynq_queue_memory_usage_approx_bytes events"])
	}
	if again := values(); again["cloudidq_queue_scrape_failures_total backfill"] != 1 {
		t.Error("a second scrape within five seconds queried Redis again")
	}
}

var seriesName = regexp.MustCompile(`\b(?:cloudidq|asynq)_[a-z_]+[a-z]`)

// Dashboards and alerts use only existing series.
func TestMetrics_DeployedFilesUseExistingSeries(t *testing.T) {
	t.Parallel()
	all, _ := registered(t)
	all["cloudidq_build_info"] = series{}
	used := 0
	err := filepath.WalkDir("../../deploy", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, name := range seriesName.FindAllString(string(text), -1) {
			used++
			base := name
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, part)
			}
			if _, there := all[base]; !there {
				t.Errorf("%s uses %s, which does not exist", path, name)
			}
		}
		return nil
	})
	if err != nil || used == 0 {
		t.Errorf("%d series are used, %v, so this test proves nothing", used, err)
	}
}
