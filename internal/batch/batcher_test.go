package batch

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"
	"pgregory.net/rapid"

	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/wechat"
)

// untraced is the span of a call that belongs to no trace.
var untraced trace.SpanContext

const testApp = "wx0000000000000001"

// app returns the settings of testApp, changed by change.
func app(change func(*App)) App {
	a := App{AppID: testApp, BatchMax: 20, BatchLinger: 5 * time.Millisecond, MaxInFlight: 64}
	if change != nil {
		change(&a)
	}
	return a
}

// cloudIDsOf returns cloudIDs for the cloudIDs from to to-1 of a user.
func cloudIDsOf(openID string, from, to int) []CloudID {
	var cloudIDs []CloudID
	for i := from; i < to; i++ {
		cloudIDs = append(cloudIDs, CloudID{OpenID: openID, Item: wechat.Item{CloudID: fmt.Sprintf("73_%s_%03d", openID, i)}})
	}
	return cloudIDs
}

// collect waits for n answers.
func (w *Waiter) collect(n int) []Answer {
	var got []Answer
	for range n {
		got = append(got, <-w.Answers)
	}
	return got
}

// cloudIDs of different tasks share a request if they belong to the same user. cloudIDs of
// different users do not.
func TestBatcher_MergesTasksByUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{Delay: 50 * time.Millisecond}
		b := New(f, []App{app(nil)}, Options{})
		defer b.Close()
		one := b.Add(untraced, testApp, append(cloudIDsOf("oA", 0, 3), cloudIDsOf("oB", 0, 2)...))
		time.Sleep(4 * time.Millisecond)
		two := b.Add(untraced, testApp, cloudIDsOf("oA", 3, 5))
		begun := time.Now()
		one.collect(5)
		two.collect(2)
		if took := time.Since(begun); took != 51*time.Millisecond {
			t.Errorf("took %s, want the rest of the linger and one request: 51ms", took)
		}
		if got := f.Sizes(); !slices.Equal(got, []int{5, 2}) && !slices.Equal(got, []int{2, 5}) {
			t.Errorf("requests of %v cloudIDs, want 5 of oA and 2 of oB", got)
		}
		for _, r := range f.Requests {
			for _, it := range r.Items {
				if !strings.HasPrefix(it.CloudID, "73_"+r.OpenID) {
					t.Errorf("a cloudID of another user in the request of %s", r.OpenID)
				}
			}
		}
	})
}

// A full batch is sent at once.
func TestBatcher_FullBatchDoesNotLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{}
		b := New(f, []App{app(func(a *App) { a.BatchLinger = time.Hour })}, Options{})
		defer b.Close()
		b.Add(untraced, testApp, cloudIDsOf("oA", 0, 40)).collect(40)
		if got := f.Sizes(); !slices.Equal(got, []int{20, 20}) {
			t.Errorf("requests of %v cloudIDs, want two of 20", got)
		}
	})
}

// With GroupByApp one request holds the cloudIDs of several users and no openid.
func TestBatcher_GroupByApp_NoOpenID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{}
		b := New(f, []App{app(func(a *App) { a.GroupByApp = true })}, Options{})
		defer b.Close()
		b.Add(untraced, testApp, append(cloudIDsOf("oA", 0, 2), cloudIDsOf("oB", 0, 2)...)).collect(4)
		if len(f.Requests) != 1 || f.Requests[0].OpenID != "" {
			t.Errorf("requests %v, want one without openid", f.Requests)
		}
	})
}

// No more than MaxInFlight requests of an app run at the same time.
func TestBatcher_MaxInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{Delay: time.Second}
		b := New(f, []App{app(func(a *App) { a.MaxInFlight = 3 })}, Options{})
		defer b.Close()
		var cloudIDs []CloudID
		for i := range 10 {
			cloudIDs = append(cloudIDs, cloudIDsOf(fmt.Sprintf("o%d", i), 0, 1)...)
		}
		begun := time.Now()
		b.Add(untraced, testApp, cloudIDs).collect(10)
		if f.Peak != 3 {
			t.Errorf("%d requests at once, want 3", f.Peak)
		}
		if took := time.Since(begun).Truncate(time.Second); took != 4*time.Second {
			t.Errorf("10 requests by 3 at once took %s, want 4s", took)
		}
	})
}

// cloudIDs may join a batch after its linger, until a request is free to take it.
func TestBatcher_BatchInLineTakesMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{Delay: time.Second}
		b := New(f, []App{app(func(a *App) { a.MaxInFlight = 1 })}, Options{})
		defer b.Close()
		first := b.Add(untraced, testApp, cloudIDsOf("oA", 0, 1))
		time.Sleep(10 * time.Millisecond) // its request is in flight
		second := b.Add(untraced, testApp, cloudIDsOf("oB", 0, 1))
		time.Sleep(100 * time.Millisecond) // its linger is over, but no request is free
		third := b.Add(untraced, testApp, cloudIDsOf("oB", 1, 2))
		first.collect(1)
		second.collect(1)
		third.collect(1)
		if got := f.Sizes(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("requests of %v cloudIDs, want 1 and 2", got)
		}
	})
}

// A call that waits between two attempts does not count against MaxInFlight.
func TestBatcher_WaitingCallsFreeTheirRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{Rest: time.Second, Delay: 10 * time.Millisecond}
		b := New(f, []App{app(func(a *App) { a.MaxInFlight = 2 })}, Options{})
		defer b.Close()
		var cloudIDs []CloudID
		for i := range 20 {
			cloudIDs = append(cloudIDs, cloudIDsOf(fmt.Sprintf("o%d", i), 0, 1)...)
		}
		begun := time.Now()
		b.Add(untraced, testApp, cloudIDs).collect(20)
		if took := time.Since(begun); took > 1200*time.Millisecond {
			t.Errorf("20 calls that each wait a second took %s, want them to wait side by side", took)
		}
		if f.Peak > 2 {
			t.Errorf("%d requests at once, want 2", f.Peak)
		}
	})
}

// A slow app with waiting batches does not delay another app.
func TestBatcher_AppsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{Delay: time.Second}
		other := app(func(a *App) { a.AppID = "wx0000000000000002" })
		b := New(f, []App{app(func(a *App) { a.MaxInFlight = 1 }), other}, Options{})
		defer b.Close()
		for i := range 5 {
			b.Add(untraced, testApp, cloudIDsOf(fmt.Sprintf("o%d", i), 0, 1))
		}
		begun := time.Now()
		b.Add(untraced, other.AppID, cloudIDsOf("oX", 0, 1)).collect(1)
		if took := time.Since(begun); took > 1100*time.Millisecond {
			t.Errorf("the other app waited %s", took)
		}
	})
}

// After withdraw, unsent cloudIDs are dropped and those in flight are still answered.
func TestBatcher_WithdrawnIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{Delay: time.Second}
		b := New(f, []App{app(func(a *App) { a.MaxInFlight = 1 })}, Options{})
		defer b.Close()
		cloudIDs := append(cloudIDsOf("oA", 0, 1), cloudIDsOf("oB", 0, 2)...)
		w := b.Add(untraced, testApp, cloudIDs)
		time.Sleep(100 * time.Millisecond)
		if dropped := b.Withdraw(w); dropped != 2 {
			t.Fatalf("withdraw() = %d, want 2, the cloudIDs that were not sent", dropped)
		}
		w.collect(1)
		time.Sleep(time.Minute)
		if got := f.Sizes(); !slices.Equal(got, []int{1}) {
			t.Errorf("requests of %v cloudIDs, want only the one under way", got)
		}
	})
}

// A refused batch is halved until the bad cloudID is alone. The others get their data, and no
// smaller batch size is learnt.
func TestBatcher_SplitsUntilTheBadItemStandsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bad = "73_oA_007"
		f := &batchtest.WeChat{Answer: func(req wechat.Request) *wechat.Error {
			if slices.ContainsFunc(req.Items, func(it wechat.Item) bool { return it.CloudID == bad }) {
				return &wechat.Error{Class: wechat.ClassBatch, Code: 40097}
			}
			return nil
		}}
		b := New(f, []App{app(nil)}, Options{})
		defer b.Close()
		cloudIDs := cloudIDsOf("oA", 0, 20)
		for _, a := range b.Add(untraced, testApp, cloudIDs).collect(20) {
			if isBad := cloudIDs[a.Index].Item.CloudID == bad; (a.Outcome.Err != nil) != isBad {
				t.Errorf("cloudID %d: %v", a.Index, a.Outcome.Err)
			}
		}
		if l := b.queues[testApp]; l.batchLimit(time.Now()) != 20 {
			t.Errorf("a bad item taught a batch size of %d", l.learnt)
		}
		if n := len(f.Requests); n > 11 {
			t.Errorf("%d requests to find one bad item of 20", n)
		}
	})
}

// If WeChat refuses large batches, the size that passed is used for learntFor, and then the
// full size again.
func TestBatcher_LearnsTheSizeThatPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{Answer: func(req wechat.Request) *wechat.Error {
			if len(req.Items) > 5 {
				return &wechat.Error{Class: wechat.ClassBatch, Code: 40097}
			}
			return nil
		}}
		b := New(f, []App{app(nil)}, Options{})
		defer b.Close()
		for _, a := range b.Add(untraced, testApp, cloudIDsOf("oA", 0, 20)).collect(20) {
			if a.Outcome.Err != nil {
				t.Errorf("cloudID %d: %v", a.Index, a.Outcome.Err)
			}
		}
		synctest.Wait()
		f.Requests = nil
		b.Add(untraced, testApp, cloudIDsOf("oA", 0, 20)).collect(20)
		if got := f.Sizes(); !slices.Equal(got, []int{5, 5, 5, 5}) {
			t.Errorf("after learning: requests of %v, want four of 5", got)
		}
		time.Sleep(learntFor)
		if limit := b.queues[testApp].batchLimit(time.Now()); limit != 20 {
			t.Errorf("limit after %s is %d, want 20 again", learntFor, limit)
		}
	})
}

// close cancels the requests in flight at once. Nothing is sent after it.
func TestBatcher_CloseInterruptsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{Delay: time.Hour}
		b := New(f, []App{app(nil)}, Options{})
		w := b.Add(untraced, testApp, cloudIDsOf("oA", 0, 1))
		time.Sleep(time.Second)
		begun := time.Now()
		b.Close()
		if took := time.Since(begun); took != 0 {
			t.Errorf("close took %s, want to interrupt at once", took)
		}
		if a := w.collect(1); a[0].Outcome.Err == nil {
			t.Errorf("outcome = %+v, want one that says interrupted", a[0].Outcome)
		}
		b.Add(untraced, testApp, cloudIDsOf("oA", 1, 2)) // after close: dropped, nothing runs
		time.Sleep(time.Second)
		if len(f.Requests) != 1 {
			t.Errorf("%d requests, want none after close", len(f.Requests))
		}
	})
}

// In any order of additions, every cloudID that is not withdrawn gets exactly one
// answer, its own. No request holds two users or more than BatchMax cloudIDs, and no more than
// MaxInFlight requests run at the same time.
func TestBatcher_Rules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			a := app(func(a *App) {
				a.BatchMax = rapid.IntRange(1, 7).Draw(rt, "batch_max")
				a.BatchLinger = time.Duration(rapid.IntRange(0, 9).Draw(rt, "linger")) * time.Millisecond
				a.MaxInFlight = rapid.IntRange(1, 4).Draw(rt, "max_in_flight")
			})
			limit := rapid.IntRange(1, 7).Draw(rt, "limit of WeChat")
			rest := time.Duration(rapid.IntRange(0, 20).Draw(rt, "rest")) * time.Millisecond
			f := &batchtest.WeChat{Delay: 10 * time.Millisecond, Rest: rest, Answer: func(req wechat.Request) *wechat.Error {
				if len(req.Items) > limit {
					return &wechat.Error{Class: wechat.ClassBatch}
				}
				return nil
			}}
			b := New(f, []App{a}, Options{})
			var wg sync.WaitGroup
			for task := range rapid.IntRange(1, 8).Draw(rt, "tasks") {
				var cloudIDs []CloudID
				for i := range rapid.IntRange(1, 20).Draw(rt, "cloudIDs") {
					user := rapid.IntRange(0, 3).Draw(rt, "user")
					cloudIDs = append(cloudIDs, cloudIDsOf(fmt.Sprintf("o%d", user), task*100+i, task*100+i+1)...)
				}
				w := b.Add(untraced, a.AppID, cloudIDs)
				wg.Go(func() { checkAnswers(t, cloudIDs, w) })
				time.Sleep(time.Duration(rapid.IntRange(0, 12).Draw(rt, "pause")) * time.Millisecond)
			}
			wg.Wait()
			b.Close()
			if f.Peak > a.MaxInFlight {
				t.Errorf("%d requests at once, want at most %d", f.Peak, a.MaxInFlight)
			}
			for _, r := range f.Requests {
				if len(r.Items) > a.BatchMax {
					t.Errorf("a request of %d, want at most %d", len(r.Items), a.BatchMax)
				}
			}
		})
	})
}

// checkAnswers checks that each cloudID gets one answer, for its own cloudID.
func checkAnswers(t *testing.T, cloudIDs []CloudID, w *Waiter) {
	seen := map[int]bool{}
	for _, got := range w.collect(len(cloudIDs)) {
		if seen[got.Index] || got.Outcome.CloudID != cloudIDs[got.Index].Item.CloudID {
			t.Errorf("answer %d is a repeat or somebody else's", got.Index)
		}
		seen[got.Index] = true
	}
}
