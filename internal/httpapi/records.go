package httpapi

import (
	"context"
	"net/http"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"cloudidq/store"
)

// getInput identifies the record for [resolutions.get].
type getInput struct {
	AppID   string `path:"appid" pattern:"^[A-Za-z0-9_-]{1,64}$" patternDescription:"1 to 64 letters, digits, - or _"`
	CloudID string `path:"cloud_id" doc:"percent-encoded"`
}

type getOutput struct{ Body store.Record }

// get responds with one record.
func (h *resolutions) get(ctx context.Context, in *getInput) (*getOutput, error) {
	if err := permit(ctx, ScopeRead, in.AppID); err != nil {
		return nil, err
	}
	records, err := h.results.Lookup(ctx, in.AppID, []string{in.CloudID})
	if err != nil {
		return nil, storeUnavailable()
	}
	// Lookup returns a record without a status for an unknown cloudID.
	if records[0].Status == "" {
		return nil, newProblem(http.StatusNotFound, "this cloudID is unknown")
	}
	return &getOutput{records[0]}, nil
}

// lookupInput holds the cloudIDs for [resolutions.lookup].
type lookupInput struct {
	RawBody []byte
	Body    struct {
		AppID    string   `json:"appid" pattern:"^[A-Za-z0-9_-]{1,64}$" patternDescription:"1 to 64 letters, digits, - or _"`
		CloudIDs []string `json:"cloud_ids" minItems:"1" maxItems:"100" nullable:"false"`
	}
}

// lookupOutput holds the records that exist.
type lookupOutput struct {
	Body struct {
		Records []store.Record `json:"records" nullable:"false" doc:"in the order of the request; unknown cloudIDs are omitted"`
	}
}

// lookup responds with the records that exist.
func (h *resolutions) lookup(ctx context.Context, in *lookupInput) (*lookupOutput, error) {
	if err := permit(ctx, ScopeRead, in.Body.AppID); err != nil {
		return nil, err
	}
	if !utf8.Valid(in.RawBody) {
		return nil, notUTF8()
	}
	records, err := h.results.Lookup(ctx, in.Body.AppID, unique(in.Body.CloudIDs))
	if err != nil {
		return nil, storeUnavailable()
	}
	out := &lookupOutput{}
	out.Body.Records = make([]store.Record, 0, len(records))
	for i := range records {
		if records[i].Status != "" {
			out.Body.Records = append(out.Body.Records, records[i])
		}
	}
	return out, nil
}

// subjects serves the route that erases a user.
type subjects struct {
	results store.Results
	serves  func(appID string) bool
	audit   func(key, appID string, erased int)
}

// eraseInput identifies the user for [subjects.erase].
type eraseInput struct {
	AppID  string `path:"appid" pattern:"^[A-Za-z0-9_-]{1,64}$" patternDescription:"1 to 64 letters, digits, - or _"`
	OpenID string `path:"openid"`
}

// eraseOutput reports how many records were erased.
type eraseOutput struct {
	Body struct {
		Erased int `json:"erased" doc:"number of erased records"`
	}
}

// register adds the route to api.
func (h *subjects) register(api huma.API) {
	huma.Register(api, operation("erase", http.MethodDelete, "/v1/subjects/{appid}/{openid}",
		"Erase everything stored about a user", ScopeErase, http.StatusOK, 422, 503), h.erase)
}

// erase deletes everything that is stored about one user of an app.
func (h *subjects) erase(ctx context.Context, in *eraseInput) (*eraseOutput, error) {
	if err := permit(ctx, ScopeErase, in.AppID); err != nil {
		return nil, err
	}
	// A mistyped appid must not look like a user without records.
	if !h.serves(in.AppID) {
		return nil, newProblem(http.StatusUnprocessableEntity, "nothing was erased",
			fault{"path.appid", "is not a configured app; for an app that was removed from the " +
				"configuration, use cloudidq erase --former-app"})
	}
	erased, err := h.results.Erase(ctx, in.AppID, in.OpenID)
	if err != nil {
		return nil, storeUnavailable()
	}
	h.audit(caller(ctx).Name, in.AppID, erased)
	out := &eraseOutput{}
	out.Body.Erased = erased
	return out, nil
}
