package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// description is an OpenAPI document that requests and responses are checked against.
type description struct {
	Version string                          `json:"openapi"`
	Paths   map[string]map[string]operation `json:"paths"`

	mu       sync.Mutex // guards compiler
	compiler *jsonschema.Compiler
}

// operation describes one method of a path.
type operation struct {
	ID          string            `json:"operationId"`
	Parameters  []parameter       `json:"parameters"`
	RequestBody *content          `json:"requestBody"`
	Responses   map[string]answer `json:"responses"`
}

// parameter describes a parameter of an operation.
type parameter struct {
	In, Name string
	Required bool
}

// content describes the body of a request, per media type.
type content struct {
	Required bool
	Content  map[string]mediaType
}

// answer describes the response with one status.
type answer struct {
	Headers map[string]struct {
		Required bool
		Schema   any
	}
	Content map[string]mediaType
}

// mediaType holds the schema of a body; nil = any body.
type mediaType struct{ Schema any }

// documentURL is the URL of the document among the schemas.
const documentURL = "https://cloudidq.invalid/openapi.json"

// newDescription parses an OpenAPI 3.1 document, in YAML or JSON. It rejects a document that
// violates OpenAPI's schemas, that has a reference to nothing, or whose paths and operations
// contradict each other.
func newDescription(text []byte) (*description, error) {
	text, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	rules, err := openAPISchema()
	if err != nil {
		return nil, err
	}
	if err := rules.Validate(doc); err != nil {
		return nil, err
	}
	d := &description{compiler: newCompiler()}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, err
	}
	if err := d.compiler.AddResource(documentURL, doc); err != nil {
		return nil, err
	}
	return d, errors.Join(d.compileAll("", doc), d.consistent())
}

// newCompiler returns a compiler that also checks formats, including those of OpenAPI.
func newCompiler() *jsonschema.Compiler {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, f := range openAPIFormats {
		c.RegisterFormat(f)
	}
	return c
}

// openAPISchema returns the schema of OpenAPI 3.1 together with the schema of the schemas in a
// document. OpenAPI publishes it as schema-base.
var openAPISchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	const at = "https://spec.openapis.org/oas/3.1/"
	c := newCompiler()
	for name, file := range map[string]string{"schema/2026-08-03": "schema.json", "dialect/base": "dialect.json", "meta/base": "meta.json"} {
		text, err := os.ReadFile("testdata/openapi-3.1/" + file)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if err := c.AddResource(at+name, doc); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	base := map[string]any{
		"$id": at + "schema-base", "$ref": at + "schema/2026-08-03",
		"$defs": map[string]any{"schema": map[string]any{"$dynamicAnchor": "meta", "$ref": at + "dialect/base"}},
	}
	if err := c.AddResource(at+"schema-base", base); err != nil {
		return nil, err
	}
	return c.Compile(at + "schema-base")
})

// schemaAt compiles the schema at a JSON pointer in the document.
func (d *description) schemaAt(pointer string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.compiler.Compile(documentURL + "#" + pointer)
}

// pointer joins keys to a JSON pointer that is escaped for a URL.
func pointer(keys ...string) string {
	var b strings.Builder
	for _, key := range keys {
		b.WriteString("/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(key)))
	}
	return b.String()
}

// compileAll compiles every schema of the document, which checks that every reference leads to
// something.
func (d *description) compileAll(at string, node any) error {
	var errs []error
	switch node := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(node)) {
			here := at + pointer(key)
			if key == "schema" || at == "/components/schemas" {
				if _, err := d.schemaAt(here); err != nil {
					errs = append(errs, err)
				}
				continue
			}
			errs = append(errs, d.compileAll(here, node[key]))
		}
	case []any:
		for i, item := range node {
			errs = append(errs, d.compileAll(fmt.Sprintf("%s/%d", at, i), item))
		}
	}
	return errors.Join(errs...)
}

var placeholders = regexp.MustCompile(`\{([^}]*)\}`)

// consistent checks what a schema cannot express: operation ids are unique, and the parameters
// in a path match the described ones.
func (d *description) consistent() error {
	var errs []error
	seen := map[string]string{}
	for path, methods := range d.Paths {
		var inPath []string
		for _, match := range placeholders.FindAllStringSubmatch(path, -1) {
			inPath = append(inPath, match[1])
		}
		slices.Sort(inPath)
		for method, op := range methods {
			at := method + " " + path
			if other, ok := seen[op.ID]; ok || op.ID == "" {
				errs = append(errs, fmt.Errorf("%s: operationId %q is empty or also used by %q", at, op.ID, other))
			}
			seen[op.ID] = at
			var described []string
			for _, p := range op.Parameters {
				if p.In == "path" && p.Required {
					described = append(described, p.Name)
				}
			}
			if slices.Sort(described); !slices.Equal(described, inPath) {
				errs = append(errs, fmt.Errorf("%s: path parameters are %q, but %q are described", at, inPath, described))
			}
		}
	}
	return errors.Join(errs...)
}

// committed returns docs/openapi.yaml.
func committed(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// openAPIFormats holds the number formats that OpenAPI adds to those of JSON Schema.
var openAPIFormats = []*jsonschema.Format{
	{Name: "int32", Validate: func(v any) error { return integer(v, 32) }},
	{Name: "int64", Validate: func(v any) error { return integer(v, 64) }},
	{Name: "double", Validate: func(v any) error {
		n, ok := v.(json.Number)
		if !ok {
			return nil // the schema checks the type
		}
		_, err := strconv.ParseFloat(n.String(), 64)
		return err
	}},
}

// integer returns nil if v is an integer with at most the given number of bits, or no number at all.
func integer(v any, bits int) error {
	n, ok := v.(json.Number)
	if !ok {
		return nil
	}
	if _, err := strconv.ParseInt(n.String(), 10, bits); err != nil {
		return fmt.Errorf("not an integer of %d bits", bits)
	}
	return nil
}
