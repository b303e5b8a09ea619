package wechat

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"unicode/utf8"
)

// This file walks over JSON that [json.Valid] has accepted. Unlike a decoder with struct tags,
// it returns every value in its original form. Therefore a value of a wrong type affects only
// its own entry, numbers are never converted to floats, and a hundred entries need no
// reflection. On invalid JSON the functions stop early; they never panic.

// members yields the members of an object: keys without their quotes, values in their original
// form. If text is not an object, members yields nothing.
func members(text []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		i := skipSpace(text, 0)
		if i == len(text) || text[i] != '{' {
			return
		}
		for i < len(text) && text[i] != '}' {
			start := skipSpace(text, i+1) // after the brace or the comma
			end := skipValue(text, start)
			key, ok := unquote(text[start:end])
			if !ok {
				return // also reached at the closing brace of an empty object
			}
			colon := skipSpace(text, end)
			start = skipSpace(text, min(colon+1, len(text)))
			end = skipValue(text, start)
			if !yield(key, text[start:end]) {
				return
			}
			i = skipSpace(text, end)
		}
	}
}

// elements yields the elements of an array in their original form. If text is not an array,
// elements yields nothing.
func elements(text []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		i := skipSpace(text, 0)
		if i == len(text) || text[i] != '[' {
			return
		}
		for i < len(text) && text[i] != ']' {
			start := skipSpace(text, i+1)
			end := skipValue(text, start)
			if end == start { // the closing bracket of an empty array
				return
			}
			if !yield(text[start:end]) {
				return
			}
			i = skipSpace(text, end)
		}
	}
}

// skipSpace returns the index of the first byte at or after i that is not whitespace.
func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the index after the value that starts at i, or i if no value starts there.
func skipValue(text []byte, i int) int {
	depth := 0
	for i < len(text) {
		switch text[i] {
		case '"':
			i = skipString(text, i)
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
			i++
			continue
		default:
			i = skipScalar(text, i)
		}
		if depth == 0 {
			return i
		}
	}
	return i
}

// skipString returns the index after the string whose opening quote is at i.
func skipString(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// skipScalar returns the index after the number, true, false or null at i.
func skipScalar(text []byte, i int) int {
	for ; i < len(text); i++ {
		switch text[i] {
		case ',', ':', ']', '}', '{', '[', '"', ' ', '\t', '\n', '\r':
			return i
		}
	}
	return i
}

// unquote returns the text of a JSON string and whether value is a string. If there are no
// escapes, the result is a part of value and not a copy.
func unquote(value []byte) ([]byte, bool) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return nil, false
	}
	inner := value[1 : len(value)-1]
	if !utf8.Valid(inner) {
		return unquoteSlowly(value)
	}
	escape := bytes.IndexByte(inner, '\\')
	if escape < 0 {
		return inner, true
	}
	text := make([]byte, 0, len(inner))
	for escape >= 0 && escape+1 < len(inner) {
		plain, ok := unescape(inner[escape+1])
		if !ok {
			return unquoteSlowly(value)
		}
		text = append(append(text, inner[:escape]...), plain)
		inner = inner[escape+2:]
		escape = bytes.IndexByte(inner, '\\')
	}
	return append(text, inner...), true
}

// unescape returns the character for a backslash and c. It handles the simple escapes that occur
// in nearly all answers.
func unescape(c byte) (byte, bool) {
	switch c {
	case '"', '\\', '/':
		return c, true
	case 'n':
		return '\n', true
	case 't':
		return '\t', true
	default:
		return 0, false
	}
}

// unquoteSlowly handles surrogates and replaces invalid UTF-8.
func unquoteSlowly(value []byte) ([]byte, bool) {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return nil, false
	}
	return []byte(text), true
}

// integer returns the value of a JSON number without fraction and exponent. The number may be in
// quotes.
func integer(value []byte) (int, bool) {
	if text, ok := unquote(value); ok {
		value = text
	}
	number, err := strconv.Atoi(string(value))
	return number, err == nil
}

// isNull reports whether value is the JSON null.
func isNull(value []byte) bool { return string(value) == "null" }

// isObject reports whether value is a JSON object.
func isObject(value []byte) bool {
	i := skipSpace(value, 0)
	return i < len(value) && value[i] == '{'
}
