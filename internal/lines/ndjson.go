package lines

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"cloudidq/tasks"
)

// parseJSON parses a line of NDJSON: an object with known fields only, each at most once,
// with string values. A field that is null counts as absent. It returns the reason why the
// line is invalid, or "".
//
// Nearly every line is plain: it has no escapes and only ASCII. parsePlain splits such a line
// in place. encoding/json parses the other lines, which takes more than ten times as long
// (BenchmarkParseJSON).
func parseJSON(it *tasks.Item, text string) (reason string) {
	if parsePlain(it, text) {
		return ""
	}
	// parsePlain may have set some fields.
	*it = tasks.Item{}
	return parseAny(it, text)
}

// parsePlain parses a plain line. It reports false for any line that is not plain or not valid. If
// it accepts a line, parseAny accepts it too, with the same result.
func parsePlain(it *tasks.Item, text string) bool {
	at := skipWhitespace(text, 0)
	if at >= len(text) || text[at] != '{' {
		return false
	}
	// seen has a bit per field, to detect duplicates.
	var seen uint
	for {
		name, after, ok := plainString(text, skipWhitespace(text, at+1))
		if !ok {
			return false
		}
		field := fieldOf(name)
		if at = skipWhitespace(text, after); field < 0 || seen&(1<<field) != 0 || at >= len(text) || text[at] != ':' {
			return false
		}
		seen |= 1 << field
		value, after, ok := plainString(text, skipWhitespace(text, at+1))
		if !ok || set(it, field, value) != "" {
			return false
		}
		if at = skipWhitespace(text, after); at >= len(text) || text[at] != ',' {
			break
		}
	}
	// Nothing may follow the closing brace.
	return at < len(text) && text[at] == '}' && skipWhitespace(text, at+1) == len(text)
}

// plainString parses a JSON string of printable ASCII without escapes at index at. after is the
// index after its closing quote.
func plainString(text string, at int) (value string, after int, ok bool) {
	if at >= len(text) || text[at] != '"' {
		return "", 0, false
	}
	at++
	for i := at; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return text[at:i], i + 1, true
		case c < ' ' || c == '\\' || c >= utf8.RuneSelf:
			return "", 0, false
		}
	}
	return "", 0, false
}

// skipWhitespace returns the index of the first byte from at on that is not JSON whitespace.
func skipWhitespace(text string, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// parseAny parses any line with encoding/json. It returns the reason why the line is invalid, or
// "".
func parseAny(it *tasks.Item, text string) (reason string) {
	if !utf8.ValidString(text) {
		return "is not UTF-8"
	}
	dec := json.NewDecoder(strings.NewReader(text))
	if token, err := dec.Token(); err != nil {
		return notJSON(err)
	} else if token != json.Delim('{') {
		return "is not a JSON object"
	}
	var seen uint
	for dec.More() {
		if reason := member(it, dec, &seen); reason != "" {
			return reason
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return notJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "has data after the JSON object"
	}
	return ""
}

// member parses one field and its value.
func member(it *tasks.Item, dec *json.Decoder, seen *uint) (reason string) {
	token, err := dec.Token()
	if err != nil {
		return notJSON(err)
	}
	name, _ := token.(string) // the decoder allows only strings as keys
	field := fieldOf(name)
	if field < 0 {
		return "has an unknown field; " + knownFields
	}
	if *seen&(1<<field) != 0 {
		return "has " + name + " twice"
	}
	*seen |= 1 << field
	value, err := dec.Token()
	switch value := value.(type) {
	case string:
		if damaged(value) {
			return name + " contains U+FFFD, which replaces a character that was lost"
		}
		return set(it, field, value)
	case nil:
		if err != nil {
			return notJSON(err)
		}
		return ""
	default:
		return name + " must be a string"
	}
}

// notJSON returns the reason for a line that is not JSON, with the position of the fault. It
// does not quote the line.
func notJSON(err error) string {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("is not JSON, near byte %d", syntax.Offset)
	}
	return "is not JSON: unexpected end of the line"
}
