package wechat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudidq/internal/secret"
)

// CodeNotAuthorised is the errcode for an app whose merchant has not authorised the platform or
// has withdrawn the authorization.
const CodeNotAuthorised = 61003

const codeRefreshInvalid = 61023

// authorization is the cached record of what a merchant has granted the platform. It is cached
// without an expiry, because a refresh token does not expire. If the refresh token is lost, the
// merchant must authorise the platform again
// (https://developers.weixin.qq.com/doc/knowledge/07e2d7fc2d6a1edf.md).
type authorization struct {
	Refresh   string    `json:"refresh,omitempty"`
	Withdrawn bool      `json:"withdrawn,omitempty"`
	At        time.Time `json:"at"` // CreateTime of the event that set this record; zero if no event has
}

// authorization returns the cached record of a merchant's app.
func (p *Platform) authorization(appID string) sealedValue {
	return newSealedValue(p.client.tokens, "authorization:"+p.appID+":"+appID, p.secret)
}

// Authorized reports whether the merchant's app has authorised the platform, according to the
// events received so far.
func (p *Platform) Authorized(ctx context.Context, appID string) (bool, error) {
	var granted authorization
	if _, err := p.authorization(appID).load(ctx, &granted); err != nil {
		return false, fmt.Errorf("looking up an authorization: %w", err)
	}
	return granted.Refresh != "" && !granted.Withdrawn, nil
}

// Authorize handles the events authorized and updateauthorized. It exchanges the code, which
// works only once, for the merchant's tokens. It ignores an event that is older than the known
// state or was already handled. If Authorize returns an error, the event must be delivered
// again. If WeChat has refused the code, the error is an *Error.
func (p *Platform) Authorize(ctx context.Context, appID string, code secret.Text, created time.Time) error {
	var known authorization
	if _, err := p.authorization(appID).load(ctx, &known); err != nil {
		return fmt.Errorf("looking up an authorization: %w", err)
	}
	if known.At.After(created) || known.At.Equal(created) && !known.Withdrawn {
		return nil
	}
	reply, failure := p.call(ctx, "api_query_auth", map[string]any{"authorization_code": code.Reveal()}, code)
	if failure != nil {
		return failure
	}
	granted := parseAuthorization(reply.body, appID)
	if granted.refresh.Empty() {
		return errors.New("the answer of api_query_auth holds no refresh token for this app")
	}
	err := p.change(ctx, appID, func(old authorization) (authorization, bool) {
		return authorization{Refresh: granted.refresh.Reveal(), At: created}, !old.At.After(created)
	})
	if err != nil || granted.token.Empty() {
		return err
	}
	// The cache may hold a token of the previous authorization, which WeChat no longer accepts.
	shared := p.sharedWith(appID)
	if old, _, err := shared.load(ctx); err == nil {
		shared.put(ctx, old, fetchedToken{token: granted.token, left: granted.life})
	}
	return nil
}

// Unauthorize handles the event unauthorized. It discards the merchant's refresh token, unless
// the event is older than the known state.
func (p *Platform) Unauthorize(ctx context.Context, appID string, created time.Time) error {
	return p.change(ctx, appID, func(old authorization) (authorization, bool) {
		return authorization{Withdrawn: true, At: created}, !old.At.After(created)
	})
}

func (p *Platform) change(ctx context.Context, appID string, next func(authorization) (authorization, bool)) error {
	return change(ctx, p.authorization(appID), 0, next)
}

// sharedWith returns the shared access token of a merchant's app.
func (p *Platform) sharedWith(appID string) *sharedTokens {
	return newSharedTokens(p.client.tokens, "authorizer:"+p.appID+":"+appID, p.secret)
}

// Authorizer returns the token source of a merchant's app. configured is a refresh token from
// the configuration; it is empty if only events bring refresh tokens. The source uses it if no
// event has brought a refresh token, or if WeChat refuses that token.
func (p *Platform) Authorizer(appID string, configured secret.Text) TokenSource {
	a := &authorizer{platform: p, appID: appID, configured: configured}
	return &cachedTokens{
		param:  paramAccessToken,
		pace:   paceOfSource,
		detach: p.client.detach,
		shared: p.sharedWith(appID),
		fetch:  p.client.fetcher(appID, modeComponent, a.fetch),
	}
}

// authorizer fetches the tokens of one merchant's app.
type authorizer struct {
	platform   *Platform
	appID      string
	configured secret.Text
}

// fetch fetches the access token of the app with a refresh token.
func (a *authorizer) fetch(ctx context.Context) (grant, *Error) {
	var known authorization
	if _, err := a.platform.authorization(a.appID).load(ctx, &known); err != nil {
		return grant{}, transient(textTokens + "the authorization cannot be read from Redis")
	}
	if known.Withdrawn {
		return grant{}, &Error{Class: ClassApp, Code: CodeNotAuthorised, Message: textTokens + "the merchant has withdrawn the authorization"}
	}
	failure := &Error{Class: ClassApp, Code: CodeNotAuthorised, Message: textTokens + "no event has brought an authorization, and no refresh_token is configured"}
	// Use the refresh token of the events first, then the configured one if WeChat says that the
	// first is invalid.
	for _, refresh := range []secret.Text{secret.New(known.Refresh), a.configured} {
		if refresh.Empty() {
			continue
		}
		var got grant
		if got, failure = a.refresh(ctx, refresh); failure == nil {
			a.storeRefresh(ctx, known, refresh, got.refresh)
			return got, nil
		}
		if failure.Code != codeRefreshInvalid {
			break
		}
	}
	return grant{}, failure
}

// refresh fetches a new access token. The answer also holds a refresh token, which is normally
// the same one.
func (a *authorizer) refresh(ctx context.Context, refresh secret.Text) (grant, *Error) {
	reply, failure := a.platform.call(ctx, "api_authorizer_token", map[string]any{
		"authorizer_appid":         a.appID,
		"authorizer_refresh_token": refresh.Reveal(),
	}, refresh)
	if failure != nil {
		return grant{}, failure
	}
	return parseGrant(reply.body, "authorizer_access_token"), nil
}

// storeRefresh stores the refresh token that now works, unless an event has changed the record
// meanwhile. If that fails, the next fetch stores it.
func (a *authorizer) storeRefresh(
	ctx context.Context, known authorization, used, answered secret.Text,
) {
	good := used
	if !answered.Empty() {
		good = answered
	}
	if good.Equal(secret.New(known.Refresh)) {
		return
	}
	_ = a.platform.change(ctx, a.appID, func(old authorization) (authorization, bool) {
		same := old.Refresh == known.Refresh && old.Withdrawn == known.Withdrawn && old.At.Equal(known.At)
		return authorization{Refresh: good.Reveal(), At: old.At}, same
	})
}

// parseAuthorization parses the answer of api_query_auth:
//
//	{"authorization_info":{"authorizer_appid":"…","authorizer_access_token":"…","expires_in":7200,
//	"authorizer_refresh_token":"…"}}
//
// If the answer is for another app than appID, the result is empty.
func parseAuthorization(body []byte, appID string) grant {
	for key, value := range members(body) {
		if string(key) != "authorization_info" || !isObject(value) {
			continue
		}
		for key, value := range members(value) {
			if text, _ := unquote(value); string(key) == "authorizer_appid" && string(text) != appID {
				return grant{}
			}
		}
		return parseGrant(value, "authorizer_access_token")
	}
	return grant{}
}
