package tasks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"go.uber.org/goleak"

	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func payload(items ...tasks.Item) tasks.ResolvePayload {
	return tasks.ResolvePayload{Version: tasks.PayloadVersion, AppID: "wx0000000000000001", Items: items}
}

// Validate reports every fault at once.
func TestValidate_NamesEveryFault(t *testing.T) {
	p := payload(
		tasks.Item{},
		tasks.Item{CloudID: strings.Repeat("x", 513)},
		tasks.Item{CloudID: "73_a\nb"},
		tasks.Item{CloudID: "73_\xff"},
		tasks.Item{CloudID: "73_\u200e"},
		tasks.Item{CloudID: "73_ok", OpenID: strings.Repeat("o", 129), Reference: strings.Repeat("r", 257)},
		tasks.Item{CloudID: "73_ok", ObtainedAt: time.Now().Add(2 * time.Minute)},
		tasks.Item{CloudID: "73_ok", ObtainedAt: time.UnixMilli(1600000000)},
	)
	p.AppID, p.Webhook = "", strings.Repeat("w", 65)
	invalid, ok := errors.AsType[*tasks.InvalidError](p.Validate())
	if !ok {
		t.Fatal("Validate() found nothing")
	}
	want := []tasks.Fault{
		{Field: "appid", Problem: "is empty"},
		{Field: "webhook", Problem: "must be 1 to 64 letters, digits, - or _"},
		{Field: "items[0].cloud_id", Problem: "is empty"},
		{Field: "items[1].cloud_id", Problem: "has 513 bytes, at most 512 are allowed"},
		{Field: "items[2].cloud_id", Problem: "has a character at byte 4 that cannot be printed"},
		{Field: "items[3].cloud_id", Problem: "is not UTF-8"},
		{Field: "items[4].cloud_id", Problem: "has a character at byte 3 that cannot be printed"},
		{Field: "items[5].openid", Problem: "has 129 bytes, at most 128 are allowed"},
		{Field: "items[5].reference", Problem: "has 257 bytes, at most 256 are allowed"},
		{Field: "items[6].obtained_at", Problem: "is more than 1m0s in the future"},
		{Field: "items[7].obtained_at", Problem: "is before the year 2000 (seconds and milliseconds mixed up?)"},
	}
	if diff := cmp.Diff(want, invalid.Faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestValidate_Bounds(t *testing.T) {
	for _, n := range []int{0, 1, 100, 101} {
		p := payload()
		for i := range n {
			p.Items = append(p.Items, tasks.Item{CloudID: fmt.Sprintf("73_%d", i)})
		}
		if got, want := p.Validate() == nil, n >= 1 && n <= 100; got != want {
			t.Errorf("Validate() of %d items is %v", n, p.Validate())
		}
	}
	for cloudID, ok := range map[string]bool{
		"73_plain": true, strings.Repeat("x", 512): true, "73_中文": true, "a b": true, "\x00": false, "\x7f": false,
	} {
		p := payload(tasks.Item{CloudID: cloudID})
		if got := p.Validate() == nil; got != ok {
			t.Errorf("Validate() of %q is %v", cloudID, p.Validate())
		}
	}
}

func TestParseResolve_Unreadable(t *testing.T) {
	const planted = "13812345678"
	for name, body := range map[string]string{
		"empty":       ``,
		"truncated":   `{"v":1,"appid":"wx1","items":[{"cloud_id":"` + planted,
		"not JSON":    planted,
		"array":       `["` + planted + `"]`,
		"null":        `null`,
		"wrong type":  `{"v":1,"appid":"wx1","items":[{"cloud_id":{"` + planted + `":1}}]}`,
		"bad time":    `{"v":1,"appid":"wx1","items":[{"cloud_id":"x","obtained_at":"` + planted + `"}]}`,
		"version":     `{"v":-1,"appid":"wx1","items":[{"cloud_id":"` + planted + `"}]}`,
		"no version":  `{"appid":"wx1","items":[{"cloud_id":"` + planted + `"}]}`,
		"no items":    `{"v":1,"appid":"wx1","items":[]}`,
		"two objects": `{"v":1,"appid":"wx1","items":[{"cloud_id":"x"}]}{"a":"` + planted + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tasks.ParseResolve([]byte(body))
			if !errors.Is(err, tasks.ErrUnreadable) {
				t.Fatalf("ParseResolve() = %v, want ErrUnreadable", err)
			}
			if strings.Contains(err.Error(), planted) {
				t.Errorf("the error repeats what was submitted: %v", err)
			}
		})
	}
}

// A payload of a newer version may have changed every other field.
func TestParseResolve_Newer(t *testing.T) {
	for _, body := range []string{`{"v":2,"appid":"wx1","items":[{"cloud_id":"x"}]}`, `{"appid":["13812345678"],"v":3}`} {
		if _, err := tasks.ParseResolve([]byte(body)); !errors.Is(err, tasks.ErrNewer) || strings.Contains(err.Error(), "138") {
			t.Errorf("ParseResolve(%s) = %v, want ErrNewer", body, err)
		}
	}
}

func TestNewResolveTask_RoundTrip(t *testing.T) {
	want := payload(tasks.Item{
		CloudID: "73_<&>", OpenID: "o1", Reference: "order 4711",
		ObtainedAt: time.Now().UTC().Truncate(time.Millisecond),
	})
	want.AcceptedAt = want.Items[0].ObtainedAt
	task, err := tasks.NewResolveTask(want, tasks.QueueEvents)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tasks.ParseResolve(task.Payload())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
}

func FuzzParseResolve(f *testing.F) {
	f.Add([]byte(`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x","openid":"o","obtained_at":"2026-11-22T08:00:00.000Z"}]}`))
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := tasks.ParseResolve(body)
		if err != nil {
			return
		}
		task, err := tasks.NewResolveTask(p, tasks.QueueEvents)
		if err != nil {
			t.Fatalf("a payload that was read cannot be written: %v", err)
		}
		again, err := tasks.ParseResolve(task.Payload())
		if err != nil {
			t.Fatalf("a payload that was written cannot be read: %v", err)
		}
		a, _ := json.Marshal(p)
		b, _ := json.Marshal(again)
		if string(a) != string(b) {
			t.Errorf("%s became %s", a, b)
		}
	})
}

func TestClient_OnRedis(t *testing.T) {
	srv := redistest.Start(t)
	rdb := srv.Client(t)
	c := tasks.NewClient(rdb, tasks.Options{})
	defer c.Close()
	inspector := asynq.NewInspectorFromRedisClient(rdb)

	many := tasks.Request{AppID: "wx1", Queue: tasks.QueueBackfill}
	for i := range 250 {
		many.Items = append(many.Items, tasks.Item{CloudID: fmt.Sprintf("73_%d", i%249)}) // one repeated cloudID, in another chunk
	}
	receipt, err := c.ResolveAll(t.Context(), many)
	if err != nil || receipt.Enqueued != 250 {
		t.Fatalf("ResolveAll() = %+v, %v", receipt, err)
	}
	if _, err := c.Resolve(t.Context(), tasks.Request{AppID: "wx1", Items: []tasks.Item{{CloudID: "73_e"}, {CloudID: "73_e"}}}); err != nil {
		t.Fatal(err)
	}
	for queue, want := range map[string]int{tasks.QueueBackfill: 3, tasks.QueueEvents: 1} {
		info, err := inspector.GetQueueInfo(queue)
		if err != nil || info.Pending != want {
			t.Errorf("queue %s: %+v, %v, want %d pending", queue, info, err, want)
		}
	}
	list, err := inspector.ListPendingTasks(tasks.QueueEvents)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tasks.ParseResolve(list[0].Payload)
	if err != nil || len(p.Items) != 1 || p.Items[0].ObtainedAt.IsZero() {
		t.Errorf("stored payload = %+v, %v, want one item that knows its time", p, err)
	}

	srv.Kill()
	if _, err := c.Resolve(t.Context(), tasks.Request{AppID: "wx1", Items: []tasks.Item{{CloudID: "73_f"}}}); err == nil {
		t.Error("Resolve() without Redis succeeded")
	}
}

// If one item is invalid, the whole request is rejected and nothing is enqueued.
func TestClient_RefusesWholeRequests(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	c := tasks.NewClient(rdb, tasks.Options{})
	defer c.Close()
	good := tasks.Item{CloudID: "73_good"}
	many := make([]tasks.Item, 101)
	for i := range many {
		many[i].CloudID = fmt.Sprint("73_", i)
	}
	bad := append(append([]tasks.Item{}, many...), tasks.Item{})
	for name, req := range map[string]tasks.Request{
		"one bad item":                {AppID: "wx1", Items: []tasks.Item{good, {}}},
		"no items":                    {AppID: "wx1"},
		"101 items":                   {AppID: "wx1", Items: many},
		"unknown queue":               {AppID: "wx1", Items: []tasks.Item{good}, Queue: "default"},
		"one cloudID, two openids":    {AppID: "wx1", Items: []tasks.Item{{CloudID: "73_a", OpenID: "o1"}, {CloudID: "73_a", OpenID: "o2"}}},
		"no appid":                    {Items: []tasks.Item{good}},
		"obtained long before WeChat": {AppID: "wx1", Items: []tasks.Item{{CloudID: "73_a", ObtainedAt: time.Unix(0, 0)}}},
	} {
		if _, err := c.Resolve(t.Context(), req); !isInvalid(err) {
			t.Errorf("%s: Resolve() = %v, want an InvalidError", name, err)
		}
	}
	if _, err := c.ResolveAll(t.Context(), tasks.Request{AppID: "wx1", Items: bad}); !isInvalid(err) {
		t.Errorf("ResolveAll() = %v, want an InvalidError", err)
	}
	if keys, err := rdb.Keys(t.Context(), "*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("something was enqueued: %v, %v", keys, err)
	}
}

func isInvalid(err error) bool {
	_, ok := errors.AsType[*tasks.InvalidError](err)
	return ok
}
