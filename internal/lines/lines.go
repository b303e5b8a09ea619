// Package lines reads files of cloudIDs, NDJSON or CSV, one line at a time and of any length, in constant memory.
//
// A line is a cloudID, or it is bad: then it says why, and reading goes on. Lines are numbered from 1 as an editor
// numbers them. No reason quotes from the line, since what stands there is other people's data.
//
// The package knows the form of a line. What the values may be is for [tasks.Item.Validate] to say, and what becomes of
// them for package backfill.
package lines

import (
	"errors"
	"strings"

	"cloudidq/tasks"
)

// MaxBytes is the length of the longest line, without its end: twice what the longest fields need, each of their bytes
// escaped as \u0000.
const MaxBytes = 16 << 10

// Format is how a file writes its lines.
type Format string

// The formats.
const (
	NDJSON Format = "ndjson" // an object a line: cloud_id, openid?, obtained_at?, reference?
	CSV    Format = "csv"    // RFC 4180 with a header that names the columns, which are the same
)

// Formats are all of them.
var Formats = []Format{NDJSON, CSV}

// Line is one line of a file.
type Line struct {
	Number int // from 1
	// Text is what two files have in common where they have the same line: the line without its end, or, of one that is
	// longer than MaxBytes, a hash of it.
	Text   string
	Item   tasks.Item // its fields, whose values nobody has checked yet
	Reason string     // why the line is bad; empty = it is not
	Blank  bool       // neither good nor bad: nothing stands there, or the header
}

// The columns, which are the fields of a line.
const (
	fieldCloudID = iota
	fieldOpenID
	fieldObtainedAt
	fieldReference
	fieldCount
)

var fieldNames = [fieldCount]string{"cloud_id", "openid", "obtained_at", "reference"}

const knownFields = "cloud_id, openid, obtained_at and reference are known"

// fieldOf returns the number of a field, or -1.
func fieldOf(name string) int {
	for i, known := range fieldNames {
		if name == known {
			return i
		}
	}
	return -1
}

// set puts a value into its field and reports what is wrong with its form.
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
			return "obtained_at is not a time in the form of RFC 3339, such as 2026-11-22T08:00:00Z"
		}
	}
	return ""
}

// HeaderError says that the header of a CSV file cannot be understood, so that no line of it can.
type HeaderError struct{ Problem string }

// Error implements error.
func (e *HeaderError) Error() string { return "line 1, the header: " + e.Problem }

// errStuck is for a reader that brings nothing again and again.
var errStuck = errors.New("the input brings neither data nor an end")

const byteOrderMark = "\ufeff"

// blank reports whether nothing but blanks stands on a line.
func blank(text string) bool { return strings.Trim(text, " \t") == "" }
