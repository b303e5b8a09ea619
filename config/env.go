package config

import (
	"reflect"
	"strconv"
	"strings"
	"time"
)

const envPrefix = "CLOUDIDQ_"

// envName is the variable that sets the value at path. No variable sets one in a list.
func envName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// overlay writes the variables over the values of a section. An empty variable is as good as none.
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
				overlayScalar(r, field, at, text)
			}
		}
	}
}

// hasVariable reports whether a variable sets a field, or the fields within. A list has none.
func hasVariable(f reflect.StructField) bool { return f.Type.Kind() != reflect.Slice }

// overlayScalar writes the text of a variable into a field of any type.
func overlayScalar(r *report, field reflect.Value, path, text string) {
	switch {
	case field.Type() == secretType:
		s, err := parseSecret(text)
		if err != nil { // it does not show what it is
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
