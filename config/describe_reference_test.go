package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
)

// MakeReference makes docs/configuration.md: a description of every setting in Markdown: its key, its default, what it takes, its variable, and
// the comment of its Go field.
func MakeReference() ([]byte, error) {
	descriptions, err := fieldComments()
	if err != nil {
		return nil, err
	}
	r := reference{descriptions: descriptions}
	r.out.WriteString(referenceHead)
	r.section(reflect.TypeFor[Config](), "", false)
	return r.out.Bytes(), nil
}

const referenceHead = `# Configuration

<!-- Made by ` + "`go test ./config -run TestReference -update`" + ` from the comments and tags in config/. -->

One YAML file, named by ` + "`--config` or `CLOUDIDQ_CONFIG`" + `. Unknown keys are faults, and all faults are told at once with
their lines. A variable overrides a setting outside of a list. A secret is ` + "`env:NAME`, `file:PATH`" + ` (from the folder of
the configuration) or the value itself. ` + "`cloudidq config example`" + ` prints a file to start from, ` + "`config schema`" + ` a JSON
Schema for editors, ` + "`config print`" + ` what is in effect, with secrets redacted.
`

// reference writes the document.
type reference struct {
	descriptions comments
	out          bytes.Buffer
	inList       bool // the last line is one of a list
}

// section writes one section: its scalars as a list, then the sections within. A section that is listed, one of
// many, has no variables.
func (r *reference) section(t reflect.Type, path string, listed bool) {
	var within []reflect.StructField
	for _, f := range reflect.VisibleFields(t) {
		if _, ok := key(f); !ok {
			continue
		}
		if nested(f) != nil {
			within = append(within, f)
			continue
		}
		r.setting(t, f, path, listed)
	}
	for _, f := range within {
		r.nested(t, f, path, listed)
	}
}

// nested is the type of the section that a field holds, alone or in a list; nil for a setting.
func nested(f reflect.StructField) reflect.Type {
	switch {
	case isSection(f.Type):
		return f.Type
	case f.Type.Kind() == reflect.Slice && isSection(f.Type.Elem()):
		return f.Type.Elem()
	default:
		return nil
	}
}

func (r *reference) nested(t reflect.Type, f reflect.StructField, path string, listed bool) {
	name, _ := key(f)
	at := join(path, name)
	if !hasVariable(f) {
		at += "[]"
	}
	r.inList = false
	fmt.Fprintf(&r.out, "\n## `%s`\n\n%s\n", at, sentence(r.descriptions.of(t, f.Name)))
	r.section(nested(f), at, listed || !hasVariable(f))
}

// setting writes one line of a list.
func (r *reference) setting(t reflect.Type, f reflect.StructField, path string, listed bool) {
	name, _ := key(f)
	if !r.inList {
		r.out.WriteByte('\n')
	}
	r.inList = true
	var facts []string
	if text, ok := f.Tag.Lookup("default"); ok {
		facts = append(facts, "default `"+text+"`")
	}
	if !listed && hasVariable(f) {
		facts = append(facts, "`"+envName(join(path, name))+"`")
	}
	line := "- **`" + join(path, name) + "`**"
	if len(facts) > 0 {
		line += " (" + strings.Join(facts, ", ") + ")"
	}
	r.out.WriteString(line + ": " + clause(r.descriptions.of(owner(t, f), f.Name), name) + "\n")
}

// owner is the section that declares a field, which may be one that is inlined into t.
func owner(t reflect.Type, f reflect.StructField) reflect.Type {
	if len(f.Index) == 1 {
		return t
	}
	return t.FieldByIndex(f.Index[:len(f.Index)-1]).Type
}

// clause is a comment without the name that it begins with: "batch_max is how many …" becomes "how many …".
func clause(comment, name string) string {
	for _, verb := range []string{" is ", " are ", " says ", " limits ", " tells "} {
		if rest, ok := strings.CutPrefix(comment, name+verb); ok {
			if verb == " is " || verb == " are " {
				return rest
			}
			return strings.TrimSpace(verb) + " " + rest
		}
	}
	return strings.TrimPrefix(comment, name+" ")
}

// sentence begins with a capital letter.
func sentence(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
