package wechat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudidq/internal/secret"
)

// CodeNotAuthorised is the errcode for an app whose merchant has not authorised the platform, or does no more.
const CodeNotAuthorised = 61003

const codeRefreshInvalid = 61023

// authorization is what a merchant has granted the platform, as it lies in the cache, for good: a refresh token has no
// end, and if it is lost the merchant must authorise again
// (https://developers.weixin.qq.com/doc/knowledge/07e2d7fc2d6a1edf.md).
type authorization struct {
	Refresh   string    `json:"refresh,omitempty"`
	Withdrawn bool      `json:"withdrawn,omitempty"`
	At        time.Time `json:"at"` // CreateTime of the event that said so; zero if none has
}

func (p *Platform) authorization(appID string) sealedValue {
	return newSealedValue(p.client.tokens, "authorization:"+p.appID+":"+appID, p.secret)
}

// Authorized reports whether the merchant's app has authorised the platform, as far as WeChat's events told.
func (p *Platform) Authorized(ctx context.Context, appID string) (bool, error) {
	var granted authorization
	if _, err := p.authorization(appID).load(ctx, &granted); err != nil {
		return false, fmt.Errorf("looking up an authorization: %w", err)
	}
	return granted.Refresh != "" && !granted.Withdrawn, nil
}

// Authorize follows the events authorized and updateauthorized: it exchanges the code, which works once, for the
// merchant's tokens. An event that is older than what is known, or has been seen already, changes nothing. An error says
// that the event should come again; it is an *Error where WeChat has refused.
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
	// A token of the former authorization may lie there, which WeChat takes no more.
	shared := p.sharedWith(appID)
	if old, _, err := shared.load(ctx); err == nil {
		shared.put(ctx, old, held{token: granted.token, left: granted.life})
	}
	return nil
}

// Unauthorize follows the event unauthorized: the merchant's refresh token is forgotten.
func (p *Platform) Unauthorize(ctx context.Context, appID string, created time.Time) error {
	return p.change(ctx, appID, func(old authorization) (authorization, bool) {
		return authorization{Withdrawn: true, At: created}, !old.At.After(created)
	})
}

func (p *Platform) change(ctx context.Context, appID string, next func(authorization) (authorization, bool)) error {
	return change(ctx, p.authorization(appID), 0, next)
}

func (p *Platform) sharedWith(appID string) *sharedTokens {
	return newSharedTokens(p.client.tokens, "authorizer:"+p.appID+":"+appID, p.secret)
}

// Authorizer returns the token source of a merchant's app. configured is a refresh token that an operator has given,
// empty if the events alone tell; it is used where no event has brought one, or where WeChat refuses that one.
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

func (a *authorizer) fetch(ctx context.Context) (grant, *Error) {
	var known authorization
	if _, err := a.platform.authorization(a.appID).load(ctx, &known); err != nil {
		return grant{}, transient(textTokens + "the authorization cannot be read from Redis")
	}
	if known.Withdrawn {
		return grant{}, &Error{Class: ClassApp, Code: CodeNotAuthorised, Message: textTokens + "the merchant has withdrawn the authorization"}
	}
	failure := &Error{Class: ClassApp, Code: CodeNotAuthorised, Message: textTokens + "no event has brought an authorization, and no refresh_token is configured"}
	for _, refresh := range []secret.Text{secret.New(known.Refresh), a.configured} {
		if refresh.Empty() {
			continue
		}
		var got grant
		if got, failure = a.refresh(ctx, refresh); failure == nil {
			a.keep(ctx, known, refresh, got.refresh)
			return got, nil
		}
		if failure.Code != codeRefreshInvalid {
			break
		}
	}
	return grant{}, failure
}

// refresh makes the call. The answer holds a refresh token too, as a rule the same.
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

// keep stores the refresh token that is good now, unless an event was faster. If that fails the next fetch tries again.
func (a *authorizer) keep(ctx context.Context, known authorization, used, answered secret.Text) {
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

// parseAuthorization reads {"authorization_info":{"authorizer_appid":"…","authorizer_access_token":"…","expires_in":7200,
// "authorizer_refresh_token":"…"}}; of another app than the one asked for it takes nothing.
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
