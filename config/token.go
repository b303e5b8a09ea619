package config

import (
	"errors"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// tokenField is one field of a [Token] with the modes that it belongs to.
type tokenField struct {
	key, what string
	modes     []string
	optional  bool
	is        func(Token) bool // reports whether the field is set
}

// tokenFields lists the fields. Validation and schema share this table.
var tokenFields = [...]tokenField{
	{key: "secret", what: "the AppSecret", modes: []string{ModeStable, ModeLegacy},
		is: func(t Token) bool { return !t.Secret.IsZero() }},
	{key: "access_token", what: "the token", modes: []string{ModeStatic},
		is: func(t Token) bool { return !t.AccessToken.IsZero() }},
	{key: "url", what: "the address of the token server", modes: []string{ModeRemote},
		is: func(t Token) bool { return t.URL != "" }},
	{key: "header", what: "a header for the token server", modes: []string{ModeRemote}, optional: true,
		is: func(t Token) bool { return !t.Header.IsZero() }},
	{key: "component", what: "the appid of a platform under components", modes: []string{ModeComponent},
		is: func(t Token) bool { return t.Component != "" }},
	{key: "refresh_token", what: "the merchant's refresh token", modes: []string{ModeComponent}, optional: true,
		is: func(t Token) bool { return !t.RefreshToken.IsZero() }},
	{key: "from_appid", what: "the app of the users", modes: []string{ModeSidecar}, optional: true,
		is: func(t Token) bool { return t.FromAppID != "" }},
	{key: "path", what: "the token file", modes: []string{ModeCloudbaseFile}, optional: true,
		is: func(t Token) bool { return t.Path != "" }},
}

// tokenModes returns the accepted values of token.mode.
func tokenModes() []string {
	mode, _ := reflect.TypeFor[Token]().FieldByName("Mode")
	return words(mode)
}

// checkToken checks the fields of a token against its mode. It cannot check an unknown mode.
func checkToken(r *report, at string, t Token, components []Component) {
	if !slices.Contains(tokenModes(), t.Mode) {
		return
	}
	for _, field := range tokenFields {
		// A field must be set exactly if it belongs to the mode, unless it is optional.
		belongs, set := slices.Contains(field.modes, t.Mode), field.is(t)
		switch {
		case belongs && !set && !field.optional:
			r.refuse(join(at, field.key), "missing; mode %s requires %s", t.Mode, field.what)
		case !belongs && set:
			r.refuse(join(at, field.key), "belongs to mode %s; the mode is %s", strings.Join(field.modes, " or "), t.Mode)
		}
	}
	if t.URL != "" && wrongTokenServer(string(t.URL)) {
		r.refuse(join(at, "url"), "must be a URL such as https://tokens.example.com/wx, without user and fragment")
	}
	if t.Component != "" && !slices.ContainsFunc(components, func(c Component) bool { return c.AppID == t.Component }) {
		r.refuse(join(at, "component"), "%s is not the appid of any of components",
			show(t.Component))
	}
	if t.FromAppID != "" {
		checkAppID(r, join(at, "from_appid"), t.FromAppID)
	}
	if t.Path != "" && !path.IsAbs(t.Path) {
		r.refuse(join(at, "path"), "must be absolute")
	}
}

func wrongTokenServer(text string) bool {
	u, err := url.Parse(text)
	return err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http"
}

// checkComponent checks that a platform has its required fields.
func checkComponent(r *report, at string, c Component) {
	for _, field := range []struct {
		key   string
		value Secret
	}{{"secret", c.Secret}, {"verify_token", c.VerifyToken}, {"aes_key", c.AESKey}} {
		if field.value.IsZero() {
			r.refuse(join(at, field.key), "missing")
		}
	}
}

// headerLine rejects a text that is not an HTTP header line. Its error does not quote the text.
func headerLine(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t") || strings.TrimSpace(value) == "" ||
		strings.ContainsFunc(line, unicode.IsControl) {
		return errors.New("must have the form \"Name: value\"")
	}
	return nil
}

var encodingAESKey = regexp.MustCompile(`^[A-Za-z0-9+/]{43}$`)

// pushKey rejects a text that is not an EncodingAESKey. Its error does not quote the text.
func pushKey(key string) error {
	if !encodingAESKey.MatchString(key) {
		return errors.New("must be the 43 letters and digits from the platform's console")
	}
	return nil
}
