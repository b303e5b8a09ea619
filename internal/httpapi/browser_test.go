package httpapi_test

import (
	"context"
	"flag"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/activity"
	"cloudidq/internal/browsertest"
	"cloudidq/internal/coord"
	"cloudidq/internal/status"
	"cloudidq/store"
	"cloudidq/tasks"
)

var shots = flag.String("shots", "", "save screenshots of the pages in this `folder`")

func (b *fixture) shoot(page *browsertest.Page, name string) {
	if *shots != "" {
		page.Shot(filepath.Join(*shots, name+".png"))
	}
}

// history writes 15 minutes of activity of several apps, one of them with a problem. The
// screenshots show it. It is the same in each run.
func (b *fixture) history() {
	b.Helper()
	dice := rand.New(rand.NewPCG(4, 7)) //nolint:gosec // only for screenshots
	poisson := func(mean float64) (n int64) {
		for limit, p := math.Exp(-mean), dice.Float64(); p > limit; p *= dice.Float64() {
			n++
		}
		return n
	}
	apps := []struct {
		id                     string
		rate, failed, expired  float64
		perRequest, median, to float64
	}{
		{"wx5a98aa3e1d2b7c01", 52, 0.4, 0.02, 2.9, 14, 6}, {"wx0d17c4f2b9e8a602", 23, 0.25, 0.02, 2.6, 13, 5},
		{"wxe1f7b34c90a2d503", 9, 0.12, 0.5, 2.2, 15, 8}, {"wx77c2d90e6fb41a04", 3.5, 0.02, 0.01, 1.8, 13, 4}, {"wxb8346fa1c05de705", 0.6, 0.01, 0, 1.4, 12, 3},
	}
	const slots = int64(activity.Window / activity.Slot)
	for ago := int64(-6); ago < slots+6; ago++ { // the margin covers the time that the screenshots take
		tide := 1 + 0.35*math.Sin(float64(ago)/26) + 0.1*math.Sin(float64(ago)/5)
		tallies := make(map[string]activity.Tally)
		for i, app := range apps {
			if i == 2 && ago < 5 { // this app is paused
				continue
			}
			t := activity.Tally{Resolved: poisson(app.rate * tide), Failed: poisson(app.failed * tide), Expired: poisson(app.expired * tide)}
			if finished := t.Finished(); finished > 0 {
				t.Requests, t.Sent = int64(math.Ceil(float64(finished)/app.perRequest)),
					finished+poisson(0.06*app.rate)
				for range finished {
					at := app.median + math.Abs(dice.NormFloat64())*app.to/2.2
					for len(t.Took) <= int(at) {
						t.Took = append(t.Took, 0)
					}
					t.Took[int(at)]++
				}
			}
			tallies[app.id] = t
		}
		b.recordActivity(time.Duration(ago)*activity.Slot, "w1", tallies)
		b.recordActivity(time.Duration(ago)*activity.Slot, "w2", nil)
	}
	if _, err := coord.NewPauses(b.rdb).Set(b.Context(), "wxe1f7b34c90a2d503", 45011, "rate", func(int) time.Time {
		return time.Now().Add(37 * time.Second)
	}); err != nil {
		b.Fatal(err)
	}
	b.activeBackfills = []status.BackfillStatus{{
		AppID: "wx0d17c4f2b9e8a602", State: "open", Created: store.At(time.Now().Add(-11 * time.Minute)),
		Accepted: 200_000, Rejected: 12, Resolved: 126_203, Failed: 318, Expired: 1_204,
	}}
	if _, err := b.deliveries.EndpointFailed(b.Context(), "stock", true, time.Now().Add(-4*time.Minute)); err != nil {
		b.Fatal(err)
	}
	for range 3 {
		b.enqueuePending("wxe1f7b34c90a2d503")
	}
}

// enqueuePending enqueues a task of an app.
func (b *fixture) enqueuePending(appID string) {
	b.Helper()
	enqueue(b.T, b.rdb, appID, 21*time.Second)
}

// All browser tests share one browser.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := browsertest.Start(t)
	for name, test := range map[string]func(*testing.T, *browsertest.Browser){
		"StatusPage_Looks": statusPageLooks, "StatusPage_Lives": statusPageLives,
		"Monitoring_Reader": monitoringReader, "Monitoring_Administrator": monitoringAdministrator,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, browser)
		})
	}
}

func statusPageLooks(t *testing.T, browser *browsertest.Browser) {
	b := newFixtureWithApps(t, []string{"wx5a98aa3e1d2b7c01", "wxc94d01b7a2fe3606"}, allKeys()...)
	b.history()
	// These checks apply to every variant of the page.
	check := func(page *browsertest.Page, title string) {
		t.Helper()
		page.Open(b.url + "/")
		page.WaitFor(`document.querySelectorAll("table.apps tbody tr").length === 6`)
		if got := page.Eval(`document.title`); got != title {
			t.Errorf("title = %q, want %q", got, title)
		}
		if wide := page.Eval(`document.documentElement.scrollWidth > document.documentElement.clientWidth`); wide != "false" {
			t.Error("the page is wider than its window")
		}
		if got := page.Eval(contrasts); got != "" {
			t.Errorf("texts with too little contrast: %s", got)
		}
		if got := page.Eval(`[...document.querySelectorAll("table")].filter((t) => !t.caption?.textContent.trim()).length`); got != "0" {
			t.Errorf("%s tables have no caption", got)
		}
		for _, url := range page.URLs() {
			if !strings.HasPrefix(url, b.url+"/") {
				t.Errorf("the page requests %s", url)
			}
		}
		page.WantNoErrors()
	}
	t.Run("light", func(t *testing.T) {
		page := browser.Page(t, browsertest.Key(reader), browsertest.Size(1280, 900, 1))
		check(page, "Status · cloudidq")
		b.shoot(page, "light")
	})
	t.Run("dark", func(t *testing.T) {
		page := browser.Page(t, browsertest.Key(reader), browsertest.Dark())
		check(page, "Status · cloudidq")
		if ground := page.Eval(`getComputedStyle(document.body).backgroundColor`); ground != "rgb(18, 22, 23)" {
			t.Errorf("the background is %s", ground)
		}
		b.shoot(page, "dark")
	})
	t.Run("phone", func(t *testing.T) {
		page := browser.Page(t, browsertest.Key(reader), browsertest.Size(375, 812, 2))
		check(page, "Status · cloudidq")
		b.shoot(page, "phone")
	})
	t.Run("Chinese", func(t *testing.T) {
		page := browser.Page(t, browsertest.Key(reader), browsertest.Language("zh-CN"))
		check(page, "运行状态 · cloudidq")
		b.shoot(page, "zh")
		page.Press("English")
		page.WaitFor(`document.title === "Status · cloudidq"`)
		page.Open(b.url + "/") // the choice is remembered
		page.WaitFor(`document.title === "Status · cloudidq"`)
		page.WantNoErrors()
	})
	t.Run("NoScript", func(t *testing.T) {
		page := browser.Page(t, browsertest.Key(reader), browsertest.NoScript())
		check(page, "Status · cloudidq")
		if got := page.Eval(`document.querySelector("noscript meta[http-equiv=refresh]")?.content`); got != "10" {
			t.Errorf("the page reloads after %s s, want 10", got)
		}
	})
}

// contrasts lists the texts whose contrast with their background is below the minimum of WCAG AA
// (4.5).
const contrasts = `(() => {
	const rgb = (text) => text.match(/[\d.]+/g).map(Number);
	const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
	const bad = new Set();
	for (const e of document.querySelectorAll("body *")) {
		if (e.closest("svg, .sr") || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
		const a = light(rgb(getComputedStyle(e).color)), b = light(ground(e));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) bad.add(e.tagName + " " + e.className + " " + ratio.toFixed(2) + " " + e.textContent.trim().slice(0, 20));
	}
	return [...bad].join("; ");
})()`

// The page updates itself without a reload, and says so if it cannot.
func statusPageLives(t *testing.T, browser *browsertest.Browser) {
	b := newFixture(t)
	page := browser.Page(t)
	page.Open(b.url + "/")
	page.WaitFor(`document.querySelector(".condition").textContent.includes("No worker is running")`)
	page.Eval(`window.stays = true`)
	for ahead := range 24 { // the worker stays alive, in case the page updates late
		b.recordActivity(time.Duration(-ahead)*activity.Slot, "w1", nil)
	}
	b.recordActivity(10*time.Second, "w1",
		map[string]activity.Tally{"wxA": {Resolved: 4711, Requests: 2000, Sent: 4711,
			Took: activity.Latencies{0, 4711}}})
	page.WaitFor(`document.querySelector(".condition").textContent.includes("Everything is running")`)
	page.WaitFor(`document.querySelector("table.apps").textContent.includes("4,711") && window.stays`)
	page.WantNoErrors()
	b.redis.Kill()
	page.WaitFor(`document.querySelector(".condition").textContent.includes("Redis does not answer")`)
	b.redis.Restart()
	page.WaitFor(`document.querySelector(".condition").textContent.includes("No worker is running")`) // Redis has lost its data
}

// The pages of a key that may only read offer no changes.
func monitoringReader(t *testing.T, browser *browsertest.Browser) {
	b := newQueueFixture(t)
	page := browser.Page(t, browsertest.Key(reader))
	page.Open(b.url + "/monitoring/queues/events?status=retry")
	page.WaitFor(`document.body.innerText.includes("` + b.retry[:8] + `")`)
	if boxes := page.Eval(`document.querySelectorAll("tbody input, tbody td:last-child button").length`); boxes != "0" {
		t.Errorf("%s controls are offered", boxes)
	}
	page.WantNoErrors()
}

// The pages of an administrator work in a browser: the test archives a task and runs it again.
func monitoringAdministrator(t *testing.T, browser *browsertest.Browser) {
	b := newQueueFixture(t)
	page := browser.Page(t, browsertest.Key(admin))
	shows := func(path, text string) {
		t.Helper()
		page.Open(b.url + "/monitoring" + path)
		page.WaitFor(`document.body.innerText.includes("` + text + `")`)
		b.shoot(page, "monitoring"+strings.NewReplacer("/", "-", "?", "-", "=", "-").Replace(path))
	}
	shows("/", "events")
	shows("/queues/events?status=archived", b.archived[:8])
	shows("/queues/events?status=completed", "wxCompleted")
	shows("/queues/events?status=pending", "wxPending")
	shows("/queues/events?status=scheduled", "wxScheduled")
	shows("/queues/events?status=active", "wxActive")
	shows("/queues/events/tasks/"+b.archived, "wxArchived")
	shows("/servers", "Servers")
	shows("/redis", "Redis")
	shows("/schedulers", "Scheduler")
	shows("/settings", "Settings")

	act := func(action, want string) {
		t.Helper()
		page.Eval(`[...document.querySelectorAll("tbody tr")].find((row) => row.innerText.includes("` + b.retry[:8] + `"))` +
			`.querySelector("td:last-child button").click()`) // shows the actions for the task
		page.Press(action)
		page.WaitFor(`!document.body.innerText.includes("` + b.retry[:8] + `")`)
		if got := b.state(b.retry); got != want {
			t.Errorf("after %s the task is %q, want %s", action, got, want)
		}
	}
	shows("/queues/events?status=retry", b.retry[:8])
	act("Archive", "archived")
	shows("/queues/events?status=archived", b.retry[:8])
	act("Run", "pending")
	b.work()
	b.untilHandled(b.retry)
	shows("/queues/events?status=retry", "No retry tasks") // no task is left in the state retry
	page.WantNoErrors()
	for _, url := range page.URLs() {
		if !strings.HasPrefix(url, b.url+"/") && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page requests %s", url)
		}
	}
}

// untilHandled waits until work has processed the task with this id. Other tasks may come first.
func (b *queueFixture) untilHandled(id string) {
	b.Helper()
	for late := time.After(2 * time.Minute); ; {
		select {
		case done := <-b.handled:
			if done == id {
				return
			}
		case <-late:
			b.Fatalf("the task run by the operator is %q, and was not processed", b.state(id))
		}
	}
}

// work processes tasks of the queue until the test ends.
func (b *queueFixture) work() {
	b.Helper()
	server := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{
		Concurrency: 1, Queues: map[string]int{tasks.QueueEvents: 1}, LogLevel: asynq.FatalLevel, TaskCheckInterval: 10 * time.Millisecond,
	})
	if err := server.Start(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		b.handled <- id
		return nil
	})); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Shutdown)
}
