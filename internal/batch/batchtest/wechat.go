// Package batchtest fakes what a batcher needs: a WeChat client and the pauses of all processes.
package batchtest

import (
	"context"
	"sync"
	"time"

	"cloudidq/internal/wechat"
)

// WeChat answers every cloudID with data after delay, unless answer returns an error.
type WeChat struct {
	Delay  time.Duration
	Rest   time.Duration // wait between two attempts, before the answer
	Answer func(req wechat.Request) *wechat.Error

	mu       sync.Mutex
	Requests []wechat.Request
	inFlight int
	Peak     int
}

// GetOpenData implements batch.OpenData.
func (f *WeChat) GetOpenData(ctx context.Context, _ wechat.TokenSource, req wechat.Request) []wechat.Outcome {
	f.enter(req)
	defer f.leave()
	if f.Rest > 0 {
		f.leave()
		req.Slot.Release()
		time.Sleep(f.Rest)
		if err := req.Slot.Acquire(); err != nil {
			return failed(req.Items, err)
		}
		f.enter(wechat.Request{})
	}
	var refusal *wechat.Error
	if f.Answer != nil {
		refusal = f.Answer(req)
	}
	select {
	case <-time.After(f.Delay):
	case <-ctx.Done():
		refusal = &wechat.Error{Class: wechat.ClassRetry, Message: "interrupted"}
	}
	outcomes := make([]wechat.Outcome, len(req.Items))
	for i, it := range req.Items {
		outcomes[i] = wechat.Outcome{CloudID: it.CloudID, Err: refusal, Attempts: 1}
		if refusal == nil {
			outcomes[i].Data = []byte(`"` + it.CloudID + `"`)
		}
	}
	return outcomes
}

func (f *WeChat) enter(req wechat.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if req.Items != nil {
		f.Requests = append(f.Requests, req)
	}
	f.inFlight++
	f.Peak = max(f.Peak, f.inFlight)
}

func (f *WeChat) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inFlight--
}

// Sizes returns the number of items of each request.
func (f *WeChat) Sizes() []int {
	var sizes []int
	for _, r := range f.Requests {
		sizes = append(sizes, len(r.Items))
	}
	return sizes
}

// Sent returns the number of requests so far.
func (f *WeChat) Sent() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.Requests)
}

// failed returns the same error for all items.
func failed(items []wechat.Item, err *wechat.Error) []wechat.Outcome {
	outcomes := make([]wechat.Outcome, len(items))
	for i, it := range items {
		outcomes[i] = wechat.Outcome{CloudID: it.CloudID, Err: err}
	}
	return outcomes
}
