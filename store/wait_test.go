package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/store"
)

// lookups is a store that only answers Lookup. It records the time and the cloudIDs of each call.
type lookups struct {
	store.Results
	answer func(id string) store.Record
	fail   error
	ids    [][]string
	at     []time.Time
}

func (l *lookups) Lookup(ctx context.Context, _ string, ids []string) ([]store.Record, error) {
	l.ids, l.at = append(l.ids, slices.Clone(ids)), append(l.at, time.Now())
	if err := errors.Join(ctx.Err(), l.fail); err != nil {
		return nil, err
	}
	records := make([]store.Record, len(ids))
	for i, id := range ids {
		records[i] = l.answer(id)
	}
	return records, nil
}

func finished(id string, status store.Status, at time.Time) store.Record {
	return store.Record{AppID: "wx1", CloudID: id, Status: status, FinishedAt: store.At(at)}
}

// wait waits for cloudIDs of one app, for at most a minute.
func wait(t *testing.T, r store.Results, ids []string, before store.EarlierFinals) ([]store.Record, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return store.Wait(ctx, r, "wx1", ids, before)
}

func TestWait_AllFinished_OneLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		since := time.Now()
		want := []store.Record{
			finished("1", store.Resolved, since.Add(-time.Hour)), // resolved counts at any time
			finished("2", store.Failed, since),
			finished("3", store.Expired, since.Add(time.Second)),
		}
		fake := &lookups{answer: func(id string) store.Record { return want[id[0]-'1'] }}
		got, err := wait(t, fake, []string{"1", "2", "3"}, store.EarlierFinals{})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Wait: %v (-want +got):\n%s", err, diff)
		}
		if len(fake.ids) != 1 || time.Since(since) != 0 {
			t.Errorf("Wait made %d lookups in %v, want one at once", len(fake.ids), time.Since(since))
		}
	})
}

func TestWait_NoCloudIDs(t *testing.T) {
	fake := &lookups{}
	got, err := wait(t, fake, nil, store.EarlierFinals{})
	if err != nil || len(got) != 0 || len(fake.ids) != 0 {
		t.Errorf("Wait for nothing = %v, %v after %d lookups, want nothing", got, err, len(fake.ids))
	}
}

func TestWait_OnlyOpenOnesLookedUpAgain_InOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		due := map[string]time.Duration{"1": 3 * time.Millisecond, "2": 0, "3": time.Second, "4": 3 * time.Millisecond}
		fake := &lookups{answer: func(id string) store.Record {
			if time.Since(start) < due[id] {
				return store.Record{AppID: "wx1", CloudID: id, Status: store.Pending}
			}
			return finished(id, store.Failed, time.Now())
		}}
		got, err := wait(t, fake, []string{"1", "2", "3", "4"}, store.EarlierFinals{})
		if err != nil {
			t.Fatalf("Wait: %v", err)
		}
		for i, id := range []string{"1", "2", "3", "4"} {
			if got[i].CloudID != id || got[i].Status != store.Failed {
				t.Errorf("record %d = %s %s, want %s failed", i, got[i].CloudID, got[i].Status, id)
			}
		}
		want := [][]string{{"1", "2", "3", "4"}, {"1", "3", "4"}, {"1", "3", "4"}, {"3"}, {"3"}}
		if diff := cmp.Diff(want, fake.ids[:5]); diff != "" {
			t.Errorf("lookups (-want +got):\n%s", diff)
		}
	})
}

// The processes that wait, accept and finish may have different clocks. Only the record from before
// the request distinguishes the failure of an earlier request from the answer to this one.
func TestWait_FailureOfEarlierRequest_NotTheAnswer(t *testing.T) {
	for name, skew := range map[string]time.Duration{"SameClock": 0, "WorkerBehind": -time.Hour, "WorkerAhead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				earlier := finished("1", store.Failed, start.Add(skew-time.Second))
				answer := finished("1", store.Failed, start.Add(skew+40*time.Millisecond))
				fake := &lookups{answer: func(string) store.Record {
					if time.Since(start) < 50*time.Millisecond {
						return earlier
					}
					return answer
				}}
				before, err := store.FinalsSoFar(t.Context(), fake, "wx1", []string{"1"})
				if err != nil {
					t.Fatal(err)
				}
				got, err := wait(t, fake, []string{"1"}, before)
				if diff := cmp.Diff([]store.Record{answer}, got); err != nil || diff != "" {
					t.Errorf("Wait: %v (-want +got):\n%s", err, diff)
				}
				if time.Since(start) > time.Second {
					t.Errorf("Wait took %s, want it to return with the second failure", time.Since(start))
				}
			})
		})
	}
}

func TestWait_FailureOfEarlierRequest_UnknownWhileOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		earlier := finished("1", store.Failed, time.Now())
		fake := &lookups{answer: func(string) store.Record { return earlier }}
		before, err := store.FinalsSoFar(t.Context(), fake, "wx1", []string{"1"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := wait(t, fake, []string{"1"}, before)
		if !errors.Is(err, context.DeadlineExceeded) || got[0].Status != "" {
			t.Errorf("Wait = %v, %v, want an unknown record, because the known failure is not new", got, err)
		}
	})
}

// If the lookup before the request failed, an existing failure may be that of an earlier request.
func TestWait_EarlierFinalsUnknown_OnlyDataIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &lookups{fail: errors.New("down")}
		before, err := store.FinalsSoFar(t.Context(), fake, "wx1", []string{"1", "2"})
		if err == nil {
			t.Fatal("FinalsSoFar() = nil with a store that is down")
		}
		fake.fail = nil
		records := []store.Record{finished("1", store.Failed, time.Now()), finished("2", store.Resolved, time.Now())}
		fake.answer = func(id string) store.Record { return records[id[0]-'1'] }
		got, err := wait(t, fake, []string{"1", "2"}, before)
		if !errors.Is(err, context.DeadlineExceeded) || got[0].Status != "" || got[1].Status != store.Resolved {
			t.Errorf("Wait = %v, %v, want the data alone", got, err)
		}
	})
}

func TestWait_IntervalGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		fake := &lookups{answer: func(string) store.Record { return store.Record{} }}
		if _, err := store.Wait(ctx, fake, "wx1", []string{"1"}, store.EarlierFinals{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v, want %v", err, context.DeadlineExceeded)
		}
		last := time.Duration(0)
		for i := 1; i < len(fake.at); i++ {
			gap := fake.at[i].Sub(fake.at[i-1])
			want := 2 * time.Millisecond
			if i > 1 {
				want = min(last*3/2, 100*time.Millisecond)
			}
			if gap != want {
				t.Errorf("interval %d = %v, want %v", i, gap, want)
			}
			last = gap
		}
		if last != 100*time.Millisecond {
			t.Errorf("last interval = %v, want 100ms", last)
		}
	})
}

func TestWait_ContextCanceled_RecordsKnownSoFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		since := time.Now()
		answers := map[string]store.Record{
			"1": finished("1", store.Resolved, since),
			"2": {AppID: "wx1", CloudID: "2", Status: store.Pending},
		}
		fake := &lookups{answer: func(id string) store.Record { return answers[id] }}
		got, err := store.Wait(ctx, fake, "wx1", []string{"1", "2", "3"}, store.EarlierFinals{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v, want %v", err, context.DeadlineExceeded)
		}
		if diff := cmp.Diff([]store.Record{answers["1"], answers["2"], {}}, got); diff != "" {
			t.Errorf("Wait (-want +got):\n%s", diff)
		}
		if since.Add(time.Second) != time.Now() {
			t.Errorf("Wait took %v, want 1s", time.Since(since))
		}
	})
}

func TestWait_ContextCanceledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := store.Wait(ctx, &lookups{}, "wx1", []string{"1"}, store.EarlierFinals{})
	if !errors.Is(err, context.Canceled) || len(got) != 1 {
		t.Errorf("Wait = %v, %v, want one unknown record and %v", got, err, context.Canceled)
	}
}

func TestWait_LookupFails_ErrorAtOnce(t *testing.T) {
	fake := &lookups{fail: errors.New("down")}
	if _, err := wait(t, fake, []string{"1"}, store.EarlierFinals{}); !errors.Is(err, fake.fail) {
		t.Errorf("Wait = %v, want %v", err, fake.fail)
	}
}
