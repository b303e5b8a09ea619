package worker

import (
	"context"
	"errors"
	"time"

	"cloudidq/internal/wechat"
)

// authorizers finds the apps of the merchants who have authorised a third-party platform. There may be thousands, and
// they come and go while the worker runs.
type authorizers interface {
	// Find returns the app's settings, and false if it is not known.
	Find(ctx context.Context, appID string) (App, bool, error)
}

// directory knows which apps this worker serves: those with a lane in the batcher, and those that get one because a
// task for them has come.
type directory struct {
	batcher     *batcher
	authorizers authorizers // nil = only those of the configuration
}

// Why an app is not known. The dashboard shows it, so what Redis says is not repeated.
var (
	errUnknownApp = errors.New("the app is neither configured in this worker nor has it authorised a platform")
	errNoLookup   = errors.New("whether the app has authorised a platform cannot be looked up")
)

// know reports whether the app has a lane now, and if not, why.
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

// StopApp pauses an app at once, in every process, because its merchant has withdrawn the platform's authorization.
func StopApp(ctx context.Context, p pauses, appID string) error {
	if _, err := p.Lift(ctx, appID); err != nil { // a pause for something lesser would stay, and end sooner
		return err
	}
	_, err := p.Set(ctx, appID, wechat.CodeNotAuthorised, wechat.ClassApp.String(), func(int) time.Time {
		return time.Now().Add(maxAppPause)
	})
	return err
}

// StartApp ends what StopApp began.
func StartApp(ctx context.Context, p pauses, appID string) error {
	_, err := p.Lift(ctx, appID)
	return err
}
