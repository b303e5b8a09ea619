package httpapi_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/backfill"
	"cloudidq/internal/httpapi"
	"cloudidq/tasks"
)

// begin sends the first part of a body and waits until the given number of lines is enqueued. It
// returns the writer for the rest of the body, the id of the backfill, and a channel for the
// response.
func (b *fixture) begin(key, part string, lines int) (*io.PipeWriter, string, chan reply) {
	b.Helper()
	r, w := io.Pipe()
	answered := make(chan reply, 1)
	// The transport reads the body in a goroutine of its own. A separate connection per request
	// leaves nothing behind for other tests.
	req, err := http.NewRequestWithContext(b.Context(), "POST", b.url+"/v1/backfills?appid=wxA", r)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", key)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			answered <- reply{}
			return
		}
		defer func() { _ = resp.Body.Close() }()
		text, _ := io.ReadAll(resp.Body)
		answered <- reply{resp.StatusCode, resp.Header, string(text)}
	}()
	if _, err := io.WriteString(w, part); err != nil {
		b.Fatal(err)
	}
	id := backfill.IDOf("key\x00nobody\x00" + key)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if bf, err := b.backfills.Get(b.Context(), id); err == nil && bf.Lines >= lines {
			return w, id, answered
		}
		if time.Now().After(deadline) {
			b.Fatal("the lines were not enqueued within 2 minutes")
		}
	}
}

// If the connection breaks in the middle of a body, the complete lines are enqueued. Sending the
// same body again continues the backfill, by its Idempotency-Key or by its id.
func TestBackfill_LostConnection(t *testing.T) {
	b := newFixture(t)
	for _, how := range []string{"key", "resume"} {
		b.rdb.FlushAll(t.Context())
		b.rdb.SAdd(t.Context(), "asynq:queues", tasks.QueueBackfill)
		all := bulk(400)
		cut := strings.Index(all, "line 00151") // within line 151
		body, id, answered := b.begin("k", all[:cut], 150)
		if bf := b.counts(id); bf.State != backfill.Open || bf.Lines != 150 || bf.Accepted != 150 ||
			bf.Pending != 150 {
			t.Errorf("counts in the middle = %+v", bf)
		}
		_ = body.CloseWithError(errors.New("client crashed"))
		<-answered
		var got reply
		if how == "key" {
			got = b.call("POST", "/v1/backfills?appid=wxA", all, "Idempotency-Key", "k")
		} else {
			got = b.call("POST", "/v1/backfills?appid=wxA&resume="+id, all)
		}
		if in := parse[acceptedBody](t, got.body); got.status != 202 || in.Accepted != 400 || in.ID != id || got.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("answer = %d %s", got.status, got.body)
		}
		b.wantQueued(400)
	}
}

// If two clients send under one key at once, the later request continues and the earlier one is
// rejected.
func TestBackfill_TwoClients(t *testing.T) {
	b := newFixture(t)
	all := bulk(300)
	body, id, answered := b.begin("k", all[:strings.Index(all, "line 00100")], 99)
	got := b.call("POST", "/v1/backfills?appid=wxA", all, "Idempotency-Key", "k")
	if got.status != 202 || parse[acceptedBody](t, got.body).Accepted != 300 {
		t.Errorf("answer to the second = %d %s", got.status, got.body)
	}
	go func() {
		_, _ = io.WriteString(body, all[strings.Index(all, "line 00100"):])
		_ = body.Close()
	}()
	first := <-answered
	wantProblem(t, first, 409)
	if first.header.Get("Location") != "/v1/backfills/"+id {
		t.Errorf("header = %v", first.header)
	}
	b.wantQueued(300)
}

// If a client stops sending, or the server stops, the response says how to continue.
func TestBackfill_SlowClientAndStop(t *testing.T) {
	b := newFixtureWith(t, []string{"wxA", "wxB"}, func(s *httpapi.Server) { s.SetStreamTiming(2*time.Second, time.Minute, time.Millisecond, time.Minute) })
	body, id, answered := b.begin("slow", bulk(10), 10)
	got := <-answered
	wantProblem(t, got, 408)
	if !strings.Contains(got.body, "resume="+id) ||
		!strings.Contains(got.body, "10 lines were enqueued") {
		t.Errorf("answer = %s", got.body)
	}
	_ = body.Close()

	b = newFixture(t)
	body, id, answered = b.begin("stop", bulk(10), 10)
	b.stop() // while the client may still send
	got = <-answered
	wantProblem(t, got, 503)
	if !strings.Contains(got.body, "resume="+id) || got.header.Get("Retry-After") == "" {
		t.Errorf("answer = %v %s", got.header, got.body)
	}
	_ = body.Close()
}

// If the queue fills up in the middle of a body, the server waits for a limited time.
func TestBackfill_QueueFull(t *testing.T) {
	for recovers, maxWait := range map[bool]time.Duration{true: time.Minute, false: 700 * time.Millisecond} {
		b := newFixtureWith(t, []string{"wxA", "wxB"}, func(s *httpapi.Server) { s.SetStreamTiming(time.Minute, maxWait, time.Millisecond, time.Minute) })
		body, id, answered := b.begin(fmt.Sprint(recovers), bulk(10), 10)
		b.full.Store(true)
		go func() { _, _ = io.WriteString(body, bulk(10)); _ = body.Close() }()
		if recovers {
			time.AfterFunc(50*time.Millisecond, func() { b.full.Store(false) })
		}
		got := <-answered
		if recovers {
			if got.status != 202 || parse[acceptedBody](t, got.body).Accepted != 20 {
				t.Errorf("answer = %d %s", got.status, got.body)
			}
			continue
		}
		wantProblem(t, got, 503)
		if got.header.Get("Retry-After") == "" || b.counts(id).Lines != 10 {
			t.Errorf("answer = %v %s", got.header, got.body)
		}
	}
}

// If an app is paused in the middle of a body, the remaining lines are not enqueued. The
// response says why and how to continue.
func TestBackfill_AppPaused(t *testing.T) {
	b := newFixtureWith(t, []string{"wxA", "wxB"}, func(s *httpapi.Server) {
		s.SetStreamTiming(time.Minute, 10*time.Millisecond, time.Millisecond, time.Minute)
	})
	body, id, answered := b.begin("paused", bulk(10), 10)
	b.paused.Store(true)
	go func() { _, _ = io.WriteString(body, bulk(10)); _ = body.Close() }()
	got := <-answered
	wantProblem(t, got, 503)
	if got.header.Get("Retry-After") == "" || b.counts(id).Lines != 10 || !strings.Contains(got.body, "the app is paused") {
		t.Errorf("answer = %v %s", got.header, got.body)
	}
}

// At most 32 bodies arrive at once while none of them is slow.
func TestBackfill_TooManyAtOnce(t *testing.T) {
	b := newFixtureWith(t, []string{"wxA", "wxB"}, func(s *httpapi.Server) { s.SetUploadTiming(time.Hour, time.Minute) })
	for i := range 32 {
		body, _, answered := b.begin(fmt.Sprint(i), bulk(1), 0)
		defer func() { _ = body.Close(); <-answered }()
	}
	got := b.call("POST", "/v1/backfills?appid=wxA", bulk(1))
	wantProblem(t, got, 503)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// A slow body does not keep its slot when a new upload needs it. Each new upload takes the
// slot of the slowest body, whose response says how to continue.
func TestBackfill_SlowBodies_AreEvicted(t *testing.T) {
	b := newFixtureWith(t, []string{"wxA", "wxB"}, func(s *httpapi.Server) { s.SetUploadTiming(50*time.Millisecond, time.Minute) })
	const slots, newUploads = 32, 3
	var answers []chan reply
	for i := range slots {
		body, _, answered := b.begin(fmt.Sprint(i), bulk(1), 0)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() { // send a byte from time to time until the server closes the body
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if _, err := io.WriteString(body, " "); err != nil {
					return
				}
			}
		}()
		answers = append(answers, answered)
		defer func() { close(stop); _ = body.Close(); <-stopped }()
	}
	for range newUploads {
		if got := b.call("POST", "/v1/backfills?appid=wxA", bulk(20)); got.status != 202 {
			t.Fatalf("backfill during slow uploads = %d %s, want 202", got.status, got.body)
		}
	}
	evicted := 0
	for _, answered := range answers {
		select {
		case got := <-answered:
			evicted++
			if got.status != 0 && (got.status != 408 || !strings.Contains(got.body, "resume=")) { // 0: the response was lost
				t.Errorf("a slow body got %d %s, want 408 with a hint", got.status, got.body)
			}
		default:
		}
	}
	if evicted > newUploads {
		t.Errorf("%d bodies were evicted by %d new uploads", evicted, newUploads)
	}
}
