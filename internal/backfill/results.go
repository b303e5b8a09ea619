package backfill

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"cloudidq/internal/lines"
	"cloudidq/store"
	"cloudidq/tasks"
)

// chunksAtOnce is as many as give a look-up of a thousand records.
const chunksAtOnce = 1000 / tasks.MaxItems

// Results calls yield with the records that have ended, in the order of the lines, some hundred at a time. A line whose
// record is pending or not there, as after an erasure, has none.
func Results(
	ctx context.Context, backfills *store.Backfills, results store.Results, of *store.Backfill, yield func([]store.Record) error,
) error {
	for from, more := 0, true; more; from += chunksAtOnce {
		var ids []string
		var err error
		if ids, more, err = backfills.CloudIDs(ctx, of, from, chunksAtOnce); err != nil {
			return err
		}
		records, err := lookup(ctx, results, of.AppID, ids)
		if err != nil {
			return err
		}
		if err := yield(records); err != nil {
			return err
		}
	}
	return nil
}

// lookup looks each cloudID up once, and returns the record of each that has ended as often as it stands there.
func lookup(ctx context.Context, results store.Results, appID string, ids []string) ([]store.Record, error) {
	at := make(map[string]int, len(ids))
	unique := make([]string, 0, len(ids))
	for _, id := range ids {
		if _, repeated := at[id]; !repeated {
			at[id] = len(unique)
			unique = append(unique, id)
		}
	}
	found, err := results.Lookup(ctx, appID, unique)
	if err != nil {
		return nil, err
	}
	records := make([]store.Record, 0, len(ids))
	for _, id := range ids {
		if rec := found[at[id]]; rec.Status.Final() {
			records = append(records, rec)
		}
	}
	return records, nil
}

// Writer writes records in one of the formats.
type Writer struct {
	json   *json.Encoder
	csv    *csv.Writer
	cell   func(string) string // how a text of somebody else's becomes a cell
	header bool                // has been written
}

// NewWriter returns a writer to out. Its CSV can be opened in a spreadsheet, see [Writer.Raw]. What it has been given is there after each call of Write.
func NewWriter(out io.Writer, format lines.Format) *Writer {
	if format == lines.CSV {
		return &Writer{csv: csv.NewWriter(out), cell: safeCell}
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false) // data is WeChat's text, unchanged
	return &Writer{json: enc}
}

// Raw lets cells of CSV begin as formulas do: exactly what is stored, for programs and for no spreadsheet. It returns the
// writer.
func (w *Writer) Raw() *Writer {
	w.cell = func(text string) string { return text }
	return w
}

// columns of CSV. data is JSON.
var columns = []string{
	"appid", "openid", "cloud_id", "status", "kind", "data", "error_code", "error_message", "error_rid", "attempts", "reference",
	"accepted_at", "finished_at",
}

// Write writes records, and before the first of them the header of a CSV file, also if there is none.
func (w *Writer) Write(records []store.Record) error {
	if w.csv != nil {
		return w.writeCSV(records)
	}
	for i := range records {
		if err := w.json.Encode(&records[i]); err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	return nil
}

func (w *Writer) writeCSV(records []store.Record) error {
	if !w.header {
		w.header = true
		_ = w.csv.Write(columns) // Error tells
	}
	for i := range records {
		_ = w.csv.Write(w.row(&records[i]))
	}
	w.csv.Flush()
	if err := w.csv.Error(); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}

func (w *Writer) row(rec *store.Record) []string {
	moment := func(t store.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	code, message, rid := "", "", ""
	if e := rec.Error; e != nil {
		code, message, rid = strconv.Itoa(e.Code), e.Message, e.RID
	}
	return slices.Concat(
		[]string{w.cell(rec.AppID), w.cell(rec.OpenID), w.cell(rec.CloudID), string(rec.Status), w.cell(rec.Kind), w.cell(string(rec.Data))},
		[]string{code, w.cell(message), w.cell(rid), strconv.Itoa(rec.Attempts), w.cell(rec.Reference)},
		[]string{moment(rec.AcceptedAt), moment(rec.FinishedAt)},
	)
}
