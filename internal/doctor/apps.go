package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/internal/wechat"
)

// api is the part of [wechat.Client] that the checks use.
type api interface {
	GetOpenData(ctx context.Context, tokens wechat.TokenSource, req wechat.Request) []wechat.Outcome
	Quota(ctx context.Context, tokens wechat.TokenSource) (wechat.Quota, error)
}

// App is a mini program in the configuration.
type App struct {
	AppID  string
	Mode   string // token mode
	Tokens wechat.TokenSource
}

// noCloudID is the made-up cloudID of the test request. It does not have the form of a real
// cloudID.
const noCloudID = "cloudidq-doctor"

// lowQuota is the remaining share of the daily quota below which a warning is due.
const lowQuota = 0.1

// WeChat checks one app: its access token, whether it may call /wxa/getopendata, its quota, and
// whether it is paused.
func WeChat(client api, app App, pauses func(context.Context) ([]coord.Pause, error)) Check {
	return Check{Name: "app " + app.AppID, Run: func(ctx context.Context) []Finding {
		found := checkPauses(ctx, app.AppID, pauses)
		if _, err := app.Tokens.Token(ctx); err != nil {
			return append(found, wechatFailure("no access token", err))
		}
		// The findings about the call and the quota become one line if both are in order.
		var good string
		if f := checkCall(ctx, client, app); f != nil {
			found = append(found, *f)
		} else {
			good = fmt.Sprintf("token by %s, may call /wxa/getopendata", app.Mode)
		}
		quota := checkQuota(ctx, client, app.Tokens)
		if good != "" && quota.Level == OK {
			return append(found, ok("%s, %s", good, quota.Message))
		}
		if good != "" {
			found = append(found, ok("%s", good))
		}
		return append(found, quota)
	}}
}

// checkCall sends one request. It returns nil if WeChat evaluated the cloudID, because then the
// app is allowed to call /wxa/getopendata. Otherwise it returns the finding.
func checkCall(ctx context.Context, client api, app App) *Finding {
	outcomes := client.GetOpenData(ctx, app.Tokens, wechat.Request{
		AppID: app.AppID, Items: []wechat.Item{{CloudID: noCloudID,
			SendBy: time.Now().Add(checkTimeout)}},
	})
	failure := outcomes[0].Err
	if failure == nil {
		return nil
	}
	var f Finding
	switch failure.Class {
	// WeChat has evaluated the cloudID, so the app is allowed to call.
	case wechat.ClassItem, wechat.ClassExpired, wechat.ClassCall, wechat.ClassBatch:
		return nil
	case wechat.ClassRate:
		f = warn(remedyOf(failure), "the quota per minute is used up")
	default:
		f = wechatFailure("cannot call /wxa/getopendata", failure)
	}
	return &f
}

// checkQuota checks the daily quota.
func checkQuota(ctx context.Context, client api, tokens wechat.TokenSource) Finding {
	quota, err := client.Quota(ctx, tokens)
	switch {
	case errors.Is(err, wechat.ErrNoQuota):
		return ok("the quota cannot be requested through cloud hosting")
	case err != nil:
		f := wechatFailure("the quota cannot be requested", err)
		f.Level = Warn // getopendata may still work
		return f
	case quota.DailyLimit > 0 && quota.Remain <= 0:
		return fail("wait for 00:00 Beijing time, or apply to WeChat for a higher quota",
			"all %d daily calls are used", quota.DailyLimit)
	case quota.DailyLimit > 0 && float64(quota.Remain) < lowQuota*float64(quota.DailyLimit):
		return warn("apply to WeChat for a higher quota", "%d of %d daily calls are left", quota.Remain,
			quota.DailyLimit)
	default:
		return ok("%d of %d daily calls used", quota.Used, quota.DailyLimit)
	}
}

// checkPauses returns a warning if the app is paused.
func checkPauses(
	ctx context.Context, appID string, pauses func(context.Context) ([]coord.Pause, error),
) []Finding {
	list, err := pauses(ctx)
	if err != nil {
		return nil // the check of Redis reports the error
	}
	for _, pause := range list {
		if pause.AppID == appID && pause.Until.After(time.Now()) {
			known, _ := wechat.LookupCode(pause.Code)
			remedy := "cloudidq apps resume ends the pause at once"
			if known.Remedy != "" {
				remedy = known.Remedy + "; " + remedy
			}
			return []Finding{warn(remedy, "paused until %s: errcode %d %s",
				pause.Until.Local().Format(time.DateTime), pause.Code, known.Text)}
		}
	}
	return nil
}

// platform is the part of [wechat.Platform] that the check uses.
type platform interface {
	Check(ctx context.Context) error
}

// Component checks a third-party platform: whether its tickets arrive and yield a token.
func Component(appID string, p platform) Check {
	return Check{Name: "component " + appID, Run: func(ctx context.Context) []Finding {
		if err := p.Check(ctx); err != nil {
			f := wechatFailure("no component_access_token", err)
			if errors.Is(err, wechat.ErrNoTicket) {
				f.Remedy = "configure the platform's console to push to /v1/wechat/components/" + appID +
					"/events of the API, and wait for the next push"
			}
			return []Finding{f}
		}
		return []Finding{ok("tickets arrive and yield a token")}
	}}
}

// wechatFailure returns the finding for an error of WeChat, with its remedy.
func wechatFailure(what string, err error) Finding {
	failure, known := errors.AsType[*wechat.Error](err)
	if !known {
		return fail("repeat the check", "%s: %v", what, err)
	}
	text := failure.Message
	if failure.Code != 0 {
		text = fmt.Sprintf("errcode %d %s", failure.Code, failure.Message)
	}
	if at, dated := wechat.RIDTime(failure.RID); dated {
		text += fmt.Sprintf(" (rid %s, %s)", failure.RID, at.UTC().Format(time.RFC3339))
	}
	return fail(remedyOf(failure), "%s: %s", what, text)
}

// remedyOf returns what an operator can do about an error of WeChat.
func remedyOf(failure *wechat.Error) string {
	known, found := wechat.LookupCode(failure.Code)
	switch {
	case found && known.Remedy != "":
		return known.Remedy
	case failure.Class == wechat.ClassRetry:
		return "repeat the check; if the error persists, check wechat.base_url and the network"
	default:
		return "correct the app's token settings"
	}
}
