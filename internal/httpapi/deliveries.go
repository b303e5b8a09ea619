package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"cloudidq/store"
)

// deliveryStore is the part of [store.Deliveries] that the API uses.
type deliveryStore interface {
	Get(ctx context.Context, id string) (store.Delivery, error)
	List(ctx context.Context, filter store.Filter, yield func(store.Delivery) bool) error
}

// Webhooks holds the operations on endpoints that the API uses.
type Webhooks interface {
	// Replay restarts a delivery. It returns [store.ErrNoDelivery] if the delivery does not
	// exist, and [store.ErrDelivered] if it has been delivered already.
	Replay(ctx context.Context, id string) error
	// Test makes one attempt to deliver a message of type "webhook.test" to an endpoint. It
	// reports false if no endpoint has this name.
	Test(ctx context.Context, name string) (store.Attempt, bool)
}

// deliveries serves the routes of webhook deliveries.
type deliveries struct {
	store    deliveryStore
	webhooks Webhooks
	names    naming
}

// Number of deliveries per page: the default and the maximum.
const (
	pageSize    = 50
	maxPageSize = 200
)

// listInput holds the query of [deliveries.list].
type listInput struct {
	Status    string `query:"status" enum:"pending,delivered,held,exhausted" doc:"only deliveries with this status"`
	Endpoint  string `query:"endpoint" pattern:"^[A-Za-z0-9_-]{1,64}$" patternDescription:"1 to 64 letters, digits, - or _" doc:"only deliveries to this webhook"`
	AppID     string `query:"appid" pattern:"^[A-Za-z0-9_-]{1,64}$" patternDescription:"1 to 64 letters, digits, - or _" doc:"only deliveries of this app"`
	PageSize  int    `query:"page_size" minimum:"0" doc:"50 by default, at most 200"`
	PageToken string `query:"page_token" maxLength:"200" doc:"next_page_token of the previous page"`
}

// listOutput is a page of deliveries.
type listOutput struct {
	Body struct {
		Deliveries    []store.Delivery `json:"deliveries" nullable:"false" doc:"undelivered ones, the newest first, then those delivered in the last hour"`
		NextPageToken string           `json:"next_page_token" doc:"empty on the last page"`
	}
}

type replayInput struct {
	ID string `path:"id"`
}

type replayOutput struct {
	Body struct {
		ID string `json:"id"`
	}
}

type testInput struct {
	Name string `path:"name" pattern:"^[A-Za-z0-9_-]{1,64}$" patternDescription:"1 to 64 letters, digits, - or _"`
}

type testOutput struct{ Body store.Attempt }

// register adds the routes to api.
func (h *deliveries) register(api huma.API) {
	huma.Register(api, operation("listDeliveries", http.MethodGet, "/v1/deliveries",
		"List webhook deliveries", ScopeRead, http.StatusOK, 400, 422, 503), h.list)
	huma.Register(api, operation("replayDelivery", http.MethodPost, "/v1/deliveries/{id}/replay",
		"Replay a delivery", ScopeAdmin, http.StatusAccepted, 404, 409, 503), h.replay)
	huma.Register(api, operation("testWebhook", http.MethodPost, "/v1/webhooks/{name}/test",
		"Send a webhook one message of type webhook.test", ScopeAdmin, http.StatusOK, 404, 422), h.test)
}

// list returns one page of the deliveries that the caller's key may read. A page token is the
// last id of the previous page. It grants no access.
func (h *deliveries) list(ctx context.Context, in *listInput) (*listOutput, error) {
	// A key that is limited to some apps may list without appid. It sees the deliveries of its
	// apps.
	if err := permit(ctx, ScopeRead, in.AppID); err != nil && in.AppID != "" {
		return nil, err
	}
	if !caller(ctx).hasScope(ScopeRead) {
		return nil, permit(ctx, ScopeRead, "")
	}
	after, err := parsePageToken(in.PageToken)
	if err != nil {
		return nil, err
	}
	size := pageSize
	if in.PageSize > 0 {
		size = min(in.PageSize, maxPageSize)
	}
	out := &listOutput{}
	out.Body.Deliveries = []store.Delivery{}
	filter := store.Filter{AppID: in.AppID, Endpoint: in.Endpoint, State: store.DeliveryState(in.Status)}
	// Skip the deliveries up to the token's, then fill the page. One further delivery shows that
	// there is a next page.
	skipping, more := after != "", false
	err = h.store.List(ctx, filter, func(d store.Delivery) bool {
		switch {
		case skipping:
			skipping = d.ID != after
		case !caller(ctx).allows(ScopeRead, d.AppID):
		case len(out.Body.Deliveries) == size:
			more = true
		default:
			out.Body.Deliveries = append(out.Body.Deliveries, d)
		}
		return !more
	})
	if err != nil {
		return nil, storeUnavailable()
	}
	// The token's delivery no longer exists, so the position of the page is lost.
	if skipping {
		return nil, newProblem(http.StatusBadRequest,
			"the previous page no longer exists; start again with the first page",
			fault{"query.page_token", "has expired"})
	}
	if more {
		last := out.Body.Deliveries[size-1].ID
		out.Body.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(last))
	}
	return out, nil
}

// parsePageToken returns the delivery id that a page token stands for. It returns "" for an empty
// token.
func parsePageToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	last, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || !strings.HasPrefix(string(last), "msg_") {
		return "", newProblem(http.StatusBadRequest, "nothing was listed",
			fault{"query.page_token", "is invalid"})
	}
	return string(last), nil
}

// replay restarts a delivery.
func (h *deliveries) replay(ctx context.Context, in *replayInput) (*replayOutput, error) {
	if !caller(ctx).hasScope(ScopeAdmin) {
		return nil, permit(ctx, ScopeAdmin, "")
	}
	row, err := h.store.Get(ctx, in.ID)
	if err == nil && !caller(ctx).allows(ScopeAdmin, row.AppID) {
		// Respond like for an unknown id, so that a caller cannot probe for ids.
		err = store.ErrNoDelivery
	}
	if err == nil {
		if err := h.mayReplay(ctx, &row); err != nil {
			return nil, err
		}
		err = h.webhooks.Replay(ctx, in.ID)
	}
	switch {
	case errors.Is(err, store.ErrNoDelivery):
		return nil, newProblem(http.StatusNotFound, "no such delivery")
	case errors.Is(err, store.ErrDelivered):
		return nil, newProblem(http.StatusConflict, store.ErrDelivered.Error())
	case err != nil:
		return nil, storeUnavailable()
	}
	out := &replayOutput{}
	out.Body.ID = in.ID
	return out, nil
}

// mayReplay returns a problem if the delivery may not be sent to its endpoint. The configuration
// may now reserve the endpoint for other apps, or the caller's key may not name it.
func (h *deliveries) mayReplay(ctx context.Context, row *store.Delivery) error {
	err := h.names.webhook(ctx, row.AppID, row.Endpoint)
	switch {
	case err == nil:
		return nil
	case caller(ctx).limited():
		return newProblem(http.StatusForbidden, "its endpoint "+err.Error())
	default:
		return newProblem(http.StatusConflict, "its endpoint "+err.Error())
	}
}

// test sends a test message to an endpoint and responds with the attempt.
func (h *deliveries) test(ctx context.Context, in *testInput) (*testOutput, error) {
	if err := permit(ctx, ScopeAdmin, ""); err != nil {
		return nil, err
	}
	attempt, known := h.webhooks.Test(ctx, in.Name)
	if !known {
		return nil, newProblem(http.StatusNotFound, "no webhook with this name is configured")
	}
	return &testOutput{attempt}, nil
}
