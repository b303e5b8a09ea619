package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"cloudidq/internal/secret"
)

// URL is an address that may contain a secret: a password, or a token in its query. When
// printed, it is redacted. string(u) returns the complete address.
type URL string

// String returns the address with user, password and query values redacted.
func (u URL) String() string { return secret.URL(string(u)) }

// Format implements [fmt.Formatter], so that no verb and no flag prints a secret.
func (u URL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// LogValue implements [slog.LogValuer].
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalJSON implements [json.Marshaler].
func (u URL) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

// MarshalYAML implements goccy/go-yaml's InterfaceMarshaler.
func (u URL) MarshalYAML() (any, error) { return u.String(), nil }

var errRedactedURL = errors.New(
	"contains the placeholder of config print; replace it with the value")

// resolveURL rejects an address that still contains the placeholder of a redacted value.
func resolveURL(r *report, path string, u URL) {
	if strings.Contains(string(u), secret.Redacted) {
		r.refuse(path, "%v", errRedactedURL)
	}
}
