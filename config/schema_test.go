package config_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"cloudidq/config"
)

// compiled returns the schema as compiled by an independent validator.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("config.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func tree(t *testing.T, text string) any {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestSchema_IsUpToDate(t *testing.T) {
	got, err := config.MakeSchema()
	if err != nil {
		t.Fatal(err)
	}
	checkGenerated(t, "schema.json", got)
}

func TestSchema_AcceptsWhatLoadAccepts(t *testing.T) {
	t.Parallel()
	schema := compiled(t)
	for _, text := range []string{
		strings.Replace(minimal, "off", "off, driver: postgres, dsn: env:D", 1),
		strings.Replace(minimal, "off", "off, driver: redis", 1),
		string(config.Example()), minimal, printable, yamlOf(t, load(t, printable, nil)),
		with("redis: {url: embedded}\n"),
		with("worker: {shutdown_timeout: 1500.5ms}\nwechat: {timeout: 1s500ms}\n"),
	} {
		load(t, text, nil)
		if err := schema.Validate(tree(t, text)); err != nil {
			t.Errorf("Validate() = %v\n%s", err, text)
		}
	}
}

func TestSchema_RejectsWhatLoadRejects(t *testing.T) {
	t.Parallel()
	schema := compiled(t)
	for _, text := range []string{
		"{}\n",
		with("foo: 1\n"),
		with("components: [{appid: wxc}]\n"),
		with("api: {keys: [{name: a, secret: 0123456789abcdef}]}\n"),
		with("api: {keys: [{secret: 0123456789abcdef, scopes: [read]}]}\n"),
		with("worker: {concurrency: 0}\n"),
		with("worker: {concurrency: 4097}\n"),
		with("worker: {shutdown_timeout: 20}\n"),
		with("worker: {shutdown_timeout: '20'}\n"),
		with("worker: {shutdown_timeout: -20s}\n"),
		with("log: {level: loud}\n"),
		with("redis: {url: localhost}\n"),
		strings.Replace(minimal, "off", "keyset", 1),
		strings.Replace(minimal, "off", "off, driver: postgres", 1),
		strings.Replace(minimal, "off", "off, driver: redis, dsn: env:D", 1),
		strings.Replace(minimal, "off", "off, dsn: env:D", 1),
		strings.Replace(minimal, "encryption: off", "", 1),
		"store: {encryption: off}\napps: []\n",
		app("appid: 'a b'", "token: {mode: static, access_token: t}"),
		app("token: {mode: static, access_token: t}"),
		app("appid: wx1"),
		app("appid: wx1", "token: {mode: static}"),
		app("appid: wx1", "token: {mode: stable, access_token: t}"),
		app("appid: wx1", "token: {mode: stable, secret: s, access_token: t}"),
		app("appid: wx1", "token: {mode: sidecar, secret: s}"),
		app("appid: wx1", "token: {mode: remote, header: 'a: b'}"),
		app("appid: wx1", "token: {mode: component, refresh_token: r}"),
		app("appid: wx1", "token: {mode: static, access_token: ''}"),
		with("webhooks: [{name: orders, url: 'https://example.com'}]\n"),
		with("webhooks: [{name: a.b, url: 'https://example.com', secrets: [s]}]\n"),
		with("webhooks: [{name: a, url: 'https://example.com', secrets: [s], payload: both}]\n"),
	} {
		faults(t, text, nil)
		if err := schema.Validate(tree(t, text)); err == nil {
			t.Errorf("Validate() accepts a file that Load rejects:\n%s", text)
		}
	}
}

func TestSchema_EverySettingIsDescribed(t *testing.T) {
	t.Parallel()
	var walk func(path string, s *jsonschema.Schema)
	walk = func(path string, s *jsonschema.Schema) {
		if scalar := strings.HasSuffix(path, "[]") && s.Properties == nil; s.Description == "" && !scalar {
			t.Errorf("%s has no description", path)
		}
		for name, property := range s.Properties {
			walk(path+"."+name, property)
		}
		if items, ok := s.Items2020, s.Items2020 != nil; ok {
			walk(path+"[]", items)
		}
	}
	root := compiled(t)
	if root.AdditionalProperties != false {
		t.Errorf("additionalProperties = %v, want false", root.AdditionalProperties)
	}
	walk("", root)
}
