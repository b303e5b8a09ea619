package wechat

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"cloudidq/internal/secret"
)

// Quota is WeChat's limit for an app's calls of getopendata. Calls of a third-party platform
// count against the merchant's quota.
type Quota struct {
	DailyLimit int64 // calls per day, from 00:00 to 24:00 in Beijing
	Used       int64
	Remain     int64
	// Calls is the number of calls allowed within RefreshSeconds. Both are 0 if WeChat states no
	// such limit.
	Calls          int64
	RefreshSeconds int64
}

// ErrNoQuota is the error of [Client.Quota] for an app whose calls carry no access token of its
// own. Cloud hosting does not forward this API
// (https://developers.weixin.qq.com/minigame/dev/wxcloudrun/src/guide/weixin/faq.html).
var ErrNoQuota = errors.New("the quota cannot be requested through cloud hosting")

// Quota requests the quota of getopendata from POST /cgi-bin/openapi/quota/get. WeChat documents
// this quota nowhere. The call itself does not count against it. The error is [ErrNoQuota], an
// *Error, or the context's. cloudidq never resets a quota: a reset affects all APIs of the
// account and is limited to ten per month.
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

// quotaFailure returns the error of an answer, or nil. It does not reject a refused token; the
// next exchange will.
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

// parseQuota parses
// {"quota":{"daily_limit":…,"used":…,"remain":…},"rate_limit":{"call_count":…,"refresh_second":…}}.
// rate_limit may also be inside quota, or be absent.
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
