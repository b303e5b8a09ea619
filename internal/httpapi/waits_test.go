package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"cloudidq/store"
	"cloudidq/tasks"
)

// If Redis has stored the task, the request is accepted, even if the store fails during the wait.
func TestResolve_StoreFailsWhileWaiting_Accepted(t *testing.T) {
	b := newFixture(t)
	b.lookups.Store(2)
	got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`, "Prefer", "wait=20")
	body := parse[resolutionsBody](t, got.body)
	if got.status != 202 || len(body.Resolutions) != 1 || body.Resolutions[0].Status != store.Pending {
		t.Errorf("answer = %d %s, want 202 and pending", got.status, got.body)
	}
	if n := len(b.queued(tasks.QueueEvents)); n != 1 {
		t.Errorf("%d tasks are queued, want 1", n)
	}
}

// A failure of an earlier request is not reported as the result of this one, also not at the end
// of the wait.
func TestResolve_WaitEnds_FormerFailureIsPending(t *testing.T) {
	b := newFixture(t)
	earlier := store.At(time.Now().Add(-time.Minute))
	err := b.results.Save(t.Context(), "t", []store.Record{{
		AppID: "wxA", CloudID: "73_1", Status: store.Failed, Error: &store.Error{Code: -601007},
		AcceptedAt: earlier, FinishedAt: earlier,
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`, "Prefer", "wait=1")
	if body := parse[resolutionsBody](t, got.body); got.status != 202 || body.Resolutions[0].Status != store.Pending || body.Resolutions[0].Error != nil {
		t.Errorf("answer = %d %s, want 202 and pending", got.status, got.body)
	}
}

// The names of preferences are case-insensitive (RFC 7240, section 2).
func TestResolve_Prefer_AnyCase(t *testing.T) {
	b := newFixture(t)
	b.save("wxA", "73_1")
	if got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`, "Prefer", "Wait=20"); got.status != 200 {
		t.Errorf("answer = %d %s, want 200", got.status, got.body)
	}
}

func TestResolve_NotJSON_SaysWhichType(t *testing.T) {
	b := newFixture(t)
	got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`, "Content-Type", "text/planted")
	wantProblem(t, got, 415)
	if !strings.Contains(got.body, `{"location":"header.Content-Type","message":"must be application/json"}`) || strings.Contains(got.body, "planted") {
		t.Errorf("answer = %s", got.body)
	}
}

// The clock of the worker may differ from the API's clock. The failure still counts as new.
func TestResolve_Waits_WorkerWithAnotherClock(t *testing.T) {
	for name, skew := range map[string]time.Duration{"Behind": -time.Minute, "Ahead": time.Minute} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			answered := make(chan reply, 1)
			go func() {
				answered <- b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`, "Prefer", "wait=30")
			}()
			b.until("a task", func() bool { return len(b.queued(tasks.QueueEvents)) == 1 })
			b.fail("wxA", "73_1", time.Now().Add(skew))
			got := <-answered
			if body := parse[resolutionsBody](t, got.body); got.status != 200 || body.Resolutions[0].Status != store.Failed {
				t.Errorf("answer = %d %s, want 200 and the failure", got.status, got.body)
			}
		})
	}
}

// A repetition under an Idempotency-Key waits for the result of the original request. It returns
// that request's failure, even if the failure is older than the repetition. It does not return
// the failure of an earlier request.
func TestResolve_Waits_RepeatedUnderAKey(t *testing.T) {
	b := newFixture(t)
	post := func(wait string) reply {
		return b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`, "Idempotency-Key", "k", "Prefer", wait)
	}
	b.fail("wxA", "73_1", time.Now().Add(time.Minute)) // of an earlier request, by a worker whose clock is ahead
	for _, wait := range []string{"wait=0", "wait=1"} {
		got := post(wait)
		if body := parse[resolutionsBody](t, got.body); got.status != 202 || body.Resolutions[0].Status != store.Pending {
			t.Errorf("%s: answer = %d %s, want 202 and pending", wait, got.status, got.body)
		}
	}
	b.fail("wxA", "73_1", time.Now())
	got := post("wait=30")
	if body := parse[resolutionsBody](t, got.body); got.status != 200 || body.Resolutions[0].Status != store.Failed {
		t.Errorf("answer = %d %s, want 200 and the failure", got.status, got.body)
	}
}

// fail saves the failure of a cloudID, as a worker whose clock says at.
func (b *fixture) fail(appID, id string, at time.Time) {
	b.Helper()
	err := b.results.Save(b.Context(), "t", []store.Record{{
		AppID: appID, CloudID: id, Status: store.Failed, Error: &store.Error{Code: -601007}, Attempts: 1,
		AcceptedAt: store.At(at), FinishedAt: store.At(at),
	}})
	if err != nil {
		b.Fatal(err)
	}
}
