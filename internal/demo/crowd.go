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

// crowd are the apps whose users go on to tap while a demo stays up, so many a second on average. The first is the demo's
// own; the quota of the last one's minute is used up now and then.
var crowd = [...]struct {
	appID     string
	perSecond float64
}{
	{appID, 9}, {"wx0000000000000002", 3}, {"wx0000000000000003", 0.8},
}

const (
	// crowdFor bounds what there is to remember: the simulator forgets no cloudID.
	crowdFor = time.Hour
	// A user's tap brings one to three cloudIDs.
	perTap = 3
	// tideEvery is the time from one high tide of taps to the next.
	tideEvery = 4 * time.Minute
	// troubleEvery is how often the last app runs out of its quota, and troubleFor for how long.
	troubleEvery = 5 * time.Minute
	troubleFor   = 10 * time.Second
)

// load lets the crowd tap, until ctx ends or its hour is over; then it waits for the end of ctx.
func (s *stage) load(ctx context.Context, producer *tasks.Client) error {
	g, tapping := errgroup.WithContext(ctx)
	tapping, stop := context.WithTimeout(tapping, crowdFor)
	defer stop()
	for i := range crowd {
		g.Go(func() error { return s.tap(tapping, producer, i) })
	}
	g.Go(func() error { return s.trouble(tapping) })
	if err := g.Wait(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// tap plays the users of one app.
func (s *stage) tap(ctx context.Context, producer *tasks.Client, app int) error {
	begun := time.Now()
	for user := s.cfg.Users; ; user++ { // behind those of the demo itself
		tide := 1 + 0.6*math.Sin(2*math.Pi*time.Since(begun).Seconds()/tideEvery.Seconds())
		if !pause(ctx, time.Duration(rand.ExpFloat64()/(crowd[app].perSecond*tide)*float64(time.Second))) {
			return nil
		}
		req := tasks.Request{AppID: crowd[app].appID, Queue: queued}
		for n := range 1 + rand.IntN(perTap) {
			t := s.sim.CloudID(req.AppID, user, n, time.Now())
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

// trouble lets the last app run out of its quota of the minute now and then.
func (s *stage) trouble(ctx context.Context) error {
	for pause(ctx, troubleEvery) {
		if err := s.sim.SetFaults(crowd[len(crowd)-1].appID, wechattest.Faults{"rate": 1}, troubleFor); err != nil {
			return err
		}
	}
	return nil
}

// pause waits; it reports false if ctx has ended first.
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
