package wechat

import (
	"context"
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"cloudidq/internal/secret"
)

// RemoteToken returns a source that requests tokens from a central token server. WeChat
// recommends such a server if several programs use one app. The source sends GET address with
// the given header ("Name: value"; empty for none). The server answers
//
//	{"access_token":"…","expires_in":7200}
//
// expires_in is the remaining lifetime of the token. The server alone decides when to fetch a
// token from WeChat. If WeChat refuses a token, the source requests it again at once, and then
// at increasing intervals up to 10 seconds. The server reports an error with an errcode of
// WeChat's or with an HTTP status.
// https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html.
//
// RemoteToken returns an error if address or header is invalid. The error does not contain their
// values.
func (c *Client) RemoteToken(appID, address string, header secret.Text) (TokenSource, error) {
	to, err := url.Parse(address)
	if err != nil || to.Host == "" || to.Scheme != "https" && to.Scheme != "http" {
		return nil, errors.New("the URL of the token server: want http:// or https:// and a host")
	}
	with, value, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	var shared *sharedTokens
	if !header.Empty() { // without a header there is no secret to seal a shared token with
		shared = newSharedTokens(c.tokens, "remote:"+appID+":"+address, header)
	}
	return &cachedTokens{
		param:  paramAccessToken,
		pace:   paceOfSource,
		detach: c.detach,
		shared: shared,
		fetch: c.fetcher(appID, modeRemote, func(ctx context.Context) (grant, *Error) {
			return c.fetchGrant(ctx, tokenRequest{
				method: http.MethodGet, to: *to, header: with, secrets: []secret.Text{header, value}, field: paramAccessToken,
			})
		}),
	}, nil
}

// parseHeader parses "Name: value" into the header of a request. It also returns the value
// alone.
func parseHeader(line secret.Text) (http.Header, secret.Text, error) {
	header := http.Header{"User-Agent": {userAgent}}
	if line.Empty() {
		return header, secret.Text{}, nil
	}
	name, value, ok := strings.Cut(line.Reveal(), ":")
	value = strings.TrimSpace(value)
	if !ok || !httpguts.ValidHeaderFieldName(name) || value == "" || !httpguts.ValidHeaderFieldValue(value) {
		return nil, secret.Text{}, errors.New("the header for the token server: want \"Name: value\"")
	}
	header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
	return header, secret.New(value), nil
}
