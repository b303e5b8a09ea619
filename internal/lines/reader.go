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
	bufferBytes = 256 << 10 // far more than MaxBytes, so that what is left over is seldom moved
	maxEmpty    = 100       // reads in a row that bring nothing
)

// Reader takes a file apart. It is for one goroutine. Make one with New.
type Reader struct {
	in      io.Reader
	columns []int // of a CSV file, by position; nil until its header has been read
	format  Format

	buf        []byte
	start, end int   // of what has been read from in and is not taken yet
	number     int   // of the last line
	err        error // of in
	failed     error // a *HeaderError: nothing more is read

	long hash.Hash // of the line under way, which is too long to be kept; nil = it is not
}

// New returns a reader of in, which stays the caller's to close.
func New(in io.Reader, format Format) *Reader {
	return &Reader{in: in, format: format, buf: make([]byte, bufferBytes)}
}

// Read puts the next lines into a slice and returns how many. It waits for the input only until it has one, so that
// lines which come slowly come singly.
//
// The error is io.EOF at the end of the input, a [*HeaderError] for a CSV file without one that it understands, or the
// input's own; what precedes it in the input has been returned before. An input that breaks off with an error may break
// off within a line: that part of a line is not returned.
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
			return 0, r.failed // of the first line
		}
	}
	return len(into), nil
}

// next returns the next line without its end, or nil for one that is too long and whose hash stands in r.long. It
// reports false if there is none without reading more, which it does only if it may wait, or none at all.
func (r *Reader) next(wait bool) ([]byte, bool) {
	for {
		if at := bytes.IndexByte(r.buf[r.start:r.end], '\n'); at >= 0 {
			return r.take(at, 1), true
		}
		switch {
		case r.err == nil && wait:
			r.fill()
		case errors.Is(r.err, io.EOF) && (r.end > r.start || r.long != nil): // a last line without an end
			return r.take(r.end-r.start, 0), true
		default:
			return nil, false
		}
	}
}

// take takes a line of n bytes, and what ends it, from the buffer.
func (r *Reader) take(n, newline int) []byte {
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
	r.long.Write(line) // with all that belongs to it, as fill does
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

// parse fills in a line. Its error is a *HeaderError.
func (r *Reader) parse(line *Line, raw []byte) error {
	if raw == nil {
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

// Line is the number of the last line that was returned.
func (r *Reader) Line() int { return r.number }

// damaged reports whether a text has lost characters before it came here: most programs put U+FFFD where they could not
// read what stood there, and such an id is no id any more.
func damaged(text string) bool { return strings.ContainsRune(text, utf8.RuneError) }
