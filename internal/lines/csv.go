package lines

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cloudidq/tasks"
)

// header parses the header of a CSV file. Its error is a *HeaderError. The error does not quote
// unknown column names: in a file without a header, the first line is data.
func (r *Reader) header(text string) error {
	names, reason := splitCSV(text)
	if reason != "" {
		return &HeaderError{reason}
	}
	var seen uint // a bit per field
	columns := make([]int, len(names))
	for i, name := range names {
		field := fieldOf(name)
		if field < 0 {
			return &HeaderError{fmt.Sprintf("column %d has an unknown name; %s", i+1, knownFields)}
		}
		if seen&(1<<field) != 0 {
			return &HeaderError{"duplicate column " + name}
		}
		seen |= 1 << field
		columns[i] = field
	}
	if seen&(1<<fieldCloudID) == 0 {
		return &HeaderError{"missing column cloud_id"}
	}
	r.columns = columns
	return nil
}

// parseCSV parses a line of CSV. An empty field counts as absent. It returns the reason why the
// line is invalid, or "".
func parseCSV(it *tasks.Item, text string, columns []int) (reason string) {
	if !utf8.ValidString(text) {
		return "is not UTF-8"
	}
	fields, reason := splitCSV(text)
	if reason != "" {
		return reason
	}
	if len(fields) != len(columns) {
		return fmt.Sprintf("has %d fields, the header has %d", len(fields), len(columns))
	}
	for i, value := range fields {
		if value == "" {
			continue
		}
		name := fieldNames[columns[i]]
		if damaged(value) {
			return name + " contains U+FFFD, which replaces a character that was lost"
		}
		if reason := set(it, columns[i], value); reason != "" {
			return reason
		}
	}
	return ""
}

// splitCSV splits a line into fields according to RFC 4180, with one exception: a field must
// not contain a line break, so it cannot continue on the next line. Therefore an unclosed
// quote only affects its own line.
func splitCSV(text string) (fields []string, reason string) {
	if strings.IndexByte(text, '"') < 0 {
		return strings.Split(text, ","), ""
	}
	for {
		var field string
		if strings.HasPrefix(text, `"`) {
			if field, text, reason = quoted(text[1:]); reason != "" {
				return nil, reason
			}
		} else {
			end := strings.IndexByte(text, ',')
			if end < 0 {
				end = len(text)
			}
			if field, text = text[:end], text[end:]; strings.IndexByte(field, '"') >= 0 {
				return nil, "has a quote in an unquoted field"
			}
		}
		fields = append(fields, field)
		if text == "" {
			return fields, ""
		}
		text = text[1:] // the comma
	}
}

// quoted parses a quoted field. text starts after the opening quote, and rest starts after
// the closing quote.
func quoted(text string) (field, rest, reason string) {
	var b strings.Builder
	for {
		end := strings.IndexByte(text, '"')
		if end < 0 {
			return "", "", "has an unclosed quote; a field must not contain a line break"
		}
		b.WriteString(text[:end])
		text = text[end+1:]
		switch {
		case text == "" || text[0] == ',':
			return b.String(), text, ""
		case text[0] != '"':
			return "", "", "has data between a closing quote and the next comma"
		}
		b.WriteByte('"') // two quotes are an escaped quote
		text = text[1:]
	}
}
