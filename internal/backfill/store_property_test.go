package backfill_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"cloudidq/internal/backfill"
)

// For any sequence of calls, the counts add up, none falls, and in the end each line is counted
// once.
func TestBackfill_Property(t *testing.T) {
	b := newStoreFixture(t)
	rapid.Check(t, func(rt *rapid.T) {
		b.id = backfill.NewID()
		m := &machine{storeFixture: b, loading: []backfill.Loading{b.create()}}
		rt.Repeat(map[string]func(*rapid.T){
			"": m.check, "begin": m.beginOne, "commit": m.commit, "crash": m.crash, "zombie": m.zombie,
			"report": m.reportOne, "cancel": m.cancel,
		})
		for chunk, n := range m.sizes {
			b.report(chunk, backfill.Counts{Resolved: n})
		}
		m.check(rt)
		if m.seen.Pending != 0 {
			rt.Fatalf("pending although all have a final status: %+v", m.seen)
		}
	})
}

// machine runs random operations on one backfill.
type machine struct {
	*storeFixture
	loading []backfill.Loading // one per client; the last may write
	sizes   []int              // sizes of the begun chunks
	begun   *backfill.Window
	seen    backfill.Backfill
}

// check verifies that the counts add up and never fall.
func (m *machine) check(rt *rapid.T) {
	now, err := m.Get(m.Context(), m.id)
	if err != nil {
		rt.Fatal(err)
	}
	seen := m.seen
	if now.Pending < 0 || now.Pending+now.Resolved+now.Failed+now.Expired != now.Accepted || now.Lines != now.Accepted+now.Rejected {
		rt.Fatalf("counts do not add up: %+v", now)
	}
	if now.Accepted < seen.Accepted || now.Resolved < seen.Resolved || now.Failed < seen.Failed || now.Expired < seen.Expired || now.Revision < seen.Revision {
		rt.Fatalf("a count has decreased: %+v after %+v", now, seen)
	}
	if now.Finished() != (now.State != backfill.Open && now.Pending == 0) {
		rt.Fatalf("finished: %+v", now)
	}
	m.seen = now
}

func (m *machine) last() *backfill.Loading { return &m.loading[len(m.loading)-1] }

func (m *machine) beginOne(rt *rapid.T) {
	if m.begun == nil {
		m.begun = window(m.last(), rapid.IntRange(0, 2).Draw(rt, "rejected"), rapid.SliceOfN(rapid.IntRange(1, 5), 1, 3).Draw(rt, "chunks")...)
	}
	switch _, _, err := m.Begin(m.Context(), m.last(), m.begun); {
	case errors.Is(err, backfill.ErrCanceled) && m.seen.State == backfill.Canceled:
	case err != nil:
		rt.Fatal(err)
	case len(m.sizes) == m.last().NextChunk():
		for _, chunk := range m.begun.Chunks {
			m.sizes = append(m.sizes, len(chunk))
		}
	}
}

// commit commits once or, as after a lost answer, twice.
func (m *machine) commit(rt *rapid.T) {
	if m.begun == nil || len(m.sizes) == m.last().NextChunk() {
		rt.Skip()
	}
	before := *m.last()
	for range rapid.IntRange(1, 2).Draw(rt, "times") {
		at := before
		if err := m.Commit(m.Context(), &at, m.begun); err != nil {
			rt.Fatal(err)
		}
		*m.last() = at
	}
	m.begun = nil
}

// crash lets another client continue.
func (m *machine) crash(rt *rapid.T) {
	l, err := m.Resume(m.Context(), m.id)
	if err != nil {
		rt.Fatal(err)
	}
	m.loading = append(m.loading, l)
}

// zombie lets a superseded client write, which must fail.
func (m *machine) zombie(rt *rapid.T) {
	if len(m.loading) < 2 {
		rt.Skip()
	}
	at := m.loading[rapid.IntRange(0, len(m.loading)-2).Draw(rt, "who")]
	if _, _, err := m.Begin(m.Context(), &at, window(&at, 0, 1)); !errors.Is(err, backfill.ErrSuperseded) {
		rt.Fatalf("Begin of a superseded client = %v, want ErrSuperseded", err)
	}
}

func (m *machine) reportOne(rt *rapid.T) {
	if len(m.sizes) == 0 {
		rt.Skip()
	}
	chunk := rapid.IntRange(0, len(m.sizes)-1).Draw(rt, "chunk")
	n := m.sizes[chunk]
	counts := backfill.Counts{Resolved: rapid.IntRange(0, n).Draw(rt, "resolved")}
	counts.Failed = rapid.IntRange(0, n-counts.Resolved).Draw(rt, "failed")
	counts.Expired = rapid.IntRange(0, n-counts.Resolved-counts.Failed).Draw(rt, "expired")
	m.report(chunk, counts)
}

func (m *machine) cancel(rt *rapid.T) {
	if rapid.IntRange(0, 9).Draw(rt, "rarely") > 0 {
		rt.Skip()
	}
	if _, err := m.Cancel(m.Context(), m.id); err != nil {
		rt.Fatal(err)
	}
}
