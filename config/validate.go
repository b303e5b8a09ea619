package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"cloudidq/tasks"
)

// Validate performs the checks of [Load] on a configuration created in code. Its error is
// [Faults].
func (c *Config) Validate() error {
	r := newReport(c.origin)
	c.check(r)
	return r.err()
}

// check reports every fault of the values: first the rules in the tags, then the rules that need
// code.
func (c *Config) check(r *report) {
	// Later rules skip values that an earlier rule has refused.
	checkTags(r, reflect.ValueOf(c).Elem(), "")
	if c.Redis.URL != embedded {
		if _, err := parseRedisURL(string(c.Redis.URL)); err != nil {
			r.refuse("redis.url", "%v", err)
		}
	}
	if !r.isBroken("store.result_ttl") && !r.isBroken("cloudid_lifetime") &&
		c.Store.ResultTTL < c.CloudIDLifetime {
		r.refuse("store.result_ttl",
			"must not be less than cloudid_lifetime (%s), is %s: a cloudID could be resolved twice",
			short(c.CloudIDLifetime), short(c.Store.ResultTTL))
	}
	switch {
	case r.isBroken("store.driver"), r.isBroken("store.dsn"):
	case c.Store.Driver == DriverPostgres && c.Store.DSN.IsZero():
		r.refuse("store.dsn", "missing; driver postgres requires a database")
	case c.Store.Driver == DriverRedis && !c.Store.DSN.IsZero():
		r.refuse("store.dsn", "belongs to driver postgres; the driver is redis")
	}
	switch {
	case r.isBroken("store.encryption"), r.isBroken("store.keyset"):
	case c.Store.Encryption == EncryptionKeyset && c.Store.Keyset.IsZero():
		r.refuse("store.keyset", "missing; results contain phone numbers: "+
			"set it to the output of cloudidq keys new, or set encryption: off")
	case c.Store.Encryption == EncryptionOff && !c.Store.Keyset.IsZero():
		r.refuse("store.keyset", "belongs to encryption keyset; the encryption is off")
	}
	if reason := wrongBaseURL(string(c.WeChat.BaseURL)); reason != "" {
		r.refuse("wechat.base_url", "%s", reason)
	}
	c.checkAPI(r)
	if reason := wrongAddress(c.Ops.Listen); reason != "" && c.Ops.Listen != OpsOff {
		r.refuse("ops.listen", "%s, or off", reason)
	} else if c.Ops.Listen == c.API.Listen && !strings.HasSuffix(c.Ops.Listen, ":0") {
		r.refuse("ops.listen", "must differ from api.listen, %s", show(c.API.Listen))
	}
	if len(c.Apps) == 0 && len(c.Components) == 0 {
		r.refuse("apps", "missing; at least one app or component is required")
	}
	checkAppIDs(r, "components", c.Components, func(comp Component) string { return comp.AppID })
	checkAppIDs(r, "apps", c.Apps, func(app App) string { return app.AppID })
	for i, comp := range c.Components {
		checkComponent(r, fmt.Sprintf("components[%d]", i), comp)
	}
	c.checkWebhooks(r)
	for i, app := range c.Apps {
		checkToken(r, fmt.Sprintf("apps[%d].token", i), app.Token, c.Components)
	}
}

// checkAppIDs checks the form and the uniqueness of the appids in a list.
func checkAppIDs[T any](r *report, list string, all []T, idOf func(T) string) {
	first := map[string]int{}
	for i, one := range all {
		path, id := fmt.Sprintf("%s[%d].appid", list, i), idOf(one)
		checkAppID(r, path, id)
		if at, twice := first[id]; twice && id != "" {
			r.refuse(path, "%s is already the appid of %s[%d]", show(id), list, at)
		} else {
			first[id] = i
		}
	}
}

// checkTags checks the scalars of a section and its subsections against their tags.
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
		case v.Kind() == reflect.Slice && !isSection(f.Type.Elem()):
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

// checkWord checks a value against the tag oneof.
func checkWord(r *report, path string, f reflect.StructField, word string) {
	taken := alternatives(words(f))
	switch {
	case slices.Contains(words(f), word):
	case word == "":
		r.refuse(path, "missing; must be %s%s", taken, why(f))
	default:
		r.refuse(path, "must be %s, is %s%s", taken, show(word), why(f))
	}
}

// checkBounds checks a value against the tags min and max.
func checkBounds(r *report, path string, f reflect.StructField, value int64) {
	least, most := number(f.Type, f.Tag.Get("min")), number(f.Type, f.Tag.Get("max"))
	if value < least || value > most {
		r.refuse(path, "must be between %s and %s, is %s%s",
			written(f.Type, least), written(f.Type, most), written(f.Type, value), why(f))
	}
}

// why returns the reason for a field's limits from the tag why, as an addition to a message.
func why(f reflect.StructField) string {
	if reason := f.Tag.Get("why"); reason != "" {
		return ": " + reason
	}
	return ""
}

// wrongBaseURL returns the problem with WeChat's base URL, or "". It quotes at most the scheme
// and host.
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
		return fmt.Sprintf("must be https, is %s: the query contains the access token; "+
			"http is allowed only for loopback addresses", show(u.Scheme+"://"+u.Host))
	}
}

// wrongAddress returns the problem with an address to listen on, or "".
func wrongAddress(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "must be host:port, such as 127.0.0.1:8080"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "must end with a port from 0 to 65535"
	}
	return ""
}

// wrongListen returns the problem with the API's address, or "". Without keys the address must
// be a loopback address, because everyone who reaches it may use the API.
func wrongListen(address string, keys bool) string {
	if reason := wrongAddress(address); reason != "" {
		return reason
	}
	if host, _, _ := net.SplitHostPort(address); !keys && !isLoopback(host) {
		return fmt.Sprintf(
			"must be a loopback address, is %s: without api.keys, everyone could use the API", show(host))
	}
	return ""
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

func checkAppID(r *report, path, id string) { checkName(r, path, id, tasks.AppIDProblem) }

// checkName checks a name with the rule that also applies to producers, the API and WeChat's
// pushes.
func checkName(r *report, path, name string, problemOf func(string) string) {
	if name == "" {
		r.refuse(path, "missing")
	} else if problem := problemOf(name); problem != "" {
		r.refuse(path, "%s, is %s", problem, show(name))
	}
}
