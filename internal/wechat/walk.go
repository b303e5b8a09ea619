package wechat

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"unicode/utf8"
)

// This file walks over JSON that [json.Valid] has approved. Unlike a decoder with struct tags it meets every value as it
// stands, so that one value of a wrong type spoils its own entry only, a number is never a float, and a hundred entries
// cost no reflection. On text that is not valid JSON it ends early; it never panics.

// members yields the members of an object: keys without their quotes, values as they stand. Of anything but an object it
// yields nothing.
func members(text []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		i := skipSpace(text, 0)
		if i == len(text) || text[i] != '{' {
			return
		}
		for i < len(text) && text[i] != '}' {
			start := skipSpace(text, i+1) // past the brace or the comma
			end := skipValue(text, start)
			key, ok := unquote(text[start:end])
			if !ok {
				return // the closing brace of an empty object, too
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

// elements yields the elements of an array, as they stand. Of anything but an array it yields nothing.
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

// skipSpace returns the index of the first byte at or after i that is no white space.
func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the index just past the value that begins at i; i itself if none does.
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

// skipString returns the index just past the string whose opening quote is at i.
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

// skipScalar returns the index just past the number, true, false or null at i.
func skipScalar(text []byte, i int) int {
	for ; i < len(text); i++ {
		switch text[i] {
		case ',', ':', ']', '}', '{', '[', '"', ' ', '\t', '\n', '\r':
			return i
		}
	}
	return i
}

// unquote returns the text of a JSON string and whether value is one. Without escapes it copies nothing.
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

// unescape returns what a backslash and c stand for, if that is as simple as it is in nearly all answers.
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

// unquoteSlowly knows surrogates and mends what is not UTF-8.
func unquoteSlowly(value []byte) ([]byte, bool) {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return nil, false
	}
	return []byte(text), true
}

// integer returns the value of a JSON number without fraction and exponent, also if it stands in quotes.
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
