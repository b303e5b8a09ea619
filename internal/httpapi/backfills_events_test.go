package httpapi_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/backfill"
	"cloudidq/internal/httpapi"
)

// event is one server-sent event. If comment is set, it is a comment line instead.
type event struct{ name, id, data, comment string }

// follow opens a stream and returns a channel of its events. The channel closes when the stream
// ends.
func (b *fixture) follow(ctx context.Context, url, lastID string) chan event {
	b.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", b.url+url+"/events", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", lastID)
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // the goroutine below closes it
	if err != nil {
		b.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		b.Fatalf("answer = %d %v", resp.StatusCode, resp.Header)
	}
	events := make(chan event, 100)
	go func() {
		defer close(events)
		defer func() { _ = resp.Body.Close() }()
		var e event
		for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
			field, value, _ := strings.Cut(scanner.Text(), ": ")
			switch field {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if value != "" { // a line with an empty field name is a comment
					events <- event{comment: value}
				} else if e != (event{}) {
					events <- e
					e = event{}
				}
			}
		}
	}()
	return events
}

// next returns the next event, and the backfill in its data.
func next(t *testing.T, events chan event) (event, backfill.Backfill) {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the stream is closed, want an event")
		}
		if e.data == "" {
			return e, backfill.Backfill{}
		}
		return e, parse[backfill.Backfill](t, e.data)
	case <-time.After(2 * time.Minute):
		t.Fatal("no event within 2 minutes")
		return event{}, backfill.Backfill{}
	}
}

func TestBackfill_Events(t *testing.T) {
	// The read timeout of the server is shorter than the keep-alive interval. It must not end
	// the stream.
	b := newFixtureWith(t, []string{"wxA", "wxB"}, func(s *httpapi.Server) {
		s.SetStreamTiming(100*time.Millisecond, time.Minute, 5*time.Millisecond, 300*time.Millisecond)
	})
	in := parse[acceptedBody](t, b.call("POST", "/v1/backfills?appid=wxA", bulk(3)).body)
	events := b.follow(t.Context(), in.URL, "")
	first, bf := next(t, events)
	if first.name != "progress" || first.id == "" || bf.Pending != 3 || bf.ID != in.ID {
		t.Errorf("first event = %+v", first)
	}
	if keepAlive, _ := next(t, events); keepAlive.comment == "" {
		t.Errorf("event = %+v, want a keep-alive comment", keepAlive)
	}
	report := func(counts backfill.Counts) {
		if err := b.backfills.Report(t.Context(), in.ID, 0, counts); err != nil {
			t.Fatal(err)
		}
	}
	report(backfill.Counts{Resolved: 1})
	second, bf := next(t, events)
	for second.comment != "" {
		second, bf = next(t, events)
	}
	if second.name != "progress" || second.id == first.id || bf.Resolved != 1 || bf.Pending != 2 {
		t.Errorf("second event = %+v", second)
	}
	// A client that reconnects gets only what it does not have: nothing, or the current counts.
	ctx, cancel := context.WithCancel(t.Context())
	if e, _ := next(t, b.follow(ctx, in.URL, second.id)); e.comment == "" {
		t.Errorf("a client that has the counts got %+v, want a comment", e)
	}
	if e, bf := next(t, b.follow(ctx, in.URL, first.id)); e.id != second.id || bf.Resolved != 1 {
		t.Errorf("a client with older counts got %+v, want the current ones", e)
	}
	cancel()
	report(backfill.Counts{Resolved: 1, Failed: 1, Expired: 1})
	last, bf := next(t, events)
	for last.comment != "" {
		last, bf = next(t, events)
	}
	if last.name != "done" || bf.Pending != 0 || bf.Failed != 1 || !bf.Finished() {
		t.Errorf("last event = %+v", last)
	}
	if e, more := <-events; more {
		t.Errorf("after the done event: %+v, want a closed stream", e)
	}
	if got := b.call("GET", in.URL+"/events", "", "Last-Event-ID", last.id); got.status != 204 {
		t.Errorf("a client that has the done event got %d %s, want 204", got.status, got.body)
	}
	if e, _ := next(t, b.follow(t.Context(), in.URL, second.id)); e.name != "done" {
		t.Errorf("a client without the done event got %+v, want it", e)
	}
}

// A server can stop while clients follow a backfill. Their streams end.
func TestBackfill_EventsEndWithTheServer(t *testing.T) {
	b := newFixture(t)
	in := parse[acceptedBody](t, b.call("POST", "/v1/backfills?appid=wxA", bulk(3)).body)
	events := b.follow(t.Context(), in.URL, "")
	next(t, events)
	b.stop()
	if _, more := <-events; more {
		t.Error("the stream is still open")
	}
}
