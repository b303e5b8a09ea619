package wechat

import "slices"

// Code is one row of the error table.
type Code struct {
	Code   int
	Class  Class
	Text   string // WeChat's text
	Remedy string // what an operator can do; empty if nothing is needed
}

const codeTokenMissing = 41001

// LookupCode returns the row of a code and whether the table has one. The success code 0 has no
// row.
func LookupCode(code int) (Code, bool) {
	at := slices.IndexFunc(codes[:], func(row Code) bool { return row.Code == code })
	if at < 0 {
		return Code{}, false
	}
	return codes[at], true
}

// Codes returns the whole table in its source order: by class, common codes first.
func Codes() []Code { return slices.Clone(codes[:]) }

const (
	remedyNotLatest  = "look for another program that fetches tokens of this appid; use stable_token everywhere"
	remedyIP         = "add the outbound IP address of this program to the app's IP whitelist"
	remedyAuthorise  = "let the merchant authorise the third-party platform again, with permission set 18 or 49"
	remedyPermission = "check the app's permissions in its console"
	remedyCloud      = "list /wxa/getopendata under the WeChat token permissions of cloud hosting"
	remedyReport     = "report it: the request was malformed"
)

// codes is the table for both levels: the errcode of a response and the errCode of an item. No
// number occurs on both levels.
//
// Sources of the item codes and of the -60xxxx codes of the cloud function channel:
// wx-server-sdk@4.0.2 index.js:3108-3180. Sources of the others:
// https://developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html, and the pages
// of the APIs that return them. The classes are cloudidq's own conclusions.
var codes = [...]Code{
	// Temporary failures.
	{-1, ClassRetry, "system error", ""},
	{-1000, ClassRetry, "system error", ""},
	{-601001, ClassRetry, "system error", ""},
	{-601003, ClassRetry, "system network error", ""},
	{-601008, ClassRetry, "server-side request timedout", ""},
	{-604102, ClassRetry, "call open API timeout", ""},
	{-604103, ClassRetry, "call open API system error", ""},

	// The access token. The token endpoint returns 40001 for a wrong AppSecret, see
	// tokenEndpointClass.
	{40001, ClassToken, "invalid credential, access_token is invalid or not latest", remedyNotLatest},
	{40014, ClassToken, "invalid access_token", remedyNotLatest},
	{42001, ClassToken, "access_token expired", ""},

	// Quotas.
	{45011, ClassRate, "api minute-quota reach limit, must slower, retry next minute", "set rate_per_minute of the app below what its quota allows"},
	{45009, ClassQuota, "reach max api daily quota limit", "wait for 00:00 Beijing time, or apply to WeChat for a higher quota"},

	// Final for one cloudID.
	{-601006, ClassExpired, "cloudID expired", ""},
	{-601004, ClassItem, "api permission denied", remedyPermission},
	{-601005, ClassItem, "invalid cloudID", ""},
	{-601007, ClassItem, "cloudID and calling user does not match", ""},
	{-601009, ClassItem, "missing mobile phone", ""},
	{-601010, ClassItem, "no write permission", remedyPermission},
	{-601011, ClassItem, "no privilege permission", remedyPermission},
	{-601012, ClassItem, "unauthorized env", remedyPermission},
	{-601013, ClassItem, "no multiend permission", remedyPermission},
	{-601015, ClassItem, "access denied (cloudfunction cloudbase_auth returns empty errCode)", remedyPermission},
	{-601016, ClassItem, "missing env auth info", remedyPermission},
	{-601017, ClassItem, "access denied (cloudbase_auth returns non-zero errCode)", remedyPermission},
	{-601018, ClassItem, "unauthorized API", remedyPermission},
	{-602018, ClassItem, "unauthorized API", remedyPermission}, // the SDK lists -601018's text under this code, perhaps by mistake

	// Final for the request, or for the item that makes it invalid, which splitting the request
	// finds.
	{40003, ClassCall, "invalid openid", "check that the openid is one of this appid"},
	{40097, ClassBatch, "invalid args", ""},
	{47001, ClassBatch, "data format error", ""},

	// Defects of cloudidq.
	{-601002, ClassBug, "system args error", remedyReport},
	// In cloud hosting the operator must fix this one, see topClass.
	{codeTokenMissing, ClassBug, "access_token missing", "in cloud hosting switch the open API service on and build a new version; elsewhere report it"},
	{43001, ClassBug, "require GET method", remedyReport},
	{43002, ClassBug, "require POST method", remedyReport},
	{43003, ClassBug, "require https", "let wechat.base_url begin with https://, except in cloud hosting"},
	{44002, ClassBug, "empty post data", remedyReport},

	// Configuration of the app.
	{40002, ClassApp, "invalid grant_type", remedyReport},
	{41002, ClassApp, "appid missing", "set the app's appid"},
	{41004, ClassApp, "appsecret missing", "set the app's secret"},
	{40013, ClassApp, "invalid appid", "correct the appid"},
	{40125, ClassApp, "invalid appsecret", "correct the app's secret"},
	{40164, ClassApp, "invalid ip, not in whitelist", remedyIP},
	{89503, ClassApp, "the IP awaits the administrator's confirmation", "let the app's administrator confirm the IP address"},
	{89506, ClassApp, "the IP was refused by the administrator, for 24 hours", "contact the app's administrator, then wait 24 hours"},
	{89507, ClassApp, "the IP was refused by the administrator, for 1 hour", "contact the app's administrator, then wait an hour"},
	{40243, ClassApp, "appsecret frozen", "unfreeze the AppSecret in the app's console"},
	{45035, ClassApp, "access clientip is not registered", remedyIP},
	{48001, ClassApp, "api unauthorized", remedyPermission},
	{48004, ClassApp, "api forbidden for irregularities", "see the notices in the app's console"},
	{48009, ClassApp, "api permission expired", remedyPermission},
	{50001, ClassApp, "api unauthorized for this user", remedyPermission},
	{50002, ClassApp, "app is frozen or closed", "see the notices in the app's console"},
	{50004, ClassApp, "app is punished", "see the notices in the app's console"},
	{85088, ClassApp, "cloud base is not opened for this app", "open cloud development for the app"},

	// Third-party platforms.
	{61003, ClassApp, "component is not authorized by this account", remedyAuthorise},
	{61004, ClassApp, "access clientip is not registered",
		"add the IP address to the platform's IP whitelist"},
	{61005, ClassApp, "component ticket is expired", "check that WeChat's pushes arrive; the next comes within 10 minutes"},
	{61006, ClassApp, "component ticket is invalid", "check that WeChat's pushes arrive; the next comes within 10 minutes"},
	{61007, ClassApp, "api is unauthorized to component", remedyAuthorise},
	{61011, ClassApp, "invalid component", "correct the component's appid"},
	{61014, ClassApp, "must use component token for component api", "correct the component's configuration"},
	{61023, ClassApp, "refresh_token is invalid", remedyAuthorise},
	{61024, ClassApp, "must use api_component_token to get token for component acct", "use mode component for this appid"},
	{42007, ClassApp, "tokens void since the account's password changed", remedyAuthorise},

	// Cloud hosting and the cloud function channel.
	{85105, ClassApp, "not authorized", remedyCloud},
	{85107, ClassApp, "URL is not white-listed", remedyCloud},
	{85112, ClassApp, "cloudbase_secret or gateway error", "open a support ticket with WeChat"},
	{85113, ClassApp, "cloudbase_token is not ready", "wait some minutes; build the version after switching the service on"},
	{-604100, ClassApp, "API not found", remedyCloud},
	{-604101, ClassApp, "function has no permission to call this API", remedyCloud},
	{-604104, ClassApp, "illegal source of invocation", remedyCloud},

	// The quota and rid APIs, which an operator or doctor calls. An error concerns only that
	// call.
	{48006, ClassCall, "clear_quota is used up for this month", ""},
	{76001, ClassCall, "rid not found", ""},
	{76002, ClassCall, "rid is malformed", ""},
	{76003, ClassCall, "rid or cgi_path of another account", ""},
	{76004, ClassCall, "rid is older than 7 days", ""},
	{76021, ClassCall, "cgi_path not found", ""},
	{76022, ClassCall, "the token's account kind cannot use this cgi_path", ""},
}

// lowestBusy is the lowest unknown code that counts as busy. Unknown codes from here to -1
// belong to the family of -1 and -1000, with which WeChat reports that it is busy. Six-digit
// codes name their origin (6 WeChat, 5 Tencent Cloud, 4 the SDK; wx-server-sdk@4.0.2
// index.js:3108) and are decisions.
const lowestBusy = -99999

// classOfCall classifies the errcode of a response.
//
// An unknown code fails the call. WeChat has understood the request and decided, so a repetition
// would bring the same answer until the lifetimes end. ClassApp would pause the whole app, and
// one user's odd request would then block all others.
func classOfCall(code int) Class {
	if row, known := LookupCode(code); known {
		return row.Class
	}
	if lowestBusy <= code && code < 0 {
		return ClassRetry
	}
	return ClassCall
}

// classOfItem classifies the errCode of one item. An unknown code is final for the item. A code
// that elsewhere concerns the whole request is also final for this item only, because the other
// entries have their own answers.
func classOfItem(code int) Class {
	switch class := classOfCall(code); class {
	case ClassCall, ClassBatch, ClassToken:
		return ClassItem
	default:
		return class
	}
}

// tokenEndpointClass classifies the errcode of a token endpoint. Without a token, no call of the
// app works. Therefore every error except busy and quota errors needs an operator. For example,
// 40001 means a wrong AppSecret there
// (https://developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html). An unknown
// code must not fail cloudIDs that were never sent.
func tokenEndpointClass(code int) Class {
	switch class := classOfCall(code); class {
	case ClassRetry, ClassRate, ClassQuota:
		return class
	default:
		return ClassApp
	}
}

// newError returns the error of a code. It removes submitted values from errmsg, because
// WeChat's texts vary and may repeat them.
func newError(class Class, code int, errmsg string, sent submitted) *Error {
	rid, rest := ParseRID(errmsg)
	message := sent.clean(rest)
	if message == "" {
		message = textOf(code)
	}
	return &Error{Class: class, Code: code, Message: message, RID: rid}
}

// textOf returns the table's text for a code.
func textOf(code int) string {
	if row, known := LookupCode(code); known {
		return row.Text
	}
	return "no text"
}
