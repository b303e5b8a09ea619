package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"cloudidq/internal/secret"
)

const maxSecretBytes = 64 << 10

// Secret is a setting that must not be printed. In the file it is env:NAME, file:PATH, or the
// secret itself. When printed, a reference appears as it is, because it reveals nothing. A
// literal appears as [redacted].
type Secret struct {
	ref  string      // env:NAME or file:PATH; empty for a literal
	text secret.Text // empty until resolved
}

// NewSecret returns a literal secret, for a configuration created in code.
func NewSecret(value string) Secret { return Secret{text: secret.New(value)} }

// Text returns the secret itself. For a reference it is empty until [Config.ResolveSecrets] has
// run.
func (s Secret) Text() secret.Text { return s.text }

// IsZero reports whether the setting is missing.
func (s Secret) IsZero() bool { return s.ref == "" && s.text.Empty() }

// Equal reports whether two settings have the same reference and the same secret.
func (s Secret) Equal(other Secret) bool { return s.ref == other.ref && s.text.Equal(other.text) }

// String returns the reference, [redacted] for a literal, or "" if the setting is missing.
func (s Secret) String() string {
	switch {
	case s.ref != "":
		return s.ref
	case s.IsZero():
		return ""
	default:
		return secret.Redacted
	}
}

// Format implements [fmt.Formatter], so that no verb and no flag prints the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON implements [json.Marshaler].
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalYAML implements goccy/go-yaml's InterfaceMarshaler.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseSecret parses a setting. Its error does not quote the text.
func parseSecret(text string) (Secret, error) {
	text = strings.TrimRight(text, "\r\n") // a block scalar ends with a line break
	name, isEnv := strings.CutPrefix(text, "env:")
	path, isFile := strings.CutPrefix(text, "file:")
	switch {
	case text == "":
		return Secret{}, errors.New("is empty")
	case isEnv && !variableName.MatchString(name):
		return Secret{}, errors.New("env: must be followed by the name of a variable")
	case isFile && path == "":
		return Secret{}, errors.New("file: must be followed by a path")
	case isEnv || isFile:
		return Secret{ref: text}, nil
	default:
		return NewSecret(text), nil
	}
}

// Check checks resolved secrets for problems that only their users can find, such as an invalid
// keyset or signing key. It calls refuse with the path and the problem of each setting.
type Check func(c *Config, refuse func(path string, err error))

// LoadSecrets combines [Load] and [Config.ResolveSecrets]. Its [Faults] list the problems of the
// settings, of the secrets and of the checks together.
func LoadSecrets(path string, lookup func(string) (string, bool), checks ...Check) (*Config, error) {
	c, r := load(path, lookup)
	if c != nil {
		c.resolveSecrets(r)
		for _, check := range checks {
			check(c, func(path string, err error) { r.refuse(path, "%v", err) })
		}
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Refuse returns the [Faults] for one setting, with a problem that only the user of the setting
// can find.
func (c *Config) Refuse(path string, err error) error {
	r := newReport(c.origin)
	r.refuse(path, "%v", err)
	return r.err()
}

// ResolveSecrets fetches the secrets that the configuration refers to. env:NAME comes from the
// environment that Load was given. file:PATH comes from the disk; a relative path starts at the
// folder of the configuration file. You can call ResolveSecrets again to read changed secrets.
// Its error is [Faults], with every secret that is unavailable or invalid.
func (c *Config) ResolveSecrets() error {
	r := newReport(c.origin)
	c.resolveSecrets(r)
	return r.err()
}

// resolveSecrets resolves every secret of the configuration and reports the faults.
func (c *Config) resolveSecrets(r *report) {
	c.resolveStore(r)
	for i := range c.Apps {
		token := &c.Apps[i].Token
		path := fmt.Sprintf("apps[%d].token", i)
		resolveURL(r, join(path, "url"), token.URL)
		c.resolve(r, join(path, "secret"), &token.Secret, plausible)
		c.resolve(r, join(path, "access_token"), &token.AccessToken, plausible)
		c.resolve(r, join(path, "header"), &token.Header, headerLine)
		c.resolve(r, join(path, "refresh_token"), &token.RefreshToken, plausible)
	}
	for i := range c.Components {
		component := &c.Components[i]
		path := fmt.Sprintf("components[%d]", i)
		c.resolve(r, join(path, "secret"), &component.Secret, plausible)
		c.resolve(r, join(path, "verify_token"), &component.VerifyToken, plausible)
		c.resolve(r, join(path, "aes_key"), &component.AESKey, pushKey)
	}
	c.resolveWebhooks(r)
	c.resolveAPITLS(r, &c.API.TLS)
	for i := range c.API.Keys {
		c.resolve(r, fmt.Sprintf("api.keys[%d].secret", i), &c.API.Keys[i].Secret, apiKey)
	}
}

// ResolveStore is ResolveSecrets for the store only, for commands that read results.
func (c *Config) ResolveStore() error {
	r := newReport(c.origin)
	c.resolveStore(r)
	return r.err()
}

func (c *Config) resolveStore(r *report) {
	c.resolve(r, "store.dsn", &c.Store.DSN, notRedacted)
	c.resolve(r, "store.keyset", &c.Store.Keyset, notRedacted)
}

// notRedacted accepts every text except the placeholder that config print writes for a secret.
func notRedacted(value string) error {
	if value == secret.Redacted {
		return errRedacted
	}
	return nil
}

// resolve fetches the secret s, validates it with check and stores it. A fault is reported at
// path.
func (c *Config) resolve(r *report, path string, s *Secret, check func(string) error) {
	if s.IsZero() {
		return
	}
	value, err := s.fetch(c.origin)
	if err == nil {
		err = check(value)
	}
	if err != nil {
		r.refuse(path, "%v", err)
		return
	}
	s.text = secret.New(value)
}

// fetch returns the text of a secret: of the variable, of the file, or the literal.
func (s Secret) fetch(o origin) (string, error) {
	if name, ok := strings.CutPrefix(s.ref, "env:"); ok {
		value, set := "", false
		if o.lookup != nil {
			value, set = o.lookup(name)
		}
		if !set {
			return "", fmt.Errorf("the variable %s is not set", name)
		}
		if value == "" {
			return "", fmt.Errorf("the variable %s is empty", name)
		}
		return value, nil
	}
	if path, ok := strings.CutPrefix(s.ref, "file:"); ok {
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(o.file), path)
		}
		value, err := readSecret(path)
		if err != nil {
			return "", fmt.Errorf("reading the secret from %s: %w", path, cause(err))
		}
		return value, nil
	}
	return s.text.Reveal(), nil
}

// readSecret returns the text of a file without trailing line breaks, which editors add.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // the file is only read, so an error of Close has no effect
	text, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecretBytes {
		return "", fmt.Errorf("more than %d bytes", maxSecretBytes)
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" {
		return "", errors.New("the file is empty")
	}
	return value, nil
}

var errRedacted = errors.New("is the placeholder of config print; replace it with the secret")

// plausible rejects a text that cannot be a secret of WeChat's. Its error does not quote the
// text.
func plausible(value string) error {
	switch {
	case value == secret.Redacted:
		return errRedacted
	case strings.ContainsFunc(value, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }):
		return errors.New("must not contain whitespace or control characters")
	default:
		return nil
	}
}
