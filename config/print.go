package config

import (
	_ "embed" // the example file
	"fmt"
	"time"

	"github.com/goccy/go-yaml"
)

//go:embed example.yaml
var example string

// Example returns a commented example file, which Load accepts.
func Example() []byte { return []byte(example) }

// YAML returns the effective configuration: file, environment and defaults combined. Secrets,
// passwords in URLs and the query values of URLs appear as [redacted]. References (env:NAME,
// file:PATH) are not secret and appear as they are. If you restore the redacted values, Load
// accepts the file.
func (c *Config) YAML() ([]byte, error) {
	text, err := yaml.MarshalWithOptions(c, yaml.IndentSequence(true),
		yaml.CustomMarshaler(func(d time.Duration) ([]byte, error) { return []byte(short(d)), nil }))
	if err != nil {
		return nil, fmt.Errorf("encoding the configuration: %w", err)
	}
	return text, nil
}
