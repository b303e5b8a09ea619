package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
)

// bareLoop is the upper bound: the same requests with net/http alone. It has no queue and no
// store, and parses only the first level of the answer.
func bareLoop(b *testing.B, e *env, all []wechattest.Tap) time.Duration {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{
		MaxConnsPerHost: connections, MaxIdleConns: connections, MaxIdleConnsPerHost: connections, DisableCompression: true,
	}}
	defer client.CloseIdleConnections()
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	begun := time.Now()
	for range connections {
		wg.Go(func() {
			for at := next.Add(1) - 1; at < int64(len(all)); at = next.Add(1) - 1 {
				if err := bareCall(b.Context(), client, e.sim, all[at]); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	if n := failed.Load(); n > 0 {
		b.Fatalf("%d calls failed", n)
	}
	return took
}

func bareCall(ctx context.Context, client *http.Client, sim *simulator, tap wechattest.Tap) error {
	q := url.Values{"access_token": {sim.token}, "openid": {tap.OpenID}}
	body := strings.NewReader(`{"cloudid_list":["` + tap.CloudID + `"]}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, sim.url+"/wxa/getopendata?"+q.Encode(), body)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		ErrCode  int `json:"errcode"`
		DataList []struct {
			CloudID string `json:"cloud_id"`
			JSON    string `json:"json"`
		} `json:"data_list"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.ErrCode != 0 || len(answer.DataList) != 1 {
		return fmt.Errorf("errcode %d, %d entries", answer.ErrCode, len(answer.DataList))
	}
	return nil
}

// plainWorker is a simple asynq worker: one task per cloudID, one request per task, and the
// handler writes the result. For a fair comparison, it has as many concurrent tasks as
// connections and polls as often as cloudidq.
func plainWorker(b *testing.B, e *env, all []wechattest.Tap) time.Duration {
	b.Helper()
	const queue, taskType = "plain", "plain:resolve"
	enqueuePlain(b, e, all, queue, taskType)
	client, tokens := e.client(b), wechat.StaticToken(secret.New(e.sim.token))
	results := newCounter(store.NewRedis(e.rdb, time.Hour), len(all))
	handler := asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		var tap wechattest.Tap
		if err := json.Unmarshal(task.Payload(), &tap); err != nil {
			return err
		}
		outcome := client.GetOpenData(ctx, tokens, wechat.Request{
			AppID: appID, OpenID: tap.OpenID, Items: []wechat.Item{{CloudID: tap.CloudID}},
		})[0]
		if outcome.Err != nil {
			return outcome.Err
		}
		id, _ := asynq.GetTaskID(ctx)
		return results.Save(ctx, id, []store.Record{{
			AppID: appID, OpenID: tap.OpenID, CloudID: tap.CloudID, Status: store.Resolved,
			Kind: outcome.Kind, Data: outcome.Data, Attempts: 1, FinishedAt: store.At(time.Now()),
		}})
	})
	srv := asynq.NewServerFromRedisClient(e.rdb, asynq.Config{
		Concurrency: connections, Queues: map[string]int{queue: 1}, TaskCheckInterval: 20 * time.Millisecond,
		LogLevel: asynq.FatalLevel,
	})
	begun := time.Now()
	if err := srv.Start(handler); err != nil {
		b.Fatal(err)
	}
	results.wait(b)
	took := time.Since(begun)
	srv.Shutdown()
	e.check(b, all)
	return took
}

func enqueuePlain(b *testing.B, e *env, all []wechattest.Tap, queue, taskType string) {
	b.Helper()
	client := asynq.NewClientFromRedisClient(e.rdb)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for at := next.Add(1) - 1; at < int64(len(all)); at = next.Add(1) - 1 {
				payload, err := json.Marshal(all[at])
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := client.Enqueue(asynq.NewTask(taskType, payload), asynq.Queue(queue)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
