package wechat

import (
	"context"
	"net/http"

	"cloudidq/internal/secret"
)

// StableToken returns a source that fetches the app's token from POST /cgi-bin/stable_token, in
// its normal mode. The endpoint returns the same token until 5 minutes before its expiry, so any
// number of processes may call it.
// https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.
//
// As for every source that fetches, its errors have ClassRetry, ClassRate or ClassQuota, and
// otherwise ClassApp. The client's Close stops the source.
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

// LegacyToken returns a source that fetches the app's token from GET /cgi-bin/token. Every call
// creates a new token, and the previous one stays valid for only 5 minutes. A program that
// fetches for the same app on its own therefore breaks the others. Use StableToken unless all
// processes share a [Config.Tokens].
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
