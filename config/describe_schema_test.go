package config

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

// durationPattern matches the durations that [time.ParseDuration] accepts, without a sign.
const durationPattern = `^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$`

// MakeSchema generates schema.json from the types of the configuration. Its descriptions are the
// comments of the fields.
func MakeSchema() ([]byte, error) {
	descriptions, err := fieldComments()
	if err != nil {
		return nil, err
	}
	reflector := jsonschema.Reflector{
		FieldNameTag:               "yaml",
		Anonymous:                  true,
		DoNotReference:             true,
		ExpandedStruct:             true,
		RequiredFromJSONSchemaTags: true,
		Mapper:                     scalarSchema,
		LookupComment:              descriptions.of,
	}
	schema := reflector.Reflect(Config{})
	schema.Title = "cloudidq configuration"
	addTags(schema, reflect.TypeFor[Config]())
	addTokenModes(schema)
	addEitherOr(schema, "apps", "components")
	addSealing(schema)
	addDriver(schema)
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the schema: %w", err)
	}
	return append(text, '\n'), nil
}

// scalarSchema returns the schema of a type whose form in the file differs from its form in Go, or
// nil.
func scalarSchema(t reflect.Type) *jsonschema.Schema {
	switch t {
	case durationType:
		return &jsonschema.Schema{Type: "string", Pattern: durationPattern}
	case secretType:
		least := uint64(1)
		return &jsonschema.Schema{Type: "string", MinLength: &least}
	case urlType:
		return &jsonschema.Schema{Type: "string"}
	case redisURLType:
		const pattern = `^((redis|rediss|redis-sentinel|redis-cluster|embedded)://.+|embedded)$`
		return &jsonschema.Schema{Type: "string", Pattern: pattern}
	default:
		return nil
	}
}

// addTags adds the constraints of the tags to the schema of a section.
func addTags(schema *jsonschema.Schema, section reflect.Type) {
	for _, f := range reflect.VisibleFields(section) {
		name, ok := key(f)
		if !ok {
			continue
		}
		field, _ := schema.Properties.Get(name)
		switch {
		case isSection(f.Type):
			addTags(field, f.Type)
		case f.Type.Kind() == reflect.Slice && !isSection(f.Type.Elem()):
		case f.Type.Kind() == reflect.Slice:
			addTags(field.Items, f.Type.Elem())
		default:
			addScalarTags(field, f)
		}
	}
}

func addScalarTags(schema *jsonschema.Schema, f reflect.StructField) {
	for _, word := range words(f) {
		schema.Enum = append(schema.Enum, word)
	}
	if f.Type.Kind() == reflect.Int {
		schema.Minimum, schema.Maximum = json.Number(f.Tag.Get("min")), json.Number(f.Tag.Get("max"))
	}
	if text, ok := f.Tag.Lookup("default"); ok {
		schema.Default = text
		if n, err := strconv.Atoi(text); err == nil {
			schema.Default = n
		}
	}
}

// addTokenModes adds the rules for which fields each mode requires and allows.
func addTokenModes(schema *jsonschema.Schema) {
	apps, _ := schema.Properties.Get("apps")
	token, _ := apps.Items.Properties.Get("token")
	for _, mode := range tokenModes() {
		properties, required := jsonschema.NewProperties(), []string{"mode"}
		properties.Set("mode", &jsonschema.Schema{Const: mode})
		for _, field := range tokenFields {
			if slices.Contains(field.modes, mode) {
				properties.Set(field.key, jsonschema.TrueSchema)
				if !field.optional {
					required = append(required, field.key)
				}
			}
		}
		token.OneOf = append(token.OneOf, &jsonschema.Schema{
			Properties: properties, Required: required, AdditionalProperties: jsonschema.FalseSchema})
	}
}

// addEitherOr requires at least one element in one of the lists.
func addEitherOr(schema *jsonschema.Schema, lists ...string) {
	one := uint64(1)
	for _, list := range lists {
		properties := jsonschema.NewProperties()
		properties.Set(list, &jsonschema.Schema{MinItems: &one})
		schema.AnyOf = append(schema.AnyOf, &jsonschema.Schema{Properties: properties, Required: []string{list}})
	}
}

// addSealing requires a keyset unless encryption is off.
func addSealing(schema *jsonschema.Schema) {
	stores, _ := schema.Properties.Get("store")
	off := jsonschema.NewProperties()
	off.Set("encryption", &jsonschema.Schema{Const: EncryptionOff})
	off.Set("keyset", jsonschema.FalseSchema)
	on := jsonschema.NewProperties()
	on.Set("encryption", &jsonschema.Schema{Const: EncryptionKeyset})
	stores.OneOf = []*jsonschema.Schema{
		{Properties: off, Required: []string{"encryption"}},
		{Properties: on, Required: []string{"keyset"}},
	}
}

// addDriver requires a DSN for driver postgres and forbids it otherwise.
func addDriver(schema *jsonschema.Schema) {
	stores, _ := schema.Properties.Get("store")
	redis := jsonschema.NewProperties()
	redis.Set("driver", &jsonschema.Schema{Const: DriverRedis})
	redis.Set("dsn", jsonschema.FalseSchema)
	postgres := jsonschema.NewProperties()
	postgres.Set("driver", &jsonschema.Schema{Const: DriverPostgres})
	stores.AnyOf = []*jsonschema.Schema{
		{Properties: redis},
		{Properties: postgres, Required: []string{"driver", "dsn"}},
	}
}

// comments maps Type.Field to the comment of a field, and Type to the comment of a type.
type comments map[string]string

func fieldComments() (comments, error) {
	c := comments{}
	for _, name := range []string{"config.go", "apps.go", "webhooks.go", "api.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the comments: %w", err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("reading the comments: %w", err)
		}
		c.addFile(file)
	}
	return c, nil
}

func (c comments) addFile(file *ast.File) {
	for _, decl := range file.Decls {
		types, ok := decl.(*ast.GenDecl)
		if !ok || types.Tok != token.TYPE {
			continue
		}
		for _, spec := range types.Specs {
			c.add(types.Doc, spec.(*ast.TypeSpec))
		}
	}
}

func (c comments) add(doc *ast.CommentGroup, spec *ast.TypeSpec) {
	text := func(group *ast.CommentGroup) string { return strings.Join(strings.Fields(group.Text()), " ") }
	c[spec.Name.Name] = text(doc)
	structure, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, field := range structure.Fields.List {
		if len(field.Names) == 0 { // the fields of an embedded section are listed under its type
			continue
		}
		c[spec.Name.Name+"."+field.Names[0].Name] = text(field.Doc)
	}
}

// of returns the comment of a field with the Go name replaced by the YAML key. If the field has no
// comment, it returns the comment of the field's type.
func (c comments) of(t reflect.Type, field string) string {
	if field == "" {
		return c[t.Name()]
	}
	f, _ := t.FieldByName(field)
	text := c[t.Name()+"."+field]
	if text == "" {
		return c[f.Type.Name()]
	}
	if name, ok := key(f); ok {
		if rest, ok := strings.CutPrefix(text, field+" "); ok {
			return name + " " + rest
		}
	}
	return text
}
