package batch

import (
	"context"
	"time"

	"cloudidq/internal/wechat"
)

// Lengths of an app's pauses.
const (
	firstQuotaPause = 2 * time.Minute
	firstAppPause   = 15 * time.Second
	maxAppPause     = 10 * time.Minute
)

// beijing is the time zone of WeChat's daily quotas.
var beijing = time.FixedZone("Beijing", 8*60*60)

// pauseEnd returns when an app that has been paused times times in a row is attempted again.
// The limit 45011 is per minute. 45009 may pass in minutes or last until midnight in Beijing.
// For trouble that an operator must fix, the pauses get longer and longer, up to maxAppPause.
func pauseEnd(class wechat.Class, times int, now time.Time) time.Time {
	switch {
	case class == wechat.ClassRate:
		return NextMinute(now)
	case class == wechat.ClassQuota && times == 1:
		return now.Add(firstQuotaPause)
	case class == wechat.ClassQuota:
		t := now.In(beijing)
		return time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, beijing)
	default:
		return now.Add(min(maxAppPause, firstAppPause<<min(times-1, 10)))
	}
}

// NextMinute returns the start of the minute after now.
func NextMinute(now time.Time) time.Time { return now.Truncate(time.Minute).Add(time.Minute) }

// StopApp Pauses an app at once in every process, because its merchant has withdrawn the
// authorization of the platform. The pause lasts for maxAppPause. After that, a probe finds out
// whether WeChat still refuses the app. StartApp ends the pause earlier.
func StopApp(ctx context.Context, p Pauses, appID string) error {
	if _, err := p.Lift(ctx, appID); err != nil { // Set would leave an existing pause in place, which may end sooner
		return err
	}
	_, err := p.Set(ctx, appID, wechat.CodeNotAuthorised, wechat.ClassApp.String(), func(int) time.Time {
		return time.Now().Add(maxAppPause)
	})
	return err
}

// StartApp ends the pause that StopApp began.
func StartApp(ctx context.Context, p Pauses, appID string) error {
	_, err := p.Lift(ctx, appID)
	return err
}
