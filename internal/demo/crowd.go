package demo

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"cloudidq/internal/wechat/wechattest"
	"cloudidq/tasks"
)

// crowd lists the apps whose users keep tapping while [Serve] runs, with the average taps per
// second. The first is the app of [Run]. From time to time the last app runs out of its quota
// per minute.
var crowd = [...]struct {
	appID     string
	perSecond float64
}{
	{appID, 9}, {"wx0000000000000002", 3}, {"wx0000000000000003", 0.8},
}

const (
	// crowdFor limits the memory of the simulator, which never forgets a cloudID.
	crowdFor = time.Hour
	// perTap is the maximum number of cloudIDs per tap; the minimum is one.
	perTap = 3
	// tideEvery is the period of the rate of taps, which rises and falls.
	tideEvery = 4 * time.Minute
	// troubleEvery is the interval at which the last app runs out of its quota, and troubleFor
	// is how long that lasts.
	troubleEvery = 5 * time.Minute
	troubleFor   = 10 * time.Second
)

// load makes the crowd tap until ctx ends or crowdFor is over. It returns when ctx ends.
func (e *environment) load(ctx context.Context, producer *tasks.Client) error {
	g, tapping := errgroup.WithContext(ctx)
	tapping, stop := context.WithTimeout(tapping, crowdFor)
	defer stop()
	for i := range crowd {
		g.Go(func() error { return e.tap(tapping, producer, i) })
	}
	g.Go(func() error { return e.trouble(tapping) })
	if err := g.Wait(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// tap plays the users of one app.
func (e *environment) tap(ctx context.Context, producer *tasks.Client, app int) error {
	begun := time.Now()
	for user := e.cfg.Users; ; user++ { // starts after the users of Run
		tide := 1 + 0.6*math.Sin(2*math.Pi*time.Since(begun).Seconds()/tideEvery.Seconds())
		if !pause(ctx, time.Duration(rand.ExpFloat64()/(crowd[app].perSecond*tide)*float64(time.Second))) {
			return nil
		}
		req := tasks.Request{AppID: crowd[app].appID, Queue: queued}
		for n := range 1 + rand.IntN(perTap) {
			t := e.sim.CloudID(req.AppID, user, n, time.Now())
			req.Items = append(req.Items, tasks.Item{CloudID: t.CloudID, OpenID: t.OpenID, ObtainedAt: t.ObtainedAt})
		}
		if _, err := producer.Resolve(ctx, req); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// trouble makes the last app run out of its quota per minute at regular intervals.
func (e *environment) trouble(ctx context.Context) error {
	for pause(ctx, troubleEvery) {
		if err := e.sim.SetFaults(crowd[len(crowd)-1].appID, wechattest.Faults{"rate": 1}, troubleFor); err != nil {
			return err
		}
	}
	return nil
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
