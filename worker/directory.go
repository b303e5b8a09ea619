package worker

import (
	"context"
	"errors"

	"cloudidq/internal/batch"
)

// authorizers finds the apps of the merchants that have authorized a third-party platform.
// There may be thousands, and they change while the worker runs.
type authorizers interface {
	// Find returns the settings of an app. It returns false if the app is not known.
	Find(ctx context.Context, appID string) (batch.App, bool, error)
}

// directory determines which apps this worker serves: the apps that have a queue in the
// batcher, and apps that get one when a task for them arrives.
type directory struct {
	batcher     *batch.Batcher
	authorizers authorizers // nil = only the configured apps are served
}

// Reasons why an app is not served. The dashboard shows them, so they do not contain Redis's
// error texts.
var (
	errUnknownApp = errors.New(
		"the app is neither configured in this worker nor has it authorised a platform")
	errNoLookup = errors.New("whether the app has authorised a platform cannot be looked up")
)

// lookUp returns nil if this worker serves the app. It opens the app's queue in the batcher if
// authorizers finds the app. Otherwise the error says why the worker does not serve the app:
// errUnknownApp, errNoLookup, or invalid settings.
func (d *directory) lookUp(ctx context.Context, appID string) error {
	if d.batcher.Has(appID) {
		return nil
	}
	if d.authorizers == nil {
		return errUnknownApp
	}
	app, found, err := d.authorizers.Find(ctx, appID)
	switch {
	case err != nil:
		return errNoLookup
	case !found:
		return errUnknownApp
	}
	if err := app.Validate(); err != nil {
		return err
	}
	d.batcher.Open(app)
	return nil
}
