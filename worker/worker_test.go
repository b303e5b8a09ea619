package worker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/batch"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// watched is a fake client that counts added hooks. Its scripts return err.
type watched struct {
	redis.UniversalClient
	hooks int
	err   error
}

func (w *watched) AddHook(redis.Hook) { w.hooks++ }

func (w *watched) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	return w.answer(ctx)
}

func (w *watched) Eval(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	return w.answer(ctx)
}

// Time implements [redis.Cmdable].
func (w *watched) Time(ctx context.Context) *redis.TimeCmd {
	cmd := redis.NewTimeCmd(ctx)
	cmd.SetVal(time.Now())
	return cmd
}

func (w *watched) answer(ctx context.Context) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(w.err)
	return cmd
}

// leastWorker returns a minimal worker with one app.
func leastWorker(t *testing.T, parts Parts) *Worker {
	t.Helper()
	parts.Log = slog.New(slog.DiscardHandler)
	w, err := New(Config{
		Apps:     []App{{AppID: testApp, Tokens: wechat.StaticToken(secret.New("t")), BatchMax: 1, MaxInFlight: 1}},
		Lifetime: time.Minute, Concurrency: 3, Fetchers: 1, ShutdownTimeout: time.Second,
	}, parts)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// Workers add no hook to the caller's client, for any number of workers.
func TestNew_AddsNothingToTheClient(t *testing.T) {
	client := &watched{}
	for range 3 {
		leastWorker(t, Parts{Queue: client}).batcher.Close()
	}
	if client.hooks != 0 {
		t.Errorf("the client has got %d hooks, want none", client.hooks)
	}
}

// hanging is a fake WeChat that answers only after the context of its request has ended.
type hanging struct{ requested, released chan struct{} }

func (h hanging) GetOpenData(ctx context.Context, _ wechat.TokenSource, req wechat.Request) []wechat.Outcome {
	close(h.requested)
	<-ctx.Done()
	close(h.released)
	return []wechat.Outcome{{CloudID: req.Items[0].CloudID, Err: &wechat.Error{Class: wechat.ClassRetry}}}
}

// A worker that fails to start leaves nothing running. A server that started before the failure
// may have added requests to the batcher, and they end too.
func TestRun_AFailedStartClosesTheBatcher(t *testing.T) {
	h := hanging{make(chan struct{}), make(chan struct{})}
	w := leastWorker(t, Parts{Queue: &watched{}, WeChat: h})
	w.batcher.Add(untraced, testApp, []batch.CloudID{{Item: wechat.Item{CloudID: "73_1"}}})
	<-h.requested
	w.handler = nil // asynq refuses to start without a handler
	if err := w.Run(t.Context()); err == nil {
		t.Fatal("a worker without a handler has started")
	}
	select {
	case <-h.released:
	default:
		t.Error("a request goes on after Run has returned")
		w.batcher.Close()
	}
}
