package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
)

// Validate checks the configuration as [Load] does, for one that is made in code. Its error is [Faults].
func (c *Config) Validate() error {
	r := newReport(c.origin)
	c.check(r)
	return r.err()
}

// check adds every fault of the values: first what the tags say, then what only code can.
func (c *Config) check(r *report) {
	checkTags(r, reflect.ValueOf(c).Elem(), "")
	if !c.Redis.Embedded() {
		if _, err := parseRedisURL(string(c.Redis.URL)); err != nil {
			r.refuse("redis.url", "%v", err)
		}
	}
	if !r.isBroken("store.result_ttl") && !r.isBroken("cloudid_lifetime") && c.Store.ResultTTL < c.CloudIDLifetime {
		r.refuse("store.result_ttl", "must not be less than cloudid_lifetime (%s), is %s: a cloudID could be asked for twice",
			short(c.CloudIDLifetime), short(c.Store.ResultTTL))
	}
	if reason := wrongBaseURL(c.WeChat.BaseURL); reason != "" {
		r.refuse("wechat.base_url", "%s", reason)
	}
	if len(c.Apps) == 0 {
		r.refuse("apps", "missing; at least one app is needed")
	}
	first := map[string]int{}
	for i, app := range c.Apps {
		path := fmt.Sprintf("apps[%d]", i)
		checkAppID(r, join(path, "appid"), app.AppID)
		if at, twice := first[app.AppID]; twice && app.AppID != "" {
			r.refuse(join(path, "appid"), "%s is the appid of apps[%d] already", show(app.AppID), at)
		} else {
			first[app.AppID] = i
		}
		checkToken(r, join(path, "token"), app.Token)
	}
}

// checkTags goes through a section and holds its scalars against their tags.
func checkTags(r *report, section reflect.Value, path string) {
	for _, f := range reflect.VisibleFields(section.Type()) {
		name, ok := key(f)
		if !ok {
			continue
		}
		at, v := join(path, name), section.FieldByIndex(f.Index)
		switch {
		case isSection(f.Type):
			checkTags(r, v, at)
		case v.Kind() == reflect.Slice:
			for i := range v.Len() {
				checkTags(r, v.Index(i), fmt.Sprintf("%s[%d]", at, i))
			}
		case f.Tag.Get("oneof") != "":
			checkWord(r, at, f, v.String())
		case f.Tag.Get("min") != "":
			checkBounds(r, at, f, v.Int())
		}
	}
}

func checkWord(r *report, path string, f reflect.StructField, word string) {
	taken := alternatives(words(f, "oneof"))
	switch {
	case slices.Contains(words(f, "oneof"), word):
	case word == "":
		r.refuse(path, "missing; must be %s%s", taken, why(f))
	case slices.Contains(words(f, "later"), word):
		r.refuse(path, "%s %s; must be %s%s", word, notYet, taken, why(f))
	default:
		r.refuse(path, "must be %s, is %s%s", taken, show(word), why(f))
	}
}

func checkBounds(r *report, path string, f reflect.StructField, value int64) {
	least, most := number(f.Type, f.Tag.Get("min")), number(f.Type, f.Tag.Get("max"))
	if value < least || value > most {
		r.refuse(path, "must be between %s and %s, is %s%s",
			written(f.Type, least), written(f.Type, most), written(f.Type, value), why(f))
	}
}

func why(f reflect.StructField) string {
	if reason := f.Tag.Get("why"); reason != "" {
		return ": " + reason
	}
	return ""
}

// wrongBaseURL says what is wrong with the address of the API. It quotes no more of it than scheme and host.
func wrongBaseURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return "must be a URL such as https://api.weixin.qq.com"
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "must have no user, no query and no fragment"
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return ""
	default:
		return fmt.Sprintf("must be https, is %s: the access token travels in the query; "+
			"http is taken for loopback addresses only", show(u.Scheme+"://"+u.Host))
	}
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

var appID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`) // 64 is tasks.MaxAppIDBytes

func checkAppID(r *report, path, id string) {
	switch {
	case id == "":
		r.refuse(path, "missing")
	case !appID.MatchString(id):
		r.refuse(path, "must be 1 to 64 letters, digits, - or _, is %s", show(id))
	}
}

// checkToken holds the fields of a token against its mode. Of an unknown mode nothing is known.
func checkToken(r *report, path string, t Token) {
	if t.Mode != ModeStable && t.Mode != ModeStatic {
		return
	}
	for _, field := range []struct {
		key, mode, what string
		value           Secret
	}{
		{"secret", ModeStable, "the AppSecret", t.Secret},
		{"access_token", ModeStatic, "the token", t.AccessToken},
	} {
		switch at := join(path, field.key); {
		case field.mode == t.Mode && field.value.IsZero():
			r.refuse(at, "missing; mode %s needs %s", field.mode, field.what)
		case field.mode != t.Mode && !field.value.IsZero():
			r.refuse(at, "belongs to mode %s; the mode is %s", field.mode, t.Mode)
		}
	}
}
