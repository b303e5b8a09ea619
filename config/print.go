package config

import (
	_ "embed" // the example file
	"fmt"
	"time"

	"github.com/goccy/go-yaml"
)

//go:embed example.yaml
var example string

// Example returns an example file with comments. It can be loaded.
func Example() []byte { return []byte(example) }

// YAML returns the effective configuration: the file, the environment and the defaults in one. Secrets,
// passwords in URLs and the values of their queries are [redacted]; references (env:NAME, file:PATH) are not secret. With the redacted values put
// back it is a file that Load takes.
func (c *Config) YAML() ([]byte, error) {
	text, err := yaml.MarshalWithOptions(c, yaml.IndentSequence(true),
		yaml.CustomMarshaler(func(d time.Duration) ([]byte, error) { return []byte(short(d)), nil }))
	if err != nil {
		return nil, fmt.Errorf("encoding the configuration: %w", err)
	}
	return text, nil
}
