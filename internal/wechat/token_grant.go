package wechat

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"time"

	"cloudidq/internal/secret"
)

// textTokens starts the message of every error of a token endpoint, so that operators do not
// mistake it for an error of getopendata.
const textTokens = "token endpoint: "

const maxTokenAnswer = 64 << 10 // in bytes; a token takes about 512

// grant is the answer of a token endpoint.
type grant struct {
	token   secret.Text
	life    time.Duration // as stated by the endpoint; not trusted
	refresh secret.Text   // authorizer_refresh_token, from the endpoints of third-party platforms
}

// tokenRequest is a call to a token endpoint. field is the name of the token in its answer.
type tokenRequest struct {
	method  string
	to      url.URL
	header  http.Header
	body    map[string]any // sent as JSON; nil means no body
	secrets []secret.Text  // values of the request that no error may repeat
	field   string         // such as access_token
}

// fetchGrant requests a token. Its errors have ClassRetry, ClassRate or ClassQuota. All other
// errors have ClassApp, because an operator must fix them before any call of the app can work.
func (c *Client) fetchGrant(ctx context.Context, req tokenRequest) (grant, *Error) {
	reply, failure := c.requestToken(ctx, req)
	if failure != nil {
		return grant{}, failure
	}
	return parseGrant(reply.body, req.field), nil
}

// requestToken makes the call and returns the answer if it is a success.
func (c *Client) requestToken(ctx context.Context, req tokenRequest) (reply, *Error) {
	call := call{method: req.method, to: req.to, header: req.header, limit: maxTokenAnswer}
	if req.body != nil {
		content, err := json.Marshal(req.body)
		if err != nil {
			return reply{}, &Error{Class: ClassBug, Message: textTokens + "building the request"}
		}
		call.content = content
	}
	got, err := c.do(ctx, call)
	if err != nil {
		return reply{}, tokenError(err)
	}
	if failure := parseTokenError(got, submitted{secrets: req.secrets}); failure != nil {
		return reply{}, failure
	}
	return got, nil
}

// tokenError marks an error of do as an error of the token endpoint.
func tokenError(err error) *Error {
	if failure, ok := errors.AsType[*Error](err); ok {
		return &Error{Class: failure.Class, Message: textTokens + failure.Message}
	}
	return transient(textTokens + "no answer")
}

// parseTokenError returns the error of an answer, or nil. A successful answer has no errcode.
func parseTokenError(reply reply, sent submitted) *Error {
	top, failure := parseErrcode(reply.body)
	switch {
	case failure == nil && top.code != 0:
		failure = newError(tokenEndpointClass(top.code), top.code, top.message, sent)
	case reply.status != http.StatusOK:
		failure = statusError(reply.status, false)
	}
	if failure != nil {
		failure.Message = textTokens + failure.Message
	}
	return failure
}

// parseGrant parses {"access_token":"…","expires_in":7200}. field is the name of the token.
func parseGrant(object []byte, field string) grant {
	var got grant
	for key, value := range members(object) {
		switch string(key) {
		case field:
			got.token = textValue(value)
		case "expires_in":
			seconds, _ := integer(value) // 0 if the type is wrong; cachedTokens then uses its minimum
			got.life = time.Duration(min(max(seconds, 0), math.MaxInt32)) * time.Second
		case "authorizer_refresh_token":
			got.refresh = textValue(value)
		}
	}
	return got
}

// textValue returns a JSON string as a secret, or an empty secret if the type is wrong.
func textValue(value []byte) secret.Text {
	text, _ := unquote(value)
	return secret.New(string(text))
}
