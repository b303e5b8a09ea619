package worker

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// externalProducer is an external producer with asynq options of its own.
type externalProducer struct {
	options []asynq.Option
	busy    int  // how many requests WeChat answers with "busy"
	hangs   bool // the first request hangs until asynq has taken the task away from its handler
	look    func(t *testing.T, inspector *asynq.Inspector, id string)
}

// externalProducers has one entry for each row of the table in docs/producers.md, by option.
var externalProducers = map[string]externalProducer{
	"MaxRetry":  {options: []asynq.Option{asynq.MaxRetry(0)}, busy: 2},
	"Timeout":   {options: []asynq.Option{asynq.Timeout(time.Second)}, hangs: true},
	"Deadline":  {options: []asynq.Option{asynq.Deadline(time.Now().Add(-time.Minute))}, busy: 1},
	"Group":     {options: []asynq.Option{asynq.Group("orders")}},
	"ProcessIn": {options: []asynq.Option{asynq.ProcessIn(time.Second)}},
	"ProcessAt": {options: []asynq.Option{asynq.ProcessAt(time.Now().Add(-time.Minute))}},
	"TaskID":    {options: []asynq.Option{asynq.TaskID("their-own")}},
	"Unique": {options: []asynq.Option{asynq.Unique(time.Hour)}, look: func(t *testing.T, i *asynq.Inspector, id string) {
		await(t, "the lock to be free", func() bool {
			_, err := i.GetTaskInfo(tasks.QueueEvents, id)
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
	}},
	"Retention": {options: []asynq.Option{asynq.Retention(time.Hour)}, look: func(t *testing.T, i *asynq.Inspector, id string) {
		await(t, "the task to be completed", func() bool {
			info, err := i.GetTaskInfo(tasks.QueueEvents, id)
			return err == nil && info.State == asynq.TaskStateCompleted && strings.Contains(string(info.Payload), "73_")
		})
	}},
	"Queue": {options: nil}, // queue events; the test checks another queue separately
}

// faultyWeChat is a fake WeChat that fails as the entries of externalProducers require.
type faultyWeChat struct {
	batchtest.WeChat
	mu      sync.Mutex
	busy    map[string]int           // by cloudID
	hanging map[string]chan struct{} // by cloudID
}

func (m *faultyWeChat) decide(req wechat.Request) *wechat.Error {
	id := req.Items[0].CloudID
	m.mu.Lock()
	until := m.hanging[id]
	delete(m.hanging, id)
	m.busy[id]--
	busy := m.busy[id] >= 0
	m.mu.Unlock()
	if until != nil {
		<-until
	}
	if busy {
		return &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "system error"}
	}
	return nil
}

// All cloudIDs of external producers are requested until they have a final status, for all
// asynq options that a producer may set. There is a case for each row of the table in
// docs/producers.md.
func TestExternalProducer_EveryOption(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client, inspector := asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb)
	m := &faultyWeChat{busy: make(map[string]int), hanging: make(map[string]chan struct{})}
	m.Answer = m.decide
	results := store.NewRedis(rdb, time.Hour)
	w, err := New(Config{
		Apps: []App{app(func(a *App) { a.Tokens = wechat.StaticToken(secret.New("t")) })}, Lifetime: 5 * time.Minute,
		Concurrency: 32, Fetchers: 2, ShutdownTimeout: 5 * time.Second,
	}, Parts{
		Queue: rdb, Results: results, WeChat: m, Pauses: coord.NewPauses(rdb), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	runUntilTheEnd(t, w)

	ids := make(map[string]string)
	for name, f := range externalProducers {
		id := "73_" + name
		m.mu.Lock()
		m.busy[id] = f.busy
		if f.hangs {
			m.hanging[id] = make(chan struct{})
		}
		hangs := m.hanging[id]
		m.mu.Unlock()
		payload := []byte(`{"v":1,"appid":"` + testApp + `","items":[{"cloud_id":"` + id + `","openid":"o1"}]}`)
		info, err := client.Enqueue(asynq.NewTask(tasks.TypeResolve, payload), append(f.options, asynq.Queue(tasks.QueueEvents))...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ids[name] = info.ID
		if hangs != nil {
			await(t, "asynq to take the task away", func() bool {
				info, err := inspector.GetTaskInfo(tasks.QueueEvents, info.ID)
				return errors.Is(err, asynq.ErrTaskNotFound) || err == nil && strings.Contains(info.LastErr, context.DeadlineExceeded.Error())
			})
			close(hangs)
		}
	}
	elsewhere, err := client.Enqueue(asynq.NewTask(tasks.TypeResolve, []byte(`{"v":1}`)), asynq.Queue("default"))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range externalProducers {
		await(t, name+" to be resolved", func() bool {
			records, err := results.Lookup(t.Context(), testApp, []string{"73_" + name})
			return err == nil && records[0].Status == store.Resolved
		})
		if f.look != nil {
			f.look(t, inspector, ids[name])
		}
	}
	if info, err := inspector.GetTaskInfo("default", elsewhere.ID); err != nil || info.State != asynq.TaskStatePending || info.Retried != 0 {
		t.Errorf("the task of another queue = %+v, %v, want it untouched", info, err)
	}
}

var optionRow = regexp.MustCompile("(?m)^\\| `([A-Z][A-Za-z]+)` \\|")

// The table in docs/producers.md has the same rows as externalProducers.
func TestExternalProducer_TableIsTested(t *testing.T) {
	text, err := os.ReadFile("../docs/producers.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, tested []string
	for _, row := range optionRow.FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, row[1])
	}
	for name := range externalProducers {
		tested = append(tested, name)
	}
	slices.Sort(documented)
	slices.Sort(tested)
	if !slices.Equal(documented, tested) {
		t.Errorf("docs/producers.md lists %v, tested are %v", documented, tested)
	}
}
