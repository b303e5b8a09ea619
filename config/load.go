package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a file. The time and memory of goccy/go-yaml v1.19.2 grow with the square of the
// nesting and of the number of keys in one mapping: a hundred thousand open brackets take
// minutes. A file with 3000 apps is within the limits.
const (
	maxFileBytes = 1 << 20
	maxTokens    = 100_000
	maxNesting   = 32
)

// Load reads the file at path and applies the environment variables that lookup returns
// ([os.LookupEnv]; nil for none). It does not resolve secrets. Its error is [Faults].
//
// Every setting outside a list has a variable: CLOUDIDQ_ and the path in upper case, such as
// CLOUDIDQ_WORKER_CONCURRENCY. An empty variable counts as unset.
func Load(path string, lookup func(string) (string, bool)) (*Config, error) {
	c, r := load(path, lookup)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// load is Load, but it returns the faults in their report. The configuration is nil if the file
// could not be read or parsed.
func load(path string, lookup func(string) (string, bool)) (*Config, *report) {
	if lookup == nil {
		lookup = func(string) (string, bool) { return "", false }
	}
	r := newReport(origin{file: path, lines: map[string]int{}, vars: map[string]bool{}, lookup: lookup})
	if path == "" {
		r.at(0, "", "no configuration file; set --config or CLOUDIDQ_CONFIG")
		return nil, r
	}
	text, ok := read(r, path)
	if !ok {
		return nil, r
	}
	root, ok := parse(r, text)
	if !ok {
		return nil, r
	}
	// The order matters: defaults, then the file, then the environment.
	c := Default()
	decode(r, root, reflect.ValueOf(c).Elem())
	overlay(r, reflect.ValueOf(c).Elem(), "")
	c.origin = r.origin
	c.check(r)
	return c, r
}

// read returns the text of the file without its byte order mark.
func read(r *report, path string) ([]byte, bool) {
	f, err := os.Open(path)
	if err != nil {
		r.at(0, "", "opening the configuration file: %v", cause(err))
		return nil, false
	}
	defer func() { _ = f.Close() }() // the file is only read, so an error of Close has no effect
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	switch {
	case err != nil:
		r.at(0, "", "reading the configuration file: %v", cause(err))
	case len(text) > maxFileBytes:
		r.at(0, "", "must not exceed 1 MiB")
	case !utf8.Valid(text):
		r.at(1+bytes.Count(text[:invalidAt(text)], []byte("\n")), "", "is not UTF-8 text")
	default:
		return bytes.TrimPrefix(text, []byte("\ufeff")), true
	}
	return nil, false
}

// cause returns a file system error without the path, because the fault already names the path.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// invalidAt returns the offset of the first byte that is not valid UTF-8.
func invalidAt(text []byte) int {
	at := 0
	for at < len(text) {
		char, size := utf8.DecodeRune(text[at:])
		if char == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// parse returns the body of the only document, or nil if the file is empty.
func parse(r *report, text []byte) (ast.Node, bool) {
	// After a block scalar with CRLF, go-yaml v1.19.2 counts one line too many.
	tokens := lexer.Tokenize(strings.ReplaceAll(string(text), "\r\n", "\n"))
	if line, why := excess(tokens); why != "" {
		r.at(line, "", "%s", why)
		return nil, false
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // decode reports duplicates, all of them
	if err != nil {
		line, message := syntaxFault(err)
		r.at(line, "", "not valid YAML: %s", message)
		return nil, false
	}
	if len(file.Docs) > 1 {
		r.at(docLine(file.Docs[1]), "", "a second YAML document starts here; the file must contain one")
		return nil, false
	}
	if len(file.Docs) == 0 {
		return nil, true
	}
	return file.Docs[0].Body, true
}

// excess reports what exceeds the limits and would keep the parser busy for minutes.
func excess(tokens token.Tokens) (line int, why string) {
	// flow counts open brackets and braces, inline counts "- " and "? " on one line.
	flow, inline, inlineAt := 0, 0, 0
	for i, tk := range tokens {
		line = tk.Position.Line
		if line != inlineAt {
			inline, inlineAt = 0, line
		}
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType:
			inline++
		}
		if flow > maxNesting || inline > maxNesting {
			return line, fmt.Sprintf("must not nest more than %d deep", maxNesting)
		}
		if i >= maxTokens {
			return line, fmt.Sprintf("must not contain more than %d YAML tokens", maxTokens)
		}
	}
	return 0, ""
}

// quoted matches the text that parser messages quote from the file, because it might be a
// secret.
var quoted = regexp.MustCompile(`"[^"]{2,}"`)

// syntaxFault returns line and message of a parser error. It does not use the error's Error
// text, which shows the surrounding lines and their secrets.
func syntaxFault(err error) (int, string) {
	var fault yaml.Error
	if !errors.As(err, &fault) {
		return 0, "it cannot be parsed"
	}
	message := quoted.ReplaceAllString(fault.GetMessage(), "the text")
	if strings.Contains(message, "'\t'") {
		message = "a tab where only spaces are allowed"
	}
	if tk := fault.GetToken(); tk != nil && tk.Position != nil {
		return tk.Position.Line, message
	}
	return 0, message
}

// docLine returns the line where a document starts, or 0 if it is unknown.
func docLine(doc *ast.DocumentNode) int {
	switch {
	case doc.Start != nil:
		return doc.Start.Position.Line
	case doc.Body != nil:
		return lineOf(doc.Body)
	default:
		return 0
	}
}
