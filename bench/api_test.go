package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/coord"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/redistest"
	"cloudidq/internal/secret"
	"cloudidq/store"
	"cloudidq/tasks"
)

const (
	apiClients = 256
	apiWarm    = 2 * apiClients
	apiKey     = "key-of-the-benchmark-and-no-other"
)

// BenchmarkAPI measures how many POSTs to /v1/resolutions with one cloudID an API process
// answers over 256 persistent connections. It compares two servers in alternating rounds of one
// run. One has the real producer, which answers 202 after Redis (append-only file) has the task.
// The other is the same server with a producer that accepts everything at once. Client, server
// and Redis share the cores.
func BenchmarkAPI(b *testing.B) {
	requests := size(b, "BENCH_REQUESTS", 60_000)
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Start(b, "--appendonly", "yes").Addr})
	defer func() { _ = rdb.Close() }()
	queue := tasks.NewClient(rdb, tasks.Options{})
	defer queue.Close()
	ways := []*way{{name: "no-queue", addr: serveAPI(b, rdb, yes{})}, {name: "redis", addr: serveAPI(b, rdb, queue)}}
	for _, w := range ways {
		w.run(b, apiWarm) // opens the connections and fills the pools
	}
	wantQueuedBeforeAnswered(b, rdb, ways[1])
	for b.Loop() {
		for range 3 {
			for _, w := range ways {
				w.measure(b, requests/3)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, w := range ways {
		slices.Sort(w.latencies)
		b.ReportMetric(w.rate(), w.name+"-requests/s")
		b.ReportMetric(float64(w.latencies[len(w.latencies)*99/100].Microseconds())/1000, w.name+"-p99-ms")
	}
	b.ReportMetric(100*ways[1].rate()/ways[0].rate(), "%-of-no-queue")
	wantQueued(b, rdb, ways[1])
}

// yes is a producer that accepts everything without a queue.
type yes struct{}

// Resolve implements the producer.
func (yes) Resolve(_ context.Context, req tasks.Request) (tasks.Receipt, error) {
	return tasks.Receipt{AcceptedAt: time.Now(), Enqueued: len(req.Items)}, nil
}

// WriteChunk implements the producer.
func (yes) WriteChunk(context.Context, tasks.Chunk) error { return nil }

// Now implements the producer.
func (yes) Now(context.Context) (time.Time, error) { return time.Now(), nil }

// High implements [httpapi.Load].
func (yes) High(context.Context, string) bool  { return false }
func (yes) Room(context.Context, string) error { return nil }

// serveAPI starts an API as `cloudidq api` does, except for the producer.
func serveAPI(b *testing.B, rdb *redis.Client, producer interface {
	Resolve(ctx context.Context, req tasks.Request) (tasks.Receipt, error)
	WriteChunk(ctx context.Context, chunk tasks.Chunk) error
	Now(ctx context.Context) (time.Time, error)
}) (addr string) {
	b.Helper()
	server, err := httpapi.New(httpapi.Config{
		Listen: "127.0.0.1:0", Keys: []httpapi.Key{
			httpapi.NewKey("other", secret.New("another-"+apiKey), httpapi.Scopes, nil),
			httpapi.NewKey("bench", secret.New(apiKey), []httpapi.Scope{httpapi.ScopeResolve}, []string{appID}),
		},
	}, httpapi.Parts{
		Producer: producer, Results: store.NewRedis(rdb, time.Hour), Backfills: backfill.NewStore(rdb, time.Hour, nil),
		Load: yes{}, Requests: coord.NewRequests(rdb), Serves: func(id string) bool { return id == appID },
		Log: slog.New(slog.DiscardHandler), Metrics: httpapi.NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- server.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			b.Error(err)
		}
	})
	select {
	case <-server.Ready():
	case err := <-stopped:
		b.Fatal(err)
	}
	return server.Addr()
}

// way is one of the servers and its measurements.
type way struct {
	name, addr string
	clients    []*apiClient
	requested  atomic.Int64 // requests of all runs; makes every cloudID unique
	answered   atomic.Int64

	timed     int
	took      time.Duration
	latencies []time.Duration
}

// rate returns the answered requests per second.
func (w *way) rate() float64 { return float64(w.timed) / w.took.Seconds() }

// run makes n requests over all connections. Each connection sends the next request after the
// answer to the last one.
func (w *way) run(b *testing.B, n int) (took time.Duration) {
	b.Helper()
	for len(w.clients) < apiClients {
		w.clients = append(w.clients, dialAPI(b, w.addr))
	}
	left := atomic.Int64{}
	left.Store(int64(n))
	failed := make(chan error, apiClients)
	var wg sync.WaitGroup
	begun := time.Now()
	for _, c := range w.clients {
		c.latencies = c.latencies[:0]
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := c.resolve(w.requested.Add(1)); err != nil {
					failed <- err
					return
				}
				w.answered.Add(1)
			}
		})
	}
	wg.Wait()
	took = time.Since(begun)
	select {
	case err := <-failed:
		b.Fatal(err)
	default:
	}
	return took
}

// measure is run, and it records the results.
func (w *way) measure(b *testing.B, n int) {
	b.Helper()
	w.took += w.run(b, n)
	w.timed += n
	for _, c := range w.clients {
		w.latencies = append(w.latencies, c.latencies...)
	}
}

// apiClient is one connection. It writes prepared bytes and checks only the necessary parts of
// the answer. A real client would use CPU time that the measured server needs.
type apiClient struct {
	conn      net.Conn
	in        *bufio.Reader
	request   []byte
	number    []byte // part of request
	latencies []time.Duration
}

const apiDigits = 12

func dialAPI(b *testing.B, addr string) *apiClient {
	b.Helper()
	conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	const head, tail = `{"appid":"` + appID + `","openid":"oGZUI0egBJY1zhBYw2KhdUfwVJJE","cloud_ids":["73_pTOhvP4zIDGsnXD2MDCrY7HjOcJtDdJkYq5`, `"]}`
	length := len(head) + apiDigits + len(tail)
	request := fmt.Appendf(nil, "POST /v1/resolutions HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, apiKey, length, head)
	at := len(request)
	request = append(append(request, make([]byte, apiDigits)...), tail...)
	return &apiClient{conn: conn, in: bufio.NewReaderSize(conn, 4096), request: request, number: request[at : at+apiDigits]}
}

// resolve sends cloudID n and reads the answer, which must be 202.
func (c *apiClient) resolve(n int64) error {
	text := strconv.AppendInt(make([]byte, 0, apiDigits), n, 10)
	for i := range c.number {
		c.number[i] = '0'
	}
	copy(c.number[apiDigits-len(text):], text)
	begun := time.Now()
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 202 ")) {
		return fmt.Errorf("answer: %s", line)
	}
	// Read the header to find the length of the body, and skip the body.
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("an answer without Content-Length")
	}
	_, err = c.in.Discard(length)
	c.latencies = append(c.latencies, time.Since(begun))
	return err
}

// wantQueuedBeforeAnswered checks during requests that the queue has at least as many cloudIDs
// as were answered.
func wantQueuedBeforeAnswered(b *testing.B, rdb *redis.Client, w *way) {
	b.Helper()
	stop, looked := make(chan struct{}), make(chan int)
	go func() {
		looks := 0
		defer func() { looked <- looks }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			answered := w.answered.Load()
			if there := cloudIDsQueued(b, rdb); there < answered {
				b.Errorf("%d requests are answered and %d are in the queue", answered, there)
			}
			looks++
		}
	}()
	w.run(b, apiWarm)
	close(stop)
	if looks := <-looked; looks == 0 {
		b.Error("nobody has looked")
	}
}

// wantQueued checks that the queue has every answered cloudID, in a task that can be parsed.
func wantQueued(b *testing.B, rdb *redis.Client, w *way) {
	b.Helper()
	if there, want := cloudIDsQueued(b, rdb), w.answered.Load(); there != want {
		b.Errorf("%d cloudIDs are in the queue, want %d", there, want)
	}
}

func cloudIDsQueued(b *testing.B, rdb *redis.Client) (n int64) {
	b.Helper()
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	for page := 1; ; page++ {
		infos, err := inspector.ListPendingTasks(tasks.QueueEvents, asynq.PageSize(1000), asynq.Page(page))
		if err != nil {
			b.Error(err)
			return n
		}
		for _, info := range infos {
			p, err := tasks.ParseResolve(info.Payload)
			if err != nil {
				b.Error(err)
			}
			n += int64(len(p.Items))
		}
		if len(infos) < 1000 {
			return n
		}
	}
}
