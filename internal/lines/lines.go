// Package lines reads files of cloudIDs, as NDJSON or CSV, line by line. Files may have any
// length. The memory use is constant.
//
// A line contains a cloudID, or it is invalid. An invalid line has a Reason, and reading continues.
// Lines are numbered from 1, as in an editor. A Reason never quotes the line, because a line
// contains personal data.
//
// The package checks only the format of a line. [tasks.Item.Validate] checks the values. Package
// backfill processes the lines.
package lines

import (
	"errors"
	"strings"

	"cloudidq/tasks"
)

// MaxBytes is the maximum length of a line in bytes, without its line break. It is twice the size
// of a line with the longest fields and every byte escaped as \u0000.
const MaxBytes = 16 << 10

// Format is the format of a file.
type Format string

// The formats.
const (
	// NDJSON has one JSON object per line, with cloud_id and optionally openid,
	// obtained_at and reference.
	NDJSON Format = "ndjson"
	// CSV is RFC 4180 with a header. The columns have the names of the NDJSON members.
	CSV Format = "csv"
)

// Formats lists all formats.
var Formats = []Format{NDJSON, CSV}

// Line is one line of a file.
type Line struct {
	Number int // from 1
	// Text identifies the content of the line: two equal lines have the same Text. It is the
	// line without its line break. For a line longer than MaxBytes, it is a hash.
	Text   string
	Item   tasks.Item // its fields; the values are not validated
	Reason string     // why the line is invalid; empty for a valid line
	Blank  bool       // an empty line or the header, which is neither valid nor invalid
}

// The fields of a line. In CSV they are the columns.
const (
	fieldCloudID = iota
	fieldOpenID
	fieldObtainedAt
	fieldReference
	fieldCount
)

var fieldNames = [fieldCount]string{"cloud_id", "openid", "obtained_at", "reference"}

const knownFields = "cloud_id, openid, obtained_at and reference are known"

// fieldOf returns the number of the field with this name, or -1.
func fieldOf(name string) int {
	for i, known := range fieldNames {
		if name == known {
			return i
		}
	}
	return -1
}

// set sets a field of an item. It returns the reason if the format of the value is wrong, or "".
func set(it *tasks.Item, field int, value string) (reason string) {
	switch field {
	case fieldCloudID:
		it.CloudID = value
	case fieldOpenID:
		it.OpenID = value
	case fieldReference:
		it.Reference = value
	case fieldObtainedAt:
		if err := it.ObtainedAt.UnmarshalText([]byte(value)); err != nil {
			return "obtained_at must be a time in the format of RFC 3339, such as 2026-11-22T08:00:00Z"
		}
	}
	return ""
}

// HeaderError reports that the header of a CSV file is invalid. No line of the file
// can be read then.
type HeaderError struct{ Problem string }

// Error implements error.
func (e *HeaderError) Error() string { return "line 1, the header: " + e.Problem }

// errStuck is the error for an input that returns neither data nor an error maxEmpty times in a
// row.
var errStuck = errors.New("the input returns neither data nor an error")

const byteOrderMark = "\ufeff"

// blank reports whether a line is empty or contains only spaces and tabs.
func blank(text string) bool { return strings.Trim(text, " \t") == "" }
