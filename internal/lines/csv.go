package lines

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cloudidq/tasks"
)

// header reads the header of a CSV file. It repeats no name that it does not know: a file without a header has data there.
func (r *Reader) header(text string) error {
	names, reason := splitCSV(text)
	if reason != "" {
		return &HeaderError{reason}
	}
	var seen uint
	columns := make([]int, len(names))
	for i, name := range names {
		field := fieldOf(name)
		if field < 0 {
			return &HeaderError{fmt.Sprintf("column %d has an unknown name; %s", i+1, knownFields)}
		}
		if seen&(1<<field) != 0 {
			return &HeaderError{"there are two columns " + name}
		}
		seen |= 1 << field
		columns[i] = field
	}
	if seen&(1<<fieldCloudID) == 0 {
		return &HeaderError{"there is no column cloud_id"}
	}
	r.columns = columns
	return nil
}

// parseCSV reads a line of CSV. A field that is empty is not there.
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
			return name + " has a character that was lost on its way (U+FFFD)"
		}
		if reason := set(it, columns[i], value); reason != "" {
			return reason
		}
	}
	return ""
}

// splitCSV takes a line apart as RFC 4180 has it, but for one thing: a field cannot go on in the next line, since none may
// hold a line break. So a quote that is not closed costs its line and no other.
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
				return nil, "has a quote within a field that does not begin with one"
			}
		}
		fields = append(fields, field)
		if text == "" {
			return fields, ""
		}
		text = text[1:] // the comma
	}
}

// quoted reads a field from behind its first quote, and returns what follows its last.
func quoted(text string) (field, rest, reason string) {
	var b strings.Builder
	for {
		end := strings.IndexByte(text, '"')
		if end < 0 {
			return "", "", "has a quote that is not closed; no field may hold a line break"
		}
		b.WriteString(text[:end])
		text = text[end+1:]
		switch {
		case text == "" || text[0] == ',':
			return b.String(), text, ""
		case text[0] != '"':
			return "", "", "has something between a closing quote and the next comma"
		}
		b.WriteByte('"') // two quotes stand for one
		text = text[1:]
	}
}
