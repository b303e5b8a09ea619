package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"cloudidq/internal/backfill"
	"cloudidq/internal/open"
)

// pollInterval is the interval at which awaitBackfill reads the state of the backfill.
const pollInterval = 200 * time.Millisecond

// awaitBackfill waits until all cloudIDs of a backfill are finished. If Redis does not answer, it
// keeps polling.
func awaitBackfill(
	ctx context.Context, s streams, backfills *backfill.Store, of backfill.Backfill,
) (backfill.Backfill, error) {
	progress := newResolveProgress(s.err, of)
	defer progress.finish()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !of.Finished() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return of, fmt.Errorf(
				"stopped; pending: %d; the backfill continues; to wait for it, use --resume %s --wait",
				of.Pending, of.ID)
		}
		now, err := backfills.Get(ctx, of.ID)
		if err != nil {
			if errors.Is(err, backfill.ErrNotFound) {
				return of, err
			}
			progress.unavailable()
			continue
		}
		of = now
		progress.finished(of)
	}
	return of, nil
}

// report writes the records and prints the summary. It returns an error if not all cloudIDs are
// resolved.
func report(ctx context.Context, s streams, records *open.Records, of backfill.Backfill, out *output) error {
	if out != nil {
		if err := backfill.Results(ctx, records.Backfills, records, &of, out.write); err != nil {
			return err
		}
		if err := out.keep(); err != nil {
			return err
		}
	}
	to := s.out
	if out != nil && out.path == "" { // stdout has the records
		to = s.err
	}
	if _, err := fmt.Fprintln(to, summary(of)); err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	// The exit status is 1 if not every accepted cloudID is resolved.
	if open := of.Accepted - of.Resolved; open > 0 {
		return fmt.Errorf("not resolved: %d of %d", open, of.Accepted)
	}
	return nil
}

// summary returns the final numbers of a backfill as a table.
func summary(of backfill.Backfill) string {
	percent := func(n, of int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(max(1, of))) }
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.SetTitle("%s", of.ID)
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}})
	t.AppendRows([]table.Row{
		{"lines", of.Lines, string(of.State)},
		{"rejected", of.Rejected, percent(of.Rejected, of.Lines) + ", invalid lines"},
		{"accepted", of.Accepted, percent(of.Accepted, of.Lines)},
	})
	t.AppendSeparator()
	t.AppendRows([]table.Row{
		{"resolved", of.Resolved, percent(of.Resolved, of.Accepted)},
		{"failed", of.Failed, percent(of.Failed, of.Accepted)},
		{"expired", of.Expired, percent(of.Expired, of.Accepted) + ", too old"},
	})
	if took := of.FinishedAt.Sub(of.CreatedAt.Time); took > 0 {
		t.AppendSeparator()
		rate := fmt.Sprintf("%.0f lines/s", float64(of.Lines)/took.Seconds())
		t.AppendRow(table.Row{"took", took.Round(100 * time.Millisecond).String(), rate})
	}
	return t.Render()
}
