package backfill_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/store"
)

// Results come in the order of the lines, once for each line of a cloudID. Pending and erased
// ones are absent.
func TestResults(t *testing.T) {
	b := newFixture(t)
	const n = 2500 // enough for several look-ups
	var text strings.Builder
	var want []string
	results := store.NewRedis(b.rdb, time.Hour)
	var records []store.Record
	for i := range n {
		id := fmt.Sprintf("73_%d", i-i%3/2) // every third line repeats the previous cloudID
		fmt.Fprintf(&text, `{"cloud_id":"%s","openid":"o%d"}`+"\n", id, i%7)
		rec := store.Record{AppID: "wxA", OpenID: fmt.Sprintf("o%d", i%7), CloudID: id, Status: store.Failed, Error: &store.Error{Code: -601007}}
		if i%5 == 0 {
			rec.Status, rec.Error = store.Pending, nil
		}
		if i%3 == 2 {
			continue
		}
		records = append(records, rec)
	}
	if err := results.Save(t.Context(), "task", records); err != nil {
		t.Fatal(err)
	}
	if _, err := results.Erase(t.Context(), "wxA", "o4"); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if at := i - i%3/2; at%5 != 0 && at%7 != 4 {
			want = append(want, fmt.Sprintf("73_%d", at))
		}
	}
	b.loader = b.loader.WithWindow(1000)
	of, err := b.load(b.create(lines.NDJSON), text.String(), backfill.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = backfill.Results(t.Context(), b.backfills, results, &of, func(records []store.Record) error {
		for _, rec := range records {
			got = append(got, rec.CloudID)
		}
		return nil
	})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Results: %v (-want +got):\n%s", err, diff)
	}
	stop := errors.New("stop")
	if err := backfill.Results(t.Context(), b.backfills, results, &of, func([]store.Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Results = %v, want the error of yield", err)
	}
	b.redis.Kill()
	if err := backfill.Results(t.Context(), b.backfills, results, &of, func([]store.Record) error { return nil }); err == nil {
		t.Error("Results without a Redis succeeded")
	}
}

// NDJSON and CSV contain every field of a record. An error of the output is returned.
func TestWriter(t *testing.T) {
	at := store.At(time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC))
	records := []store.Record{
		{
			AppID: "wx1", OpenID: "o1", CloudID: "73_1", Status: store.Resolved, Kind: "werun", Data: json.RawMessage(`{"a":"x, \"<y>\"","b":9007199254740993}`),
			Attempts: 2, Reference: "r\"1", AcceptedAt: at, FinishedAt: at,
		},
		{AppID: "wx1", CloudID: "73_2", Status: store.Failed, Error: &store.Error{Code: -601007, Message: "no", RID: "rid"}, Attempts: 1, AcceptedAt: at},
	}
	var text strings.Builder
	if err := backfill.NewWriter(&text, lines.NDJSON).Write(records); err != nil {
		t.Fatal(err)
	}
	var got []store.Record
	for line := range strings.Lines(text.String()) {
		var rec store.Record
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			t.Fatal(err)
		}
		got = append(got, rec)
	}
	if diff := cmp.Diff(records, got); diff != "" || !strings.Contains(text.String(), "<y>") {
		t.Errorf("NDJSON (-want +got):\n%s", diff)
	}

	text.Reset()
	w := backfill.NewWriter(&text, lines.CSV)
	if err := errors.Join(w.Write(nil), w.Write(records[:1]), w.Write(records[1:])); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(text.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"appid", "openid", "cloud_id", "status", "kind", "data", "error_code", "error_message", "error_rid", "attempts", "reference", "accepted_at", "finished_at"},
		{"wx1", "o1", "73_1", "resolved", "werun", string(records[0].Data), "", "", "", "2", "r\"1", "2026-11-22T08:00:00.000Z", "2026-11-22T08:00:00.000Z"},
		{"wx1", "", "73_2", "failed", "", "", "-601007", "no", "rid", "1", "", "2026-11-22T08:00:00.000Z", ""},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("CSV (-want +got):\n%s", diff)
	}
	for _, format := range lines.Formats {
		if err := backfill.NewWriter(full{}, format).Write(records); !errors.Is(err, errNoSpace) {
			t.Errorf("%s: Write on a full disk = %v", format, err)
		}
	}
}

var errNoSpace = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errNoSpace }
