package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/activity"
	"cloudidq/internal/coord"
	"cloudidq/internal/queue"
	"cloudidq/internal/status"
	"cloudidq/internal/wechat"
)

// status returns a collector for apps, with the webhooks orders (of wxA) and stock.
func (b *fixture) status(apps []string) *status.Collector {
	return status.New(status.Config{
		Apps: apps, Lifetime: 5 * time.Minute,
		Webhooks: []status.Webhook{{Name: "orders", Apps: []string{"wxA"}}, {Name: "stock"}},
	}, status.Sources{
		Activity: activity.NewReader(b.rdb), Pauses: coord.NewPauses(b.rdb), Deliveries: b.deliveries,
		Queues: func(ctx context.Context) ([]queue.Snapshot, error) {
			return queue.TakeSnapshots(ctx, b.rdb, 5*time.Minute)
		},
		Backfills: func(context.Context) ([]status.BackfillStatus, error) { return b.activeBackfills, nil },
		Explain: func(code int) (text, remedy string) {
			known, _ := wechat.LookupCode(code)
			return known.Text, known.Remedy
		},
	})
}

// recordActivity records activity as a worker would have done the given time ago.
func (b *fixture) recordActivity(ago time.Duration, worker string, apps map[string]activity.Tally) {
	b.Helper()
	text, err := json.Marshal(apps)
	if err != nil {
		b.Fatal(err)
	}
	slot := time.Now().Add(-ago).Unix() / int64(activity.Slot.Seconds())
	if err := b.rdb.HSet(b.Context(), fmt.Sprintf("cloudidq:activity:%d", slot), worker, text).Err(); err != nil {
		b.Fatal(err)
	}
}

// recordTypicalActivity writes the activity that most tests expect.
func (b *fixture) recordTypicalActivity() {
	b.Helper()
	b.recordActivity(0, "w1", nil)
	b.recordActivity(20*time.Second, "w1", map[string]activity.Tally{
		"wxA": {Resolved: 90, Failed: 6, Expired: 4, Requests: 40, Sent: 110, Took: append(make(activity.Latencies, 10), 100)},
	})
	b.recordActivity(25*time.Second, "w2",
		map[string]activity.Tally{"wxB": {Resolved: 10, Requests: 10, Sent: 10,
			Took: append(make(activity.Latencies, 20), 10)}})
	if _, err := coord.NewPauses(b.rdb).Set(b.Context(), "wxB", 48001, "app", func(int) time.Time { return time.Now().Add(time.Minute) }); err != nil {
		b.Fatal(err)
	}
	if err := b.deliveries.Disable(b.Context(), "stock", "it answered 410", time.Now().Add(-time.Hour)); err != nil {
		b.Fatal(err)
	}
	if got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","openid":"o_planted","cloud_ids":["73_planted"],"reference":"planted"}`, keyHeader(admin)...); got.status != 202 {
		b.Fatalf("enqueuing: %d %s", got.status, got.body)
	}
}

func keyHeader(key string) []string { return []string{"Authorization", "Bearer " + key} }

func (b *fixture) statusOf(path, key string) status.Status {
	b.Helper()
	got := b.call("GET", path, "", keyHeader(key)...)
	if got.status != 200 || got.header.Get("Cache-Control") != "no-store" || strings.Contains(got.body, "planted") {
		b.Fatalf("GET %s = %d %v %s", path, got.status, got.header, got.body)
	}
	return parse[status.Status](b.T, got.body)
}

func appIDs(s status.Status) (ids []string) {
	for _, app := range s.Apps {
		ids = append(ids, app.AppID)
	}
	return ids
}

func hookStates(s status.Status) (states []string) {
	for _, hook := range s.Webhooks {
		states = append(states, hook.Name+" "+hook.State)
	}
	return states
}

func TestStatus_All(t *testing.T) {
	b := newFixture(t, allKeys()...)
	b.recordTypicalActivity()
	s := b.statusOf("/v1/status", reader)
	if diff := cmp.Diff([]string{"wxB", "wxA"}, appIDs(s)); diff != "" {
		t.Errorf("apps, the paused one first (-want +got):\n%s", diff)
	}
	if s.Total.Resolved != 100 || s.Total.Failed != 6 || s.Total.Expired != 4 || s.Total.Requests != 50 || s.Total.PerCloudID != 0.455 ||
		s.Total.PerSecond != 1.83 || s.Total.P50 < 20 || s.Total.P50 > 35 || s.Total.P99 < 700 || s.Total.P99 > 1100 || s.Total.Oldest <= 0 {
		t.Errorf("total = %+v", s.Total)
	}
	if s.Workers != 1 || s.Condition != status.Attention || len(s.Queues) != 3 || s.Queues[0].Pending != 1 {
		t.Errorf("workers = %d, condition = %s, queues = %+v", s.Workers, s.Condition, s.Queues)
	}
	if len(s.Pauses) != 1 || s.Pauses[0].AppID != "wxB" || s.Pauses[0].ErrCode != 48001 || s.Pauses[0].Text != "api unauthorized" ||
		!strings.Contains(s.Pauses[0].Remedy, "permissions") || s.Pauses[0].State != "paused" {
		t.Errorf("pauses = %+v", s.Pauses)
	}
	if diff := cmp.Diff([]string{"orders ok", "stock disabled"}, hookStates(s)); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	want := []status.Alert{{Code: status.AppsPaused, Condition: status.Attention, Count: 1}, {Code: status.WebhooksDisabled, Condition: status.Attention, Count: 1}}
	if diff := cmp.Diff(want, s.Alerts); diff != "" {
		t.Errorf("alerts (-want +got):\n%s", diff)
	}
	if s := b.statusOf("/v1/status?limit=1", reader); len(s.Apps) != 1 || s.LeftOut != 1 || s.Total.Resolved != 100 {
		t.Errorf("limit 1: %v, %d left out, total %d", appIDs(s), s.LeftOut, s.Total.Resolved)
	}
	if s := b.statusOf("/v1/status?appid=wxB", reader); len(s.Apps) != 1 || s.Total.Resolved != 10 || len(s.Queues) != 0 {
		t.Errorf("of wxB: %v, total %+v", appIDs(s), s.Total)
	}
}

// A key for some apps sees nothing of other apps, not even in totals.
func TestStatus_KeyOfOneApp(t *testing.T) {
	b := newFixture(t, allKeys()...)
	b.recordTypicalActivity()
	b.activeBackfills = []status.BackfillStatus{{AppID: "wxA", State: "open", Accepted: 10},
		{AppID: "wxB", State: "open", Accepted: 10}}
	s := b.statusOf("/v1/status", shopA)
	if diff := cmp.Diff([]string{"wxA"}, appIDs(s)); diff != "" || s.LeftOut != 0 {
		t.Errorf("apps (-want +got), %d left out:\n%s", s.LeftOut, diff)
	}
	if s.Total.Resolved != 90 || len(s.Pauses) != 0 || len(s.Queues) != 0 || len(s.Backfills) != 1 || s.Condition != status.OK {
		t.Errorf("status = %+v", s)
	}
	if diff := cmp.Diff([]string{"orders ok"}, hookStates(s)); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	wantProblem(t, b.call("GET", "/v1/status?appid=wxB", "", keyHeader(shopA)...), 403)
	page := b.call("GET", "/", "", keyHeader(shopA)...)
	if page.status != 200 || strings.Contains(page.body, "wxB") || strings.Contains(page.body, "stock") || strings.Contains(page.body, "/monitoring/") {
		t.Errorf("the page = %d %s", page.status, page.body)
	}
	wantProblem(t, b.call("GET", "/?appid=wxB", "", keyHeader(shopA)...), 403)
}

func TestStatus_BadInput(t *testing.T) {
	b := newFixture(t)
	for _, query := range []string{"?limit=-1", "?limit=planted", "?planted=1", "?appid=" + strings.Repeat("planted", 10)} {
		wantProblem(t, b.call("GET", "/v1/status"+query, ""), 422)
	}
}

// A page without a valid key challenges the browser with Basic. The files of the status page
// need no key.
func TestPages_Keys(t *testing.T) {
	b := newFixture(t, withResolver()...)
	for _, path := range []string{"/", "/monitoring/", "/monitoring/queues/events", "/monitoring/api/queues"} {
		got := b.call("GET", path, "")
		wantProblem(t, got, 401)
		if challenge := got.header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, "Basic realm=") {
			t.Errorf("%s: WWW-Authenticate = %q, want Basic", path, challenge)
		}
		wantProblem(t, b.call("GET", path, "", "Authorization", "Basic YW55Ym9keTp3cm9uZw=="), 401)
		wantProblem(t, b.call("GET", path, "", basic(resolveOnly)...), 403)
		if got := b.call("GET", path, "", basic(reader)...); got.status != 200 {
			t.Errorf("%s for a reader = %d %s", path, got.status, got.body)
		}
		if got := b.call("GET", path, "", basic(admin)...); got.status != 200 {
			t.Errorf("%s for an administrator = %d %s", path, got.status, got.body)
		}
	}
	if challenge := b.call("GET", "/v1/status", "").header.Get("WWW-Authenticate"); challenge != `Bearer realm="cloudidq"` {
		t.Errorf("/v1/status: WWW-Authenticate = %q, want Bearer", challenge)
	}
	for _, file := range []string{"page.css", "page.js", "icon.svg"} {
		if got := b.call("GET", "/status/"+file, ""); got.status != 200 || len(got.body) < 100 {
			t.Errorf("/status/%s = %d", file, got.status)
		}
	}
	wantProblem(t, b.call("POST", "/", "", basic(admin)...), 405)
	for _, path := range []string{"/status/page.html", "/status/", "/status/..%2fpage.go"} {
		if got := b.call("GET", path, ""); got.status == 200 {
			t.Errorf("%s = 200 %s", path, got.body)
		}
	}
}

func TestPage_Languages(t *testing.T) {
	b := newFixture(t)
	for _, tc := range []struct{ path, accept, cookie, want string }{
		{"/", "", "", "en"}, {"/", "de, fr;q=0.5", "", "en"}, {"/", "zh-TW", "", "zh-CN"}, {"/", "zh-SG, en;q=0.5", "", "zh-CN"}, {"/", "en-GB, zh;q=0.9", "", "en"},
		{"/", "zh-CN", "", "zh-CN"}, {"/?lang=zh", "en", "", "zh-CN"}, {"/?lang=en", "zh", "", "en"}, {"/?lang=planted", "zh", "", "zh-CN"},
		{"/", "en", "cloudidq-lang=zh-Hans", "zh-CN"}, {"/", ";;;,", "cloudidq-lang=%%%", "en"},
	} {
		got := b.call("GET", tc.path, "", "Accept-Language", tc.accept, "Cookie", tc.cookie)
		if got.status != 200 || !strings.Contains(got.body, `<html lang="`+tc.want+`">`) || strings.Contains(got.body, "planted") {
			t.Errorf("%+v: %d %.300s", tc, got.status, got.body)
		}
		if sets := got.header.Get("Set-Cookie") != ""; sets != strings.Contains(tc.path, "lang=") {
			t.Errorf("%+v: Set-Cookie = %q", tc, got.header.Get("Set-Cookie"))
		}
	}
}

// A backfill whose lines are all enqueued is not shown as complete until all cloudIDs have a
// final status.
func TestPage_Backfills(t *testing.T) {
	b := newFixture(t)
	b.activeBackfills = []status.BackfillStatus{
		{AppID: "wxA", State: "open", Accepted: 10, Resolved: 10},
		{AppID: "wxA", State: "complete", Accepted: 10, Resolved: 8, Failed: 1},
		{AppID: "wxA", State: "complete", Accepted: 10, Resolved: 8, Failed: 1, Expired: 1},
	}
	for path, want := range map[string]string{
		"/?lang=en": "in progress|all lines enqueued|complete", "/?lang=zh": "进行中|已全部入队|已完成",
	} {
		_, table, _ := strings.Cut(b.call("GET", path, "").body, `<section aria-labelledby="backfills-h">`)
		table, _, _ = strings.Cut(table, "</section>")
		var states []string
		for _, row := range strings.Split(table, `data-th="`)[1:] {
			if cell, text, _ := strings.Cut(row, `">`); cell == "State" || cell == "状态" {
				state, _, _ := strings.Cut(text, "<")
				states = append(states, state)
			}
		}
		if got := strings.Join(states, "|"); got != want {
			t.Errorf("%s: states are %s, want %s", path, got, want)
		}
	}
}

// Names from outside are escaped as text, not inserted as HTML.
func TestPage_ExternalNamesAreEscaped(t *testing.T) {
	b := newFixture(t)
	b.recordActivity(20*time.Second, "w1",
		map[string]activity.Tally{`<script>alert("1")</script>`: {Resolved: 1}})
	refused := b.call("GET", "/?appid="+`%22%3E%3Cscript%3Ealert(2)%3C/script%3E`, "")
	if wantProblem(t, refused, 422); strings.Contains(refused.body, "script") {
		t.Errorf("the problem repeats submitted data: %s", refused.body)
	}
	all, one := b.call("GET", "/", ""), b.call("GET", "/?appid=wxA", "")
	for _, page := range []reply{all, one} {
		if page.status != 200 || strings.Contains(page.body, "<script>") || !strings.Contains(page.body, "</html>") {
			t.Errorf("page = %d %s", page.status, page.body)
		}
		if policy := page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("policy = %q", policy)
		}
	}
	if !strings.Contains(all.body, "&lt;script&gt;") {
		t.Error("the app is not shown")
	}
}

// If Redis does not respond, the page says so without a long wait.
func TestPage_RedisDown(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.redis.Kill()
	got := b.call("GET", "/", "")
	if got.status != 503 || !strings.Contains(got.body, "Redis does not answer") || !strings.Contains(got.body, "http-equiv=\"refresh\"") ||
		got.header.Get("Retry-After") == "" {
		t.Errorf("page = %d %v %s", got.status, got.header, got.body)
	}
	wantProblem(t, b.call("GET", "/v1/status", ""), 503)
}
