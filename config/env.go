package config

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
)

const envPrefix = "CLOUDIDQ_"

// envName is the variable that sets the value at path. No variable sets one in a list.
func envName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// overlay writes the variables over the values of the file.
func overlay(r *report, c *Config) {
	// envconfig stops at the first value that it cannot read. That is the last one it found, so it is hidden, and the
	// rest is read once more.
	paths, unread := scalarPaths(reflect.TypeFor[Config](), ""), map[string]bool{}
	for {
		last, value := "", ""
		err := envconfig.ProcessWith(context.Background(), &envconfig.Config{
			Target:           c,
			DefaultOverwrite: true,
			Lookuper: envconfig.PrefixLookuper(envPrefix, envconfig.LookuperFunc(func(name string) (string, bool) {
				text, ok := r.lookup(name)
				if !ok || text == "" || unread[name] {
					return "", false
				}
				r.vars[name] = true
				last, value = name, text
				return text, true
			})),
		})
		if err == nil {
			return
		}
		at := slices.IndexFunc(paths, func(p scalarPath) bool { return envName(p.path) == last })
		if at < 0 {
			panic("config: reading the environment: " + err.Error()) // a wrong env tag
		}
		unread[last] = true
		switch paths[at].kind {
		case secretType: // what it is must not be shown
			_, err := parseSecret(value)
			r.refuse(paths[at].path, "%v", err)
		case durationType:
			r.refuse(paths[at].path, "must be a duration with its unit, such as 500ms or 5s, is %s", show(value))
		default:
			r.refuse(paths[at].path, "must be a whole number, is %s", show(value))
		}
	}
}

type scalarPath struct {
	path string
	kind reflect.Type
}

// scalarPaths lists the settings outside lists: those that have a variable.
func scalarPaths(section reflect.Type, path string) []scalarPath {
	var all []scalarPath
	for _, f := range reflect.VisibleFields(section) {
		name, ok := key(f)
		switch {
		case !ok || f.Type.Kind() == reflect.Slice:
		case isSection(f.Type):
			all = append(all, scalarPaths(f.Type, join(path, name))...)
		default:
			all = append(all, scalarPath{join(path, name), f.Type})
		}
	}
	return all
}
