package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"cloudidq/internal/backfill"
)

const (
	// printInterval is the interval of progress lines if there is no terminal.
	printInterval = 2 * time.Second
	// maxRejectLines limits the number of invalid lines reported on stderr.
	maxRejectLines = 100
)

// isTerminal reports whether out is a terminal.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// meter shows progress: as a bar on a terminal, otherwise as a line at intervals.
type meter struct {
	out     io.Writer
	bar     *progressbar.ProgressBar // nil means no terminal
	begun   time.Time
	printed time.Time // when the last line was printed
}

// newMeter returns a meter for progress towards total, which is -1 if unknown.
func newMeter(out io.Writer, what string, total int64) *meter {
	m := &meter{out: out, begun: time.Now(), printed: time.Now()}
	if isTerminal(out) {
		m.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetDescription(what),
			progressbar.OptionSetWidth(20),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetElapsedTime(true),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetTheme(progressbar.ThemeASCII), // ThemeUnicode needs a special font
		)
	}
	return m
}

// show displays the progress: words next to the bar, or line if there is no bar.
func (m *meter) show(done int64, words, line string) {
	if m.bar != nil {
		m.bar.Describe(words)
		_ = m.bar.Set64(done) // a drawing error must not stop the command
		return
	}
	if time.Since(m.printed) >= printInterval {
		m.printed = time.Now()
		fmt.Fprintf(m.out, "%s\n", line)
	}
}

// printf prints a line, above the bar if there is one.
func (m *meter) printf(format string, args ...any) {
	if m.bar != nil {
		_ = m.bar.Clear()
	}
	fmt.Fprintf(m.out, format+"\n", args...)
}

func (m *meter) finish() {
	if m.bar != nil {
		_ = m.bar.Finish()
	}
}

// perSecond returns the average rate of n since the meter started.
func (m *meter) perSecond(n int) float64 {
	return float64(n) / max(time.Since(m.begun).Seconds(), 0.001)
}

// remaining estimates the remaining time. It returns "" if no estimate is possible or a bar
// shows one.
func (m *meter) remaining(done, total float64) string {
	took := time.Since(m.begun)
	if m.bar != nil || done <= 0 || total <= done || took < time.Second {
		return ""
	}
	estimate := time.Duration(float64(took) * (total - done) / done)
	return fmt.Sprintf(", %s left", estimate.Round(time.Second))
}

// loadProgress reports the progress of loading a file.
type loadProgress struct {
	*meter
	in       *input
	from     backfill.Backfill // state of the backfill at the start
	rejected int               // number of rejected lines since the start
}

// newLoadProgress returns the progress of a load that starts, or continues, at from.
func newLoadProgress(out io.Writer, in *input, from backfill.Backfill) *loadProgress {
	total := in.size()
	if total == 0 {
		total = -1
	}
	p := &loadProgress{meter: newMeter(out, "loading", total), in: in, from: from}
	if from.Lines > 0 {
		p.printf("resuming; lines already loaded, which are checked first: %d", from.Lines)
	}
	return p
}

// lines reports the progress of a load.
func (p *loadProgress) lines(of backfill.Backfill) {
	read, rate := p.in.read.Load(), p.perSecond(of.Lines-p.from.Lines)
	p.show(read, fmt.Sprintf("lines %d, rejected %d, %.0f/s", of.Lines, of.Rejected, rate),
		fmt.Sprintf("lines: %d, accepted: %d, rejected: %d, %.0f lines/s%s",
			of.Lines, of.Accepted, of.Rejected, rate,
			p.remaining(float64(read), float64(p.in.size()))))
}

// reject reports an invalid line.
func (p *loadProgress) reject(r backfill.Reject) {
	p.rejected++
	switch {
	case p.rejected <= maxRejectLines:
		p.printf("line %d: %s", r.Line, r.Error)
	case p.rejected == maxRejectLines+1:
		p.printf("more lines are invalid; GET /v1/backfills/%s/rejects returns the first %d",
			p.from.ID, backfill.MaxRejects)
	}
}

// full reports why the loader waits.
func (p *loadProgress) full(why error) {
	if errors.Is(why, backfill.ErrPaused) {
		p.printf("the app is paused; waiting until it resumes")
		return
	}
	p.printf("the queue is full; waiting")
}

// finish prints the totals of a load.
func (p *loadProgress) finish(of backfill.Backfill) {
	p.meter.finish()
	fmt.Fprintf(p.out, "lines: %d, accepted: %d, rejected: %d\n", of.Lines, of.Accepted, of.Rejected)
}

// resolveProgress reports how many cloudIDs of a backfill are finished.
type resolveProgress struct {
	*meter
	from   int  // number of finished cloudIDs at the start
	outage bool // whether the last request to Redis failed
}

// newResolveProgress returns the progress of a backfill that is being resolved.
func newResolveProgress(out io.Writer, of backfill.Backfill) *resolveProgress {
	m := newMeter(out, "resolving", int64(max(1, of.Accepted)))
	return &resolveProgress{meter: m, from: of.Accepted - of.Pending}
}

// finished reports how many cloudIDs are finished.
func (p *resolveProgress) finished(of backfill.Backfill) {
	p.outage = false
	done := of.Accepted - of.Pending
	rate := p.perSecond(done - p.from)
	p.show(int64(done),
		fmt.Sprintf("resolved %d, others %d, %.0f/s", of.Resolved, of.Failed+of.Expired, rate),
		fmt.Sprintf("pending: %d, resolved: %d, failed: %d, expired: %d, %.0f cloudIDs/s%s",
			of.Pending, of.Resolved, of.Failed, of.Expired, rate,
			p.remaining(float64(done-p.from), float64(of.Accepted-p.from))))
}

// unavailable reports once per outage that Redis does not answer.
func (p *resolveProgress) unavailable() {
	if !p.outage {
		p.outage = true
		p.printf("Redis does not answer; retrying")
	}
}
