package store_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"cloudidq/store"
)

// Whatever happens in whatever order, the counts add up, none falls, and in the end each line has been counted once.
func TestBackfill_Property(t *testing.T) {
	b := newBackfillBed(t)
	rapid.Check(t, func(rt *rapid.T) {
		b.id = store.NewBackfillID()
		loading := []store.Loading{b.create()} // of several clients; the last one may write
		var sizes []int                        // of chunks that have been begun
		var begun *store.Window
		var seen store.Backfill
		check := func() {
			now, err := b.Get(t.Context(), b.id)
			if err != nil {
				rt.Fatal(err)
			}
			if now.Pending < 0 || now.Pending+now.Resolved+now.Failed+now.Expired != now.Accepted || now.Lines != now.Accepted+now.Rejected {
				rt.Fatalf("counts do not add up: %+v", now)
			}
			if now.Accepted < seen.Accepted || now.Resolved < seen.Resolved || now.Failed < seen.Failed || now.Expired < seen.Expired || now.Revision < seen.Revision {
				rt.Fatalf("a count has fallen: %+v after %+v", now, seen)
			}
			if now.Finished() != (now.State != store.BackfillOpen && now.Pending == 0) {
				rt.Fatalf("finished: %+v", now)
			}
			seen = now
		}
		last := func() *store.Loading { return &loading[len(loading)-1] }
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"begin": func(rt *rapid.T) {
				if begun == nil {
					begun = window(last(), rapid.IntRange(0, 2).Draw(rt, "rejected"), rapid.SliceOfN(rapid.IntRange(1, 5), 1, 3).Draw(rt, "chunks")...)
				}
				switch _, _, err := b.Begin(t.Context(), last(), begun); {
				case errors.Is(err, store.ErrBackfillCanceled) && seen.State == store.BackfillCanceled:
				case err != nil:
					rt.Fatal(err)
				case len(sizes) == last().First():
					for _, chunk := range begun.Chunks {
						sizes = append(sizes, len(chunk))
					}
				}
			},
			"commit": func(rt *rapid.T) {
				if begun == nil || len(sizes) == last().First() {
					rt.Skip()
				}
				for range rapid.IntRange(1, 2).Draw(rt, "times") {
					at := *last()
					if err := b.Commit(t.Context(), &at, begun); err != nil {
						rt.Fatal(err)
					}
					defer func() { *last() = at }()
				}
				begun = nil
			},
			"crash": func(*rapid.T) {
				l, err := b.Resume(t.Context(), b.id)
				if err != nil {
					rt.Fatal(err)
				}
				loading = append(loading, l)
			},
			"zombie": func(rt *rapid.T) {
				if len(loading) < 2 {
					rt.Skip()
				}
				at := loading[rapid.IntRange(0, len(loading)-2).Draw(rt, "who")]
				if _, _, err := b.Begin(t.Context(), &at, window(&at, 0, 1)); !errors.Is(err, store.ErrBackfillTaken) {
					rt.Fatalf("Begin of a client that was taken over = %v", err)
				}
			},
			"report": func(rt *rapid.T) {
				if len(sizes) == 0 {
					rt.Skip()
				}
				chunk := rapid.IntRange(0, len(sizes)-1).Draw(rt, "chunk")
				n := sizes[chunk]
				ends := store.Ends{Resolved: rapid.IntRange(0, n).Draw(rt, "resolved")}
				ends.Failed = rapid.IntRange(0, n-ends.Resolved).Draw(rt, "failed")
				ends.Expired = rapid.IntRange(0, n-ends.Resolved-ends.Failed).Draw(rt, "expired")
				b.report(chunk, ends)
			},
			"cancel": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "seldom") > 0 {
					rt.Skip()
				}
				if _, err := b.Cancel(t.Context(), b.id); err != nil {
					rt.Fatal(err)
				}
			},
		})
		for chunk, n := range sizes {
			b.report(chunk, store.Ends{Resolved: n})
		}
		check()
		if seen.Pending != 0 {
			rt.Fatalf("pending when all have ended: %+v", seen)
		}
	})
}
