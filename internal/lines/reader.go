package lines

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	bufferBytes = 256 << 10 // far more than MaxBytes, so that fill rarely moves a partial line
	maxEmpty    = 100       // reads in a row that return nothing
)

// Reader reads the lines of a file. It is not safe for concurrent use. Create one with New.
type Reader struct {
	in      io.Reader
	columns []int // the fields of a CSV file, by position; nil until the header has been read
	format  Format

	buf        []byte
	start, end int   // the bytes in buf that are not consumed yet
	number     int   // number of the last line
	err        error // the error of in
	failed     error // a *HeaderError; nothing more is read after it

	long hash.Hash // hash of the current line if it is too long to be buffered; else nil
}

// New returns a Reader of in. The caller closes in.
func New(in io.Reader, format Format) *Reader {
	return &Reader{in: in, format: format, buf: make([]byte, bufferBytes)}
}

// Read reads the next lines into a slice and returns their number. It waits for the input only
// until it has one line, so lines of a slow input are returned one by one.
//
// The error is io.EOF at the end of the input, a [*HeaderError] if the header of a CSV file is
// invalid, or the error of the input. Read returns all lines before an error first. If the
// input fails in the middle of a line, Read does not return that part of the line.
func (r *Reader) Read(into []Line) (int, error) {
	for n := range into {
		raw, ok := r.next(n == 0)
		switch {
		case r.failed != nil:
			return 0, r.failed
		case !ok && n == 0:
			return 0, r.err
		case !ok:
			return n, nil
		}
		r.number++
		into[n] = Line{Number: r.number}
		if r.failed = r.parse(&into[n], raw); r.failed != nil {
			return 0, r.failed // only the first line can fail
		}
	}
	return len(into), nil
}

// next returns the next line without its line break. For a line that is too long, it returns nil,
// and r.long has the hash. It reports false if the buffer has no complete line and wait is
// false, or if the input has no further line.
func (r *Reader) next(wait bool) ([]byte, bool) {
	for {
		if at := bytes.IndexByte(r.buf[r.start:r.end], '\n'); at >= 0 {
			return r.consume(at, 1), true
		}
		switch {
		case r.err == nil && wait:
			r.fill()
		case errors.Is(r.err, io.EOF) && (r.end > r.start || r.long != nil):
			// The last line has no line break.
			return r.consume(r.end-r.start, 0), true
		default:
			return nil, false
		}
	}
}

// consume removes a line of n bytes and its newline (0 or 1 bytes) from the buffer and returns the
// line.
func (r *Reader) consume(n, newline int) []byte {
	line := r.buf[r.start : r.start+n]
	r.start += n + newline
	if r.long == nil {
		text := bytes.TrimSuffix(line, []byte{'\r'})
		if r.number == 0 {
			text = bytes.TrimPrefix(text, []byte(byteOrderMark))
		}
		if len(text) <= MaxBytes {
			return text
		}
		r.long = sha256.New()
	}
	r.long.Write(line) // includes '\r' and a byte order mark, as in fill
	return nil
}

// fill reads once into the buffer.
func (r *Reader) fill() {
	if r.end-r.start > MaxBytes+len(byteOrderMark+"\r") { // the line is too long whatever follows
		if r.long == nil {
			r.long = sha256.New()
		}
		r.long.Write(r.buf[r.start:r.end])
		r.start = r.end
	}
	// Move the partial line to the front, which makes room for the rest.
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	for range maxEmpty {
		n, err := r.in.Read(r.buf[r.end:])
		r.end += n
		r.err = err
		if n > 0 || err != nil {
			return
		}
	}
	r.err = errStuck
}

// parse sets the fields of a line from its text. raw is nil for a line that is too long. The
// error is a *HeaderError.
func (r *Reader) parse(line *Line, raw []byte) error {
	if raw == nil {
		// The NUL byte keeps the hash apart from a line with the same characters.
		line.Text = "\x00" + hex.EncodeToString(r.long.Sum(nil))
		line.Reason = fmt.Sprintf("is longer than %d bytes", MaxBytes)
		r.long = nil
		if r.format == CSV && r.columns == nil {
			return &HeaderError{line.Reason}
		}
		return nil
	}
	line.Text = string(raw)
	if r.format == CSV && r.columns == nil {
		line.Blank = true
		return r.header(line.Text)
	}
	if blank(line.Text) {
		line.Blank = true
		return nil
	}
	if r.format == CSV {
		line.Reason = parseCSV(&line.Item, line.Text, r.columns)
	} else {
		line.Reason = parseJSON(&line.Item, line.Text)
	}
	return nil
}

// Line returns the number of the last line that was returned.
func (r *Reader) Line() int { return r.number }

// damaged reports whether a text has lost characters earlier. Most programs write U+FFFD in place
// of a character that they cannot decode. An id with such a character is no longer the same id.
func damaged(text string) bool { return strings.ContainsRune(text, utf8.RuneError) }
