package config

import (
	"fmt"
	"reflect"
	"regexp"

	"github.com/goccy/go-yaml/ast"
)

// decoder writes a YAML tree into the configuration. It replaces go-yaml's own decoder, which
// stops at the first fault and quotes the source in its errors.
type decoder struct{ *report }

// decode writes a YAML tree into the configuration and reports every fault.
func decode(r *report, root ast.Node, config reflect.Value) {
	decoder{r}.section(root, "", config)
}

// value writes one node into a field of any kind.
func (d decoder) value(node ast.Node, path string, dst reflect.Value) {
	switch {
	case isSection(dst.Type()):
		d.section(node, path, dst)
	case dst.Kind() == reflect.Slice:
		d.list(node, path, dst)
	default:
		d.scalar(node, path, dst)
	}
}

// section writes a mapping into a struct. If a key has no content, the defaults remain.
func (d decoder) section(node ast.Node, path string, dst reflect.Value) {
	if isNull(node) {
		return
	}
	mapping, ok := node.(ast.MapNode)
	if !ok {
		d.refuse(path, "must be a mapping of settings, is %s", describe(node))
		return
	}
	first := map[string]int{}
	for entries := mapping.MapRange(); entries.Next(); {
		entry := entries.KeyValue()
		name, line := entry.Key.String(), lineOf(entry.Key)
		if text, ok := entry.Key.(*ast.StringNode); ok {
			name = text.Value
		}
		if at, twice := first[name]; twice {
			d.at(line, d.shown(path, name), "duplicate key, first on line %d", at)
			continue
		}
		first[name] = line
		if field, ok := fieldOf(dst, name); ok {
			d.lines[join(path, name)] = line
			d.value(entry.Value, join(path, name), field)
		} else {
			d.unknown(line, path, name, dst.Type())
		}
	}
}

// fieldOf returns the field of a key.
func fieldOf(section reflect.Value, name string) (reflect.Value, bool) {
	for _, f := range reflect.VisibleFields(section.Type()) {
		if k, ok := key(f); ok && k == name {
			return section.FieldByIndex(f.Index), true
		}
	}
	return reflect.Value{}, false
}

// list writes a sequence into a slice. Every element starts with its defaults.
func (d decoder) list(node ast.Node, path string, dst reflect.Value) {
	if isNull(node) {
		return
	}
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		d.refuse(path, "must be a list, is %s", describe(node))
		return
	}
	dst.Set(reflect.MakeSlice(dst.Type(), len(sequence.Values), len(sequence.Values)))
	for i, item := range sequence.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item != nil {
			d.lines[at] = lineOf(item)
		}
		if isSection(dst.Index(i).Type()) {
			setDefaults(dst.Index(i))
		}
		d.value(item, at, dst.Index(i))
	}
}

// scalar writes a single value. It is strict about types: without quotes, 007 would lose its
// zeros as a text.
func (d decoder) scalar(node ast.Node, path string, dst reflect.Value) {
	if isNull(node) {
		d.refuse(path, "has no value")
		return
	}
	text, isText := textOf(node)
	switch {
	case dst.Type() == durationType && !isText:
		d.refuse(path, "must be a duration with its unit, such as 500ms or 5s, is %s", describe(node))
	case dst.Kind() == reflect.Int:
		if n, ok := wholeOf(node); ok {
			dst.SetInt(int64(n))
		} else {
			d.refuse(path, "must be a whole number, is %s", describe(node))
		}
	case !isText:
		d.refuse(path, "must be a text, is %s%s", describe(node), quotesHint(node))
	default:
		setText(d.report, dst, path, text)
	}
}

// unknown reports an unknown key, which is most likely a typing error.
func (d decoder) unknown(line int, path, name string, section reflect.Type) {
	at := d.shown(path, name)
	if name == "<<" {
		d.at(line, at, "merge keys are not supported; write the settings out")
		return
	}
	hint := ""
	if at != path {
		if near, ok := nearest(name, keys(section)); ok {
			hint = "; did you mean " + near + "?"
		}
	}
	d.at(line, at, "unknown key%s", hint)
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.<-]{1,24}$`)

// shown returns the path of a key for a message. It omits a name that does not look like a key,
// because it might be a secret in the wrong place.
func (decoder) shown(path, name string) string {
	if plainKey.MatchString(name) {
		return join(path, name)
	}
	return path
}
