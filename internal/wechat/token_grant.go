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

// textTokens begins the message of every error of an endpoint that gives tokens, so that an operator does not take it
// for one of getopendata.
const textTokens = "token endpoint: "

const maxTokenAnswer = 64 << 10 // bytes; a token takes some 512

// grant is what an endpoint that gives tokens answers.
type grant struct {
	token   secret.Text
	life    time.Duration // as stated; not trusted
	refresh secret.Text   // authorizer_refresh_token, of a third-party platform's endpoints
}

// tokenRequest is a call to an endpoint that gives tokens, with the name its answer has for the token.
type tokenRequest struct {
	method  string
	to      url.URL
	header  http.Header
	body    map[string]any // sent as JSON; nil = no body
	secrets []secret.Text  // what of the request no error may repeat
	field   string         // such as access_token
}

// fetchGrant asks for a token. Its errors are of ClassRetry, ClassRate and ClassQuota, and otherwise of ClassApp:
// whatever else is wrong, an operator must mend it before anything of this app can work.
func (c *Client) fetchGrant(ctx context.Context, req tokenRequest) (grant, *Error) {
	reply, failure := c.askForToken(ctx, req)
	if failure != nil {
		return grant{}, failure
	}
	return parseGrant(reply.body, req.field), nil
}

// askForToken makes the call and returns the answer if it is one of success.
func (c *Client) askForToken(ctx context.Context, req tokenRequest) (reply, *Error) {
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
		return reply{}, tokenFault(err)
	}
	if failure := parseTokenError(got, submitted{secrets: req.secrets}); failure != nil {
		return reply{}, failure
	}
	return got, nil
}

// tokenFault marks an error of do as one of the token endpoint.
func tokenFault(err error) *Error {
	if failure, ok := errors.AsType[*Error](err); ok {
		return &Error{Class: failure.Class, Message: textTokens + failure.Message}
	}
	return transient(textTokens + "no answer")
}

// parseTokenError returns what is wrong with an answer, or nil. Success comes without an errcode.
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

// parseGrant reads {"access_token":"…","expires_in":7200}, an object, whose token is called field.
func parseGrant(object []byte, field string) grant {
	var got grant
	for key, value := range members(object) {
		switch string(key) {
		case field:
			got.token = textValue(value)
		case "expires_in":
			seconds, _ := integer(value) // of a wrong type: 0, which cachedTokens takes for its shortest
			got.life = time.Duration(min(max(seconds, 0), math.MaxInt32)) * time.Second
		case "authorizer_refresh_token":
			got.refresh = textValue(value)
		}
	}
	return got
}

// textValue is a JSON string as a secret; of a wrong type it is the empty one.
func textValue(value []byte) secret.Text {
	text, _ := unquote(value)
	return secret.New(string(text))
}
