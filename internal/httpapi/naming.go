package httpapi

import (
	"context"
	"net/http"
)

// naming is what a request may name.
type naming struct {
	serves  func(appID string) bool
	mayName func(appID, webhook string, limited bool) error
}

// faults are what is wrong with the app and the endpoint that a request names, in its body or its query. The error is for
// an endpoint that the caller's key may not name.
func (n naming) faults(ctx context.Context, in, appID, webhook string) (faults []fault, err error) {
	if !n.serves(appID) {
		faults = append(faults, fault{in + ".appid", "is not among the apps of the configuration"})
	}
	if err := n.webhook(ctx, appID, webhook); err != nil {
		faults = append(faults, fault{in + ".webhook", err.Error()})
		if caller(ctx).limited() {
			return nil, newProblem(http.StatusForbidden, "nothing was enqueued", faults...)
		}
	}
	return faults, nil
}

// webhook says why the caller may not have results of an app sent to an endpoint.
func (n naming) webhook(ctx context.Context, appID, webhook string) error {
	if webhook == "" {
		return nil
	}
	return n.mayName(appID, webhook, caller(ctx).limited())
}
