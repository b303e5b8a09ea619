package tasks

import "fmt"

// NamePattern is the form of an appid and of the name of a webhook endpoint: 1 to 64 letters,
// digits, "-" and "_". Such a name needs no escapes in JSON, in a URL, in a Redis key, in a log
// or in a metric label. It also cannot be mistaken for their syntax.
//
// Wherever WeChat's documents show an appid, it is "wx" and 16 hexadecimal digits, for example in
// developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/mp-access-token/getStableAccessToken.html.
// WeChat promises no form, so cloudidq requires only this pattern. It allows no dot, colon or
// slash. Both kinds of names follow the same rule.
const NamePattern = `^[A-Za-z0-9_-]{1,64}$`

// ValidAppID reports whether an appid has the form of [NamePattern].
func ValidAppID(appID string) bool { return AppIDProblem(appID) == "" }

// AppIDProblem returns the problem with an appid, such as "is empty" or "must be 1 to 64
// letters, digits, - or _". It returns "" for a valid appid.
func AppIDProblem(appID string) string { return nameProblem(appID, MaxAppIDBytes) }

// NameProblem is [AppIDProblem] for the name of a webhook endpoint. It rejects an empty name. If
// a name is optional, do not call it for an empty one.
func NameProblem(name string) string { return nameProblem(name, MaxNameBytes) }

func nameProblem(name string, maxBytes int) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxBytes || !plain(name):
		return fmt.Sprintf("must be 1 to %d letters, digits, - or _", maxBytes)
	default:
		return ""
	}
}

// plain reports whether text consists of ASCII letters, digits, "-" and "_". It runs for every
// payload.
func plain(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
