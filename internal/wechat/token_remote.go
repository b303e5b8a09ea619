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

// RemoteToken returns a source that asks a central token server, which WeChat recommends where several programs use one
// app: GET address, with the given header ("Name: value"; empty for none), answered by
//
//	{"access_token":"…","expires_in":7200}
//
// expires_in is what is left of the token's life. The server alone decides when to fetch; a token that WeChat refuses is
// asked for again: at once, then at longer and longer intervals up to 10 seconds. An error of it may come with an errcode of WeChat's, or as a status.
// https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html.
//
// The error names what is wrong with address or header, without their values.
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
	if !header.Empty() { // without one there is no key to seal a shared token with
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

// parseHeader reads "Name: value" into the header of a request, and returns the value by itself too.
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
