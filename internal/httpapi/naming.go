package httpapi

import (
	"context"
	"net/http"
)

// naming decides which apps and endpoints a request may name.
type naming struct {
	serves  func(appID string) bool
	mayName func(appID, webhook string, limited bool) error
}

// faults returns the faults in the app and the endpoint that a request names, in its body or its
// query (in). It returns an error if the caller's key may not name the endpoint.
func (n naming) faults(ctx context.Context, in, appID, webhook string) (faults []fault, err error) {
	if !n.serves(appID) {
		faults = append(faults, fault{in + ".appid", "is not a configured app"})
	}
	if err := n.webhook(ctx, appID, webhook); err != nil {
		faults = append(faults, fault{in + ".webhook", err.Error()})
		if caller(ctx).limited() {
			return nil, newProblem(http.StatusForbidden, "nothing was enqueued", faults...)
		}
	}
	return faults, nil
}

// webhook returns an error that says why the caller may not send results of an app to an
// endpoint. It returns nil if the caller may, or if webhook is empty.
func (n naming) webhook(ctx context.Context, appID, webhook string) error {
	if webhook == "" {
		return nil
	}
	return n.mayName(appID, webhook, caller(ctx).limited())
}
