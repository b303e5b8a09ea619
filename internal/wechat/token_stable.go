package wechat

import (
	"context"
	"net/http"

	"cloudidq/internal/secret"
)

// StableToken returns a source that fetches the app's token from POST /cgi-bin/stable_token, in its normal mode: the
// endpoint gives the same token until 5 minutes before its end, so that any number of processes may ask.
// https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.
//
// Its errors are those of every source that fetches: of ClassRetry, ClassRate and ClassQuota, and otherwise of ClassApp.
// The source stops with the client's Close.
func (c *Client) StableToken(appID string, appSecret secret.Text) TokenSource {
	return &cachedTokens{
		param:  paramAccessToken,
		pace:   paceOfSource,
		detach: c.detach,
		shared: newSharedTokens(c.tokens, "stable:"+appID, appSecret),
		fetch: c.fetcher(appID, modeStable, func(ctx context.Context) (grant, *Error) {
			return c.fetchGrant(ctx, tokenRequest{
				method: http.MethodPost,
				to:     *c.base.JoinPath("/cgi-bin/stable_token"),
				body: map[string]any{
					"grant_type":    "client_credential",
					"appid":         appID,
					"secret":        appSecret.Reveal(),
					"force_refresh": false, // true voids the token of every other process
				},
				secrets: []secret.Text{appSecret},
				field:   paramAccessToken,
			})
		}),
	}
}

// LegacyToken returns a source that fetches the app's token from GET /cgi-bin/token. Every call there makes a new token
// and leaves the one before 5 minutes more, so whoever fetches for the same app by himself breaks the others: without
// a [Config.Tokens] that all processes share, use StableToken.
// https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html.
func (c *Client) LegacyToken(appID string, appSecret secret.Text) TokenSource {
	return &cachedTokens{
		param:  paramAccessToken,
		pace:   paceOfLegacy,
		detach: c.detach,
		shared: newSharedTokens(c.tokens, "legacy:"+appID, appSecret),
		fetch: c.fetcher(appID, modeLegacy, func(ctx context.Context) (grant, *Error) {
			to := *c.base.JoinPath("/cgi-bin/token")
			q := appendParam([]byte("grant_type=client_credential"), "appid", appID)
			to.RawQuery = string(appendParam(q, "secret", appSecret.Reveal()))
			return c.fetchGrant(ctx, tokenRequest{
				method: http.MethodGet, to: to, secrets: []secret.Text{appSecret}, field: paramAccessToken,
			})
		}),
	}
}
