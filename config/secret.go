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

// Secret is a setting that must not be printed. In the file it is env:NAME, file:PATH, or the secret itself. Printed,
// it is the reference, which tells nothing, or [redacted].
type Secret struct {
	ref  string      // env:NAME or file:PATH; empty for a literal
	text secret.Text // empty until resolved
}

// NewSecret makes a literal, for a configuration that is made in code.
func NewSecret(value string) Secret { return Secret{text: secret.New(value)} }

// Text is the secret itself. That of a reference is empty before [Config.ResolveSecrets].
func (s Secret) Text() secret.Text { return s.text }

// IsZero reports whether the setting is missing.
func (s Secret) IsZero() bool { return s.ref == "" && s.text.Empty() }

// Equal reports whether two settings are the same reference and the same secret.
func (s Secret) Equal(other Secret) bool { return s.ref == other.ref && s.text.Equal(other.text) }

// String is the reference, or [redacted].
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

// MarshalYAML is what goccy/go-yaml asks (its InterfaceMarshaler).
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseSecret reads a setting. Its error does not quote it.
func parseSecret(text string) (Secret, error) {
	text = strings.TrimRight(text, "\r\n") // the end of a block scalar
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

// Check looks at secrets that have been fetched, for what only their users can tell: whether they are a keyset, or a key
// to sign with. It calls refuse with the path of a setting that is wrong.
type Check func(c *Config, refuse func(path string, err error))

// LoadSecrets is [Load] and [Config.ResolveSecrets] in one, for what wants both: its [Faults] are those of the settings, of
// the secrets, and what the checks refuse, all at once.
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

// Refuse is the [Faults] of one setting that is wrong in a way which only its user can tell.
func (c *Config) Refuse(path string, err error) error {
	r := newReport(c.origin)
	r.refuse(path, "%v", err)
	return r.err()
}

// ResolveSecrets fetches the secrets that the configuration refers to: env:NAME from the environment that Load was
// given, file:PATH from the disk, a relative path from the folder of the configuration file. It can be called again
// to read changed ones. Its error is [Faults], with every secret that is not to be had.
func (c *Config) ResolveSecrets() error {
	r := newReport(c.origin)
	c.resolveSecrets(r)
	return r.err()
}

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

// ResolveStore is ResolveSecrets for the store alone: what commands need that read results.
func (c *Config) ResolveStore() error {
	r := newReport(c.origin)
	c.resolveStore(r)
	return r.err()
}

func (c *Config) resolveStore(r *report) {
	c.resolve(r, "store.dsn", &c.Store.DSN, notRedacted)
	c.resolve(r, "store.keyset", &c.Store.Keyset, notRedacted)
}

// notRedacted takes everything but what stands for a secret in the output of config print.
func notRedacted(value string) error {
	if value == secret.Redacted {
		return errRedacted
	}
	return nil
}

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

// readSecret returns the text of a file without the line end that editors leave.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
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

var errRedacted = errors.New("is what config print writes in the place of a secret; put the secret back")

// plausible refuses what cannot be a secret of WeChat. Its error does not quote it.
func plausible(value string) error {
	switch {
	case value == secret.Redacted:
		return errRedacted
	case strings.ContainsFunc(value, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }):
		return errors.New("holds a blank, a line end or a control character")
	default:
		return nil
	}
}
