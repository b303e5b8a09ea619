package wechat

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"cloudidq/internal/secret"
)

// Quota is what WeChat lets an app call getopendata. A third-party platform spends the merchant's.
type Quota struct {
	DailyLimit int64 // calls from 00:00 to 24:00 in Beijing
	Used       int64
	Remain     int64
	// Calls may be made within RefreshSeconds; both 0 where WeChat states no such limit.
	Calls          int64
	RefreshSeconds int64
}

// ErrNoQuota is what Quota returns for an app whose calls carry no access token of its own: cloud hosting does not pass
// this API on (https://developers.weixin.qq.com/minigame/dev/wxcloudrun/src/guide/weixin/faq.html).
var ErrNoQuota = errors.New("the quota cannot be asked for through cloud hosting")

// Quota asks POST /cgi-bin/openapi/quota/get for the quota of getopendata, which is documented nowhere. The call itself
// costs nothing of it. Its error is [ErrNoQuota], an *Error, or the context's. cloudidq never resets a quota: that would
// be for all APIs of the account, ten times a month.
// https://developers.weixin.qq.com/doc/service/api/base/api_getapiquota.
func (c *Client) Quota(ctx context.Context, tokens TokenSource) (Quota, error) {
	token, err := tokens.Token(ctx)
	if err != nil {
		return Quota{}, err
	}
	if token.Param != paramAccessToken {
		return Quota{}, ErrNoQuota
	}
	to := *c.base.JoinPath("/cgi-bin/openapi/quota/get")
	to.RawQuery = string(appendParam(nil, token.Param, token.Value.Reveal()))
	content, err := json.Marshal(map[string]string{"cgi_path": pathOpenData})
	if err != nil {
		return Quota{}, err
	}
	reply, err := c.do(ctx, call{method: http.MethodPost, to: to, content: content, limit: maxTokenAnswer})
	if err != nil {
		return Quota{}, err
	}
	if failure := quotaFailure(reply, token.Value); failure != nil {
		return Quota{}, failure
	}
	return parseQuota(reply.body)
}

// quotaFailure returns what is wrong with an answer, or nil. The token is not rejected for it: the next exchange will be.
func quotaFailure(reply reply, token secret.Text) error {
	top, failure := parseErrcode(reply.body)
	switch {
	case failure == nil && top.code != 0:
		return newError(classOfCall(top.code), top.code, top.message, submitted{token: token.Reveal()})
	case reply.status != http.StatusOK:
		return statusError(reply.status, false)
	case failure != nil:
		return failure
	}
	return nil
}

// parseQuota reads {"quota":{"daily_limit":…,"used":…,"remain":…},"rate_limit":{"call_count":…,"refresh_second":…}}. The
// second lies beside or inside of the first, or is absent.
func parseQuota(body []byte) (Quota, error) {
	type rate struct {
		Calls   int64 `json:"call_count"`
		Seconds int64 `json:"refresh_second"`
	}
	var answer struct {
		Quota *struct {
			DailyLimit int64 `json:"daily_limit"`
			Used       int64 `json:"used"`
			Remain     int64 `json:"remain"`
			Rate       *rate `json:"rate_limit"`
		} `json:"quota"`
		Rate *rate `json:"rate_limit"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Quota == nil {
		return Quota{}, transient(textStrange)
	}
	q := Quota{DailyLimit: answer.Quota.DailyLimit, Used: answer.Quota.Used, Remain: answer.Quota.Remain}
	for _, r := range []*rate{answer.Quota.Rate, answer.Rate} {
		if r != nil {
			q.Calls, q.RefreshSeconds = r.Calls, r.Seconds
		}
	}
	return q, nil
}
