// Package secret holds values that must never be printed: tokens, AppSecrets, keys.
//
// A [Text] shows "[redacted]" to every printer the project uses (fmt, slog, encoding/json), also when it sits deep
// inside a struct, a map or an error. The one way to the value is [Text.Reveal], so that a reader finds every use
// with one search.
package secret

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Redacted is what stands in the place of a secret, wherever one is printed.
const Redacted = "[redacted]"

// Text is a secret string. The zero value is the empty secret.
//
// It holds a pointer because fmt prints unexported fields of a struct without asking their methods: %+v of a struct
// around a Text then shows an address. Compare by [Text.Equal]; == compares addresses.
type Text struct{ value *string }

// New wraps value.
func New(value string) Text {
	if value == "" {
		return Text{}
	}
	return Text{value: &value}
}

// Equal compares two secrets in constant time for their length.
func (t Text) Equal(u Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(u.Reveal())) == 1
}

// Reveal returns the value itself. Hand it to the wire, never to a log, an error, a span or a metric.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// Empty reports whether there is no value.
func (t Text) Empty() bool { return t.Reveal() == "" }

// String implements [fmt.Stringer].
func (t Text) String() string { return Redacted }

// GoString implements [fmt.GoStringer], for %#v.
func (t Text) GoString() string { return Redacted }

// Format implements [fmt.Formatter], so that no verb and no flag prints the value.
func (t Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// LogValue implements [slog.LogValuer].
func (t Text) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalJSON implements [json.Marshaler].
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal(Redacted) }

// MarshalYAML is what goccy/go-yaml asks (its InterfaceMarshaler), for `cloudidq config print`.
func (t Text) MarshalYAML() (any, error) { return Redacted, nil }
