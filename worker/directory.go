package worker

import (
	"context"
	"errors"
	"time"

	"cloudidq/internal/wechat"
)

// authorizers finds the apps of the merchants that have authorized a third-party platform.
// There may be thousands, and they change while the worker runs.
type authorizers interface {
	// Find returns the settings of an app. It returns false if the app is not known.
	Find(ctx context.Context, appID string) (App, bool, error)
}

// directory determines which apps this worker serves: the apps that have a queue in the
// batcher, and apps that get one when a task for them arrives.
type directory struct {
	batcher     *batcher
	authorizers authorizers // nil = only the configured apps are served
}

// Reasons why an app is not served. The dashboard shows them, so they do not contain Redis's
// error texts.
var (
	errUnknownApp = errors.New("the app is neither configured in this worker nor has it authorised a platform")
	errNoLookup   = errors.New("whether the app has authorised a platform cannot be looked up")
)

// know reports whether this worker serves the app. It opens the app's queue in the batcher if
// authorizers finds the app. If the worker does not serve the app, the error says why:
// errUnknownApp, errNoLookup, or invalid settings.
func (d *directory) know(ctx context.Context, appID string) (bool, error) {
	if d.batcher.has(appID) {
		return true, nil
	}
	if d.authorizers == nil {
		return false, errUnknownApp
	}
	app, found, err := d.authorizers.Find(ctx, appID)
	switch {
	case err != nil:
		return false, errNoLookup
	case !found:
		return false, errUnknownApp
	}
	if err := app.validate(); err != nil {
		return false, err
	}
	d.batcher.open(app)
	return true, nil
}

// StopApp pauses an app at once in every process, because its merchant has withdrawn the
// authorization of the platform. The pause lasts for maxAppPause. After that, a probe finds out
// whether WeChat still refuses the app. StartApp ends the pause earlier.
func StopApp(ctx context.Context, p pauses, appID string) error {
	if _, err := p.Lift(ctx, appID); err != nil { // Set would leave an existing pause in place, which may end sooner
		return err
	}
	_, err := p.Set(ctx, appID, wechat.CodeNotAuthorised, wechat.ClassApp.String(), func(int) time.Time {
		return time.Now().Add(maxAppPause)
	})
	return err
}

// StartApp ends the pause that StopApp began.
func StartApp(ctx context.Context, p pauses, appID string) error {
	_, err := p.Lift(ctx, appID)
	return err
}
