package wechat

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"time"

	"cloudidq/internal/secret"
)

// textTokens begins the message of every error of an endpoint that gives tokens, so that an operator does not take it
// for one of getopendata.
const textTokens = "token endpoint: "

const maxTokenAnswer = 64 << 10 // bytes; a token takes some 512

// StableToken returns a source that fetches the app's token from POST /cgi-bin/stable_token, in its normal mode: the
// endpoint gives the same token until 5 minutes before its end, so that any number of processes may ask.
// https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.
//
// Its errors are of ClassRetry, ClassRate and ClassQuota, and otherwise of ClassApp: whatever else is wrong, an operator
// must mend it before anything of this app can work. The source stops with the client's Close.
func (c *Client) StableToken(appID string, secret secret.Text) TokenSource {
	return &cachedTokens{
		param:  paramAccessToken,
		detach: c.detach,
		shared: newSharedTokens(c.tokens, "stable:"+appID, secret),
		fetch: func(ctx context.Context) (grant, *Error) {
			return c.fetchStableToken(ctx, appID, secret)
		},
	}
}

func (c *Client) fetchStableToken(ctx context.Context, appID string, appSecret secret.Text) (grant, *Error) {
	content, err := json.Marshal(map[string]any{
		"grant_type":    "client_credential",
		"appid":         appID,
		"secret":        appSecret.Reveal(),
		"force_refresh": false, // true voids the token of every other process
	})
	if err != nil {
		return grant{}, &Error{Class: ClassBug, Message: textTokens + "building the request"}
	}
	reply, err := c.post(ctx, c.stableTokenURL, content, time.Time{}, maxTokenAnswer)
	if err != nil {
		return grant{}, tokenFault(err)
	}
	return parseGrant(reply, submitted{token: appSecret.Reveal()})
}

// tokenFault marks an error of post as one of the token endpoint.
func tokenFault(err error) *Error {
	if failure, ok := errors.AsType[*Error](err); ok {
		return &Error{Class: failure.Class, Message: textTokens + failure.Message}
	}
	return transient(textTokens + "no answer")
}

// parseGrant reads {"access_token":"…","expires_in":7200}; success comes without an errcode.
func parseGrant(reply reply, sent submitted) (grant, *Error) {
	top, failure := parseErrcode(reply.body)
	switch {
	case failure == nil && top.code != 0:
		failure = newError(tokenEndpointClass(top.code), top.code, top.message, sent)
	case reply.status != http.StatusOK:
		failure = statusError(reply.status, false)
	}
	if failure != nil {
		failure.Message = textTokens + failure.Message
		return grant{}, failure
	}
	var got grant
	for key, value := range members(reply.body) {
		switch string(key) {
		case "access_token":
			token, _ := unquote(value)
			got.token = secret.New(string(token))
		case "expires_in":
			seconds, _ := integer(value) // of a wrong type: 0, which cachedTokens takes for its shortest
			got.life = time.Duration(min(max(seconds, 0), math.MaxInt32)) * time.Second
		}
	}
	return got, nil
}
