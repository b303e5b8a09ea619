package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Fault is one problem of the configuration. Its text never contains a secret.
type Fault struct {
	File     string // the file; empty if there is none
	Line     int    // line in the file, starting at 1; 0 if the fault belongs to no line
	Variable string // environment variable that set the value, instead of File and Line
	Path     string // the setting, such as apps[0].token.secret; empty for the file as a whole
	Message  string
}

// String returns "file:line: path: message" or "VARIABLE: path: message".
func (f Fault) String() string {
	var parts []string
	switch {
	case f.Variable != "":
		parts = append(parts, f.Variable)
	case f.File != "" && f.Line > 0:
		parts = append(parts, fmt.Sprintf("%s:%d", f.File, f.Line))
	case f.File != "":
		parts = append(parts, f.File)
	}
	if f.Path != "" {
		parts = append(parts, f.Path)
	}
	return strings.Join(append(parts, f.Message), ": ")
}

// Faults is the error of [Load], [Config.Validate] and [Config.ResolveSecrets]. It lists every
// problem, sorted by line. Faults of environment variables come last.
type Faults []Fault

// Error returns one fault per line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// origin records where the values of a configuration came from. The zero value is for a
// configuration created in code.
type origin struct {
	file   string
	lines  map[string]int              // path → line
	vars   map[string]bool             // variables that set a value
	lookup func(string) (string, bool) // the environment, for resolving secrets
}

// report collects the faults of one pass.
type report struct {
	origin
	faults Faults
	// Paths whose value could not be read or was refused. Faults below them are not reported.
	broken map[string]bool
}

func newReport(o origin) *report { return &report{origin: o, broken: map[string]bool{}} }

// refuse adds a fault about the value at path. It adds at most one fault per path, and none
// below a refused path. If the file does not contain the path, the fault gets the line of the
// nearest parent.
func (r *report) refuse(path, format string, args ...any) {
	if r.isBroken(path) {
		return
	}
	r.broken[path] = true
	fault := Fault{Path: path, Message: fmt.Sprintf(format, args...)}
	if name := envName(path); r.vars[name] {
		fault.Variable = name
	} else {
		fault.File, fault.Line = r.file, r.line(path)
	}
	r.faults = append(r.faults, fault)
}

// at adds a fault at a line of the file.
func (r *report) at(line int, path, format string, args ...any) {
	r.faults = append(r.faults, Fault{File: r.file, Line: line, Path: path, Message: fmt.Sprintf(format, args...)})
}

// isBroken reports whether path, or a part above it, has already been refused.
func (r *report) isBroken(path string) bool {
	for ; path != ""; path = parent(path) {
		if r.broken[path] {
			return true
		}
	}
	return r.broken[""]
}

// line returns the line of path or of its nearest parent. It is 0 if there is no file.
func (r *report) line(path string) int {
	if r.file == "" {
		return 0
	}
	for ; path != ""; path = parent(path) {
		if line, ok := r.lines[path]; ok {
			return line
		}
	}
	return 1
}

// err returns the faults sorted by line, or nil.
func (r *report) err() error {
	if len(r.faults) == 0 {
		return nil
	}
	// Faults without a line come last.
	line := func(f Fault) int {
		if f.Line == 0 {
			return math.MaxInt
		}
		return f.Line
	}
	slices.SortStableFunc(r.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(line(a), line(b)), strings.Compare(a.Variable, b.Variable))
	})
	return r.faults
}
