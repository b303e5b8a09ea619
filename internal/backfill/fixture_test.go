package backfill_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a loader with small windows and a real Redis.
type fixture struct {
	*testing.T
	redis     *redistest.Server
	rdb       *redis.Client
	backfills *backfill.Store
	loader    *backfill.Loader
	full      atomic.Bool
	paused    atomic.Bool
}

const testWindow = 10

func newFixture(t *testing.T, redisArgs ...string) *fixture {
	t.Helper()
	b := &fixture{T: t, redis: redistest.Start(t, redisArgs...)}
	b.rdb = b.redis.Client(t)
	b.backfills = backfill.NewStore(b.rdb, time.Hour, nil)
	b.loader = b.loaderWith(b.rdb)
	return b
}

// Room implements the pressure interface of a loader.
func (b *fixture) Room(_ context.Context, appID string) error {
	switch {
	case appID != "wxA":
		b.Errorf("Room was called for app %q", appID)
	case b.paused.Load():
		return backfill.ErrPaused
	case b.full.Load():
		return backfill.ErrFull
	}
	return nil
}

// loaderWith returns a loader that uses another Redis client.
func (b *fixture) loaderWith(rdb *redis.Client) *backfill.Loader {
	b.Helper()
	producer := tasks.NewClient(rdb, tasks.Options{})
	b.Cleanup(producer.Close)
	l := backfill.Loader{Store: backfill.NewStore(rdb, time.Hour, nil), Producer: producer, Pressure: b}
	return l.WithWindow(testWindow)
}

func (b *fixture) create(format lines.Format) backfill.Loading {
	b.Helper()
	at, err := b.backfills.Create(b.Context(), backfill.Backfill{ID: backfill.NewID(), AppID: "wxA", Webhook: "orders", Format: string(format)})
	if err != nil {
		b.Fatal(err)
	}
	return at
}

func (b *fixture) resume(id string) backfill.Loading {
	b.Helper()
	at, err := b.backfills.Resume(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return at
}

func (b *fixture) load(
	at backfill.Loading, text string, options backfill.Options,
) (backfill.Backfill, error) {
	b.Helper()
	return b.loader.Load(b.Context(), at, lines.New(strings.NewReader(text), lines.Format(at.Backfill.Format)), options)
}

// queued returns the pending tasks of the queue by id.
func (b *fixture) queued() map[string]tasks.ResolvePayload {
	b.Helper()
	all := make(map[string]tasks.ResolvePayload)
	infos, err := asynq.NewInspectorFromRedisClient(b.rdb).ListPendingTasks(tasks.QueueBackfill, asynq.PageSize(10_000))
	if err != nil && !strings.Contains(err.Error(), "not found") {
		b.Fatal(err)
	}
	for _, info := range infos {
		p, err := tasks.ParseResolve(info.Payload)
		if err != nil {
			b.Fatal(err)
		}
		all[info.ID] = p
	}
	return all
}

// references returns the references of all queued items, sorted. Each line of a test has
// its own reference.
func references(queued map[string]tasks.ResolvePayload) []string {
	var all []string
	for _, p := range queued {
		for _, it := range p.Items {
			all = append(all, it.Reference)
		}
	}
	slices.Sort(all)
	return all
}

// file returns a text of n lines, and the references of its valid lines. Some lines are invalid,
// blank, or repeat a cloudID with the same openid or another one. So a window has several chunks.
func file(n int) (text string, valid []string) {
	var b strings.Builder
	for i := range n {
		reference := fmt.Sprintf("line %05d", i+1)
		switch i % 7 {
		case 3:
			b.WriteString(`{"cloud_id":17}` + "\n")
			continue
		case 5:
			b.WriteString("\n")
			continue
		case 1: // the cloudID of the previous line, with another openid
			fmt.Fprintf(&b, `{"cloud_id":"73_%d","openid":"other","reference":"%s"}`+"\n", i-1, reference)
		case 6: // the same cloudID and openid as two lines before
			fmt.Fprintf(&b, `{"cloud_id":"73_%d","openid":"o%d","reference":"%s"}`+"\n", i-2, i-2, reference)
		default:
			fmt.Fprintf(&b, `{"cloud_id":"73_%d","openid":"o%d","reference":"%s"}`+"\n", i, i, reference)
		}
		valid = append(valid, reference)
	}
	return b.String(), valid
}

// broken returns a reader of text that ends with err instead of io.EOF.
func broken(text string, err error) io.Reader {
	return io.MultiReader(strings.NewReader(text), errReader{err})
}

type errReader struct{ err error }

func (f errReader) Read([]byte) (int, error) { return 0, f.err }
