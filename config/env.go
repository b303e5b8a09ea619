package config

import (
	"reflect"
	"strconv"
	"strings"
	"time"
)

const envPrefix = "CLOUDIDQ_"

// envName returns the variable that sets the value at path. Values in a list have no variable.
func envName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// overlay sets the values of a section from their variables. An empty variable counts as unset.
func overlay(r *report, section reflect.Value, path string) {
	for _, f := range reflect.VisibleFields(section.Type()) {
		name, ok := key(f)
		at, field := join(path, name), section.FieldByIndex(f.Index)
		switch {
		case !ok || !hasVariable(f):
		case isSection(f.Type):
			overlay(r, field, at)
		default:
			if text, _ := r.lookup(envName(at)); text != "" {
				r.vars[envName(at)] = true
				setText(r, field, at, text)
			}
		}
	}
}

// hasVariable reports whether a variable can set a field, or the fields inside. A list has no
// variable.
func hasVariable(f reflect.StructField) bool { return f.Type.Kind() != reflect.Slice }

// setText parses a text, of a variable or of the file, into a field of any type.
func setText(r *report, field reflect.Value, path, text string) {
	switch {
	case field.Type() == secretType:
		s, err := parseSecret(text)
		if err != nil { // the error does not quote the text
			r.refuse(path, "%v", err)
		}
		field.Set(reflect.ValueOf(s))
	case field.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			r.refuse(path, "must be a duration with its unit, such as 500ms or 5s, is %s", show(text))
			return
		}
		field.SetInt(int64(d))
	case field.Kind() == reflect.Int:
		n, err := strconv.ParseInt(text, 0, field.Type().Bits())
		if err != nil {
			r.refuse(path, "must be a whole number, is %s", show(text))
			return
		}
		field.SetInt(n)
	default:
		field.SetString(text)
	}
}
