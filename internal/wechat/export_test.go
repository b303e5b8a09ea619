package wechat

import (
	"context"
	"net/http"
	"testing"
	"time"

	"cloudidq/internal/secret"
)

// SetTransport replaces the network, so that a test can run in a synctest bubble.
func (c *Client) SetTransport(transport http.RoundTripper) { c.transport = transport }

// HTTPTransport returns the transport that New created.
func (c *Client) HTTPTransport() *http.Transport { return c.transport.(*http.Transport) }

// ParseResponse calls parseResponse with arguments of public types.
func ParseResponse(status int, body []byte, appID string, cloudIDs []string) ([]Outcome, *Error) {
	return parseResponse(reply{status: status, body: body}, submitted{cloudIDs: cloudIDs}, appID)
}

// ParseHosted is ParseResponse for a request through cloud hosting, which adds the credential.
func ParseHosted(status int, body []byte, cloudIDs []string) ([]Outcome, *Error) {
	return parseResponse(reply{status: status, body: body}, submitted{hosted: true, cloudIDs: cloudIDs}, "")
}

// Members collects the result of members.
func Members(text []byte) (keys, values []string) {
	for key, value := range members(text) {
		keys, values = append(keys, string(key)), append(values, string(value))
	}
	return keys, values
}

// Elements collects the result of elements.
func Elements(text []byte) (values []string) {
	for value := range elements(text) {
		values = append(values, string(value))
	}
	return values
}

// RequestBody exports requestBody.
func RequestBody(cloudIDs []string) []byte { return requestBody(cloudIDs) }

// NewCachedTokens returns a source that caches the tokens of fetch.
func NewCachedTokens(
	fetch func(ctx context.Context) (token string, life time.Duration, err *Error),
) TokenSource {
	return &cachedTokens{
		param: paramAccessToken, pace: paceOfSource,
		fetch: func(ctx context.Context) (grant, *Error) {
			token, life, err := fetch(ctx)
			return grant{token: secret.New(token), life: life}, err
		},
		detach: func(ctx context.Context, f func(context.Context)) { go f(context.WithoutCancel(ctx)) },
	}
}

// CacheStableToken caches a token of [Client.StableToken], like a process whose clock shows now.
func CacheStableToken(t testing.TB, cache TokenCache, appID, appSecret, token string, now time.Time, life time.Duration) {
	t.Helper()
	value := newSealedValue(cache, "stable:"+appID, secret.New(appSecret))
	if _, err := value.swap(t.Context(), nil, cached{Token: token, Fetched: now, Expires: now.Add(life)}, life); err != nil {
		t.Fatal(err)
	}
}
