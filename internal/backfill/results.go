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

// chunksAtOnce is the number of chunks in one look-up, which then has up to a thousand records.
const chunksAtOnce = 1000 / tasks.MaxItems

// Results calls yield with the records that have a final status, in the order of the lines, up
// to a thousand at a time. A line has no record if its record is pending or does not exist, for
// example after an erasure. Results returns the first error of yield or of a store.
func Results(
	ctx context.Context, backfills *Store, results store.Results, bf *Backfill,
	yield func([]store.Record) error,
) error {
	for from, more := 0, true; more; from += chunksAtOnce {
		var ids []string
		var err error
		if ids, more, err = backfills.CloudIDs(ctx, bf, from, chunksAtOnce); err != nil {
			return err
		}
		records, err := lookup(ctx, results, bf.AppID, ids)
		if err != nil {
			return err
		}
		if err := yield(records); err != nil {
			return err
		}
	}
	return nil
}

// lookup returns the final records of the ids, in their order. It looks up a repeated id once,
// and returns its record for each occurrence.
func lookup(ctx context.Context, results store.Results, appID string, ids []string) ([]store.Record, error) {
	// index has the position of each id in unique, and so in found.
	index := make(map[string]int, len(ids))
	unique := make([]string, 0, len(ids))
	for _, id := range ids {
		if _, repeated := index[id]; !repeated {
			index[id] = len(unique)
			unique = append(unique, id)
		}
	}
	found, err := results.Lookup(ctx, appID, unique)
	if err != nil {
		return nil, err
	}
	records := make([]store.Record, 0, len(ids))
	for _, id := range ids {
		if rec := found[index[id]]; rec.Status.Final() {
			records = append(records, rec)
		}
	}
	return records, nil
}

// Writer writes records as NDJSON or CSV.
type Writer struct {
	json   *json.Encoder
	csv    *csv.Writer
	cell   func(string) string // turns an untrusted text into a cell
	header bool                // the header has been written
}

// NewWriter returns a writer to out. Its CSV is safe to open in a spreadsheet, see
// [Writer.Raw]. Each call of Write flushes its output, so there is nothing to close.
func NewWriter(out io.Writer, format lines.Format) *Writer {
	if format == lines.CSV {
		return &Writer{csv: csv.NewWriter(out), cell: safeCell}
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false) // data is WeChat's text, unchanged
	return &Writer{json: enc}
}

// Raw makes the writer write CSV cells exactly as stored, even if they begin like formulas.
// Such a file is for programs. It is not safe to open in a spreadsheet. Raw returns the writer.
func (w *Writer) Raw() *Writer {
	w.cell = func(text string) string { return text }
	return w
}

// columns are the columns of CSV. data contains JSON.
var columns = []string{
	"appid", "openid", "cloud_id", "status", "kind", "data", "error_code", "error_message", "error_rid", "attempts", "reference",
	"accepted_at", "finished_at",
}

// Write writes records. The first call writes the header of a CSV file, even if it has no records.
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
		_ = w.csv.Write(columns) // csv.Error returns the error below
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

// row returns the cells of a record, in the order of columns.
func (w *Writer) row(rec *store.Record) []string {
	// A zero time is an empty cell. Milliseconds are always written, so that all times have one
	// form.
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
	// Only texts from outside cloudidq go through cell.
	return slices.Concat(
		[]string{w.cell(rec.AppID), w.cell(rec.OpenID), w.cell(rec.CloudID), string(rec.Status), w.cell(rec.Kind), w.cell(string(rec.Data))},
		[]string{code, w.cell(message), w.cell(rid), strconv.Itoa(rec.Attempts), w.cell(rec.Reference)},
		[]string{moment(rec.AcceptedAt), moment(rec.FinishedAt)},
	)
}
