package config

import (
	"reflect"
	"strconv"
	"strings"
	"time"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[Secret]()
	redisURLType = reflect.TypeFor[RedisURL]()
	urlType      = reflect.TypeFor[URL]()
)

// isSection reports whether t is a struct of settings and not a scalar.
func isSection(t reflect.Type) bool { return t.Kind() == reflect.Struct && t != secretType }

// key returns the YAML key of a field. A field without a key is not part of the file.
func key(f reflect.StructField) (string, bool) {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name, name != ""
}

// keys returns the YAML keys of a section, in the order of the file.
func keys(t reflect.Type) []string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if name, ok := key(f); ok {
			names = append(names, name)
		}
	}
	return names
}

// words returns the accepted values of a field with the tag oneof.
func words(f reflect.StructField) []string {
	if f.Tag.Get("oneof") == "" {
		return nil
	}
	return strings.Split(f.Tag.Get("oneof"), ",")
}

// join returns the path of a key inside of path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// parent removes the last key or index from a path. The parent of a top-level key is "".
func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

// setDefaults sets the fields of a section to the values of their default tags. Lists remain
// empty.
func setDefaults(section reflect.Value) {
	for _, f := range reflect.VisibleFields(section.Type()) {
		if _, ok := key(f); !ok {
			continue
		}
		v := section.FieldByIndex(f.Index)
		if isSection(f.Type) {
			setDefaults(v)
		} else if text, ok := f.Tag.Lookup("default"); ok {
			setScalar(v, text)
		}
	}
}

// setScalar parses the text of a tag into a field.
func setScalar(v reflect.Value, text string) {
	if v.Kind() == reflect.String {
		v.SetString(text)
	} else {
		v.SetInt(number(v.Type(), text))
	}
}

// number parses a whole number or a duration from a tag.
func number(t reflect.Type, text string) int64 {
	if t == durationType {
		d, err := time.ParseDuration(text)
		if err != nil {
			panic("config: a tag holds no duration: " + text)
		}
		return int64(d)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		panic("config: a tag holds no number: " + text)
	}
	return int64(n)
}

// written formats a whole number or a duration as in the file.
func written(t reflect.Type, n int64) string {
	if t == durationType {
		return short(time.Duration(n))
	}
	return strconv.FormatInt(n, 10)
}

// short formats a duration without the zero units that [time.Duration.String] appends: 24h
// instead of 24h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
