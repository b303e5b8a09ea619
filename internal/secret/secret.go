// Package secret provides a type for values that must never be printed: tokens, AppSecrets, keys.
//
// A [Text] prints as "[redacted]" with every printer that the project uses (fmt, slog,
// encoding/json, goccy/go-yaml), also deep inside a struct, a map or an error. Only
// [Text.Reveal] returns the value, so one search finds every use.
package secret

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Redacted is printed in place of a secret.
const Redacted = "[redacted]"

// Text is a secret string. The zero value is the empty secret.
//
// It holds a pointer because fmt does not call the methods of unexported struct fields. With a
// pointer, %+v of a struct with an unexported Text field prints an address and not the value.
// Compare with [Text.Equal]; == compares the addresses.
type Text struct{ value *string }

// New returns value as a secret.
func New(value string) Text {
	if value == "" {
		return Text{}
	}
	return Text{value: &value}
}

// Equal reports whether two secrets are equal. For secrets of the same length, the time does
// not depend on their values.
func (t Text) Equal(u Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(u.Reveal())) == 1
}

// Reveal returns the value. Use it only to send or process the secret. Never pass it to a log,
// an error, a span or a metric.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// Empty reports whether the secret is the empty string.
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

// MarshalYAML implements InterfaceMarshaler of goccy/go-yaml, for `cloudidq config print`.
func (t Text) MarshalYAML() (any, error) { return Redacted, nil }
