package worker

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"cloudidq/internal/batch"
	"cloudidq/internal/redistest"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// instant is a WeChat that answers at once and stores nothing.
type instant struct{}

func (instant) GetOpenData(_ context.Context, _ wechat.TokenSource, req wechat.Request) []wechat.Outcome {
	outcomes := make([]wechat.Outcome, len(req.Items))
	for i, it := range req.Items {
		outcomes[i].CloudID = it.CloudID
	}
	return outcomes
}

// BenchmarkBatcher measures the batcher with the 100 cloudIDs of one task, by the number of
// users to whom they belong.
func BenchmarkBatcher(b *testing.B) {
	for _, users := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			bt := batch.New(instant{}, []App{{AppID: testApp, BatchMax: 20, BatchLinger: time.Microsecond, MaxInFlight: 64}}, batch.Options{})
			defer bt.Close()
			cloudIDs := make([]batch.CloudID, 100)
			for i := range cloudIDs {
				cloudIDs[i] = batch.CloudID{OpenID: fmt.Sprintf("o%d", i%users), Item: wechat.Item{CloudID: fmt.Sprintf("73_%d", i)}}
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					w := bt.Add(untraced, testApp, cloudIDs)
					for range cloudIDs {
						<-w.Answers
					}
				}
			})
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(cloudIDs)), "ns/cloudID")
		})
	}
}

// BenchmarkDeliver measures results from the outbox to an endpoint that answers after 20 ms.
func BenchmarkDeliver(b *testing.B) {
	rdb := redistest.Start(b).Client(b)
	results := store.NewRedis(rdb, time.Hour)
	var arrived atomic.Int64
	hook := hookAt(b, "orders", 100, func(_ http.ResponseWriter, r *http.Request) {
		n := countResults(r)
		time.Sleep(20 * time.Millisecond)
		arrived.Add(n)
	})
	w := deliveryWorker(b, rdb, hook)
	const per = 10_000
	var sum time.Duration
	for b.Loop() {
		b.StopTimer()
		for range per / 1000 {
			saveFinished(b, results, "orders", 1000)
		}
		want := (arrived.Load()/per + 1) * per
		b.StartTimer()
		begun := time.Now()
		w.Notify(testApp, "orders", per)
		for arrived.Load() < want {
			time.Sleep(time.Millisecond)
		}
		sum += time.Since(begun)
	}
	b.ReportMetric(float64(per)*float64(b.N)/sum.Seconds(), "results/s")
}
