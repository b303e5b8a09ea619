package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"cloudidq/store"
	"cloudidq/tasks"
)

// What Redis has is accepted, whether or not the store lets it be waited for.
func TestResolve_StoreFailsWhileWaiting_Accepted(t *testing.T) {
	b := newBed(t)
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

// The failure of a former ask is not taken for the end of this one, when the wait is over neither.
func TestResolve_WaitEnds_FormerFailureIsPending(t *testing.T) {
	b := newBed(t)
	long := store.At(time.Now().Add(-time.Minute))
	err := b.results.Save(t.Context(), "t", []store.Record{{
		AppID: "wxA", CloudID: "73_1", Status: store.Failed, Error: &store.Error{Code: -601007}, AcceptedAt: long, FinishedAt: long,
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`, "Prefer", "wait=1")
	if body := parse[resolutionsBody](t, got.body); got.status != 202 || body.Resolutions[0].Status != store.Pending || body.Resolutions[0].Error != nil {
		t.Errorf("answer = %d %s, want 202 and pending", got.status, got.body)
	}
}

// The names of preferences have no case (RFC 7240, section 2).
func TestResolve_Prefer_AnyCase(t *testing.T) {
	b := newBed(t)
	b.save("wxA", "73_1")
	if got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`, "Prefer", "Wait=20"); got.status != 200 {
		t.Errorf("answer = %d %s, want 200", got.status, got.body)
	}
}

func TestResolve_NotJSON_SaysWhichType(t *testing.T) {
	b := newBed(t)
	got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`, "Content-Type", "text/planted")
	wantProblem(t, got, 415)
	if !strings.Contains(got.body, `{"location":"header.Content-Type","message":"must be application/json"}`) || strings.Contains(got.body, "planted") {
		t.Errorf("answer = %s", got.body)
	}
}
