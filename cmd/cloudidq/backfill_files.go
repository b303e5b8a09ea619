package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/internal/wholefile"
	"cloudidq/store"
)

// stdio is the file name for stdin and stdout on the command line.
const stdio = "-"

// formatOf returns the format that a file's name implies.
func formatOf(path string) lines.Format {
	if strings.EqualFold(filepath.Ext(path), ".csv") {
		return lines.CSV
	}
	return lines.NDJSON
}

// input is the file that a backfill is read from. It counts the bytes read.
type input struct {
	in   io.Reader
	file *os.File    // nil means stdin
	was  fs.FileInfo // state at opening; nil means not a regular file
	read atomic.Int64

	unblock func() // makes a blocked Read return; nil means that this is impossible
}

// openInput opens a file. Its error is a usage error.
func openInput(path string, stdin io.Reader) (*input, error) {
	if path == stdio {
		return &input{in: stdin}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("FILE cannot be opened: %w", cause(err))
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = errors.New("it is a directory")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("FILE cannot be read: %w", cause(err)), file.Close())
	}
	in := &input{in: file, file: file, unblock: func() { _ = file.Close() }}
	if info.Mode().IsRegular() {
		in.was = info
	}
	return in, nil
}

// cause returns a file error without the file name, which the user knows.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// Read implements [io.Reader].
func (in *input) Read(into []byte) (int, error) {
	n, err := in.in.Read(into)
	in.read.Add(int64(n))
	return n, err
}

// size returns the size of the input in bytes, or 0 if it is unknown.
func (in *input) size() int64 {
	if in.was == nil {
		return 0
	}
	return in.was.Size()
}

// unchanged returns an error if the file was modified after it was opened.
func (in *input) unchanged() error {
	if in.was == nil {
		return nil
	}
	// Compare with the number of bytes read, because the file may have grown.
	now, err := in.file.Stat()
	if err != nil {
		return cause(err)
	}
	if now.Size() != in.read.Load() || !now.ModTime().Equal(in.was.ModTime()) {
		return errors.New("the file was modified while it was read")
	}
	return nil
}

func (in *input) close() {
	if in != nil && in.file != nil {
		_ = in.file.Close()
	}
}

// output is the destination of the records. A file appears only when it is complete. A nil
// output discards everything.
type output struct {
	*backfill.Writer
	path string
	file *wholefile.File // nil means stdout
}

// createOutput creates the file of --out before any other work. Its error is a usage error.
func (f *backfillFlags) createOutput(stdout io.Writer, in *input) (*output, error) {
	path := f.out
	switch path {
	case "":
		return nil, nil
	case stdio:
		return &output{Writer: backfill.NewWriter(stdout, lines.NDJSON)}, nil
	}
	// An existing file is replaced when the output is complete, so it must be a regular file.
	info, err := os.Stat(path)
	// Writing to the input would destroy it.
	if err == nil && in.was != nil && os.SameFile(info, in.was) {
		return nil, usagef("--out must not be the input file")
	}
	if err == nil && !info.Mode().IsRegular() {
		return nil, usagef("--out must be a regular file")
	}
	file, err := wholefile.Create(path)
	if err != nil {
		return nil, usagef("--out cannot be written: %w", cause(err))
	}
	writer := backfill.NewWriter(file, formatOf(path))
	if f.rawCSV {
		writer.Raw()
	}
	return &output{writer, path, file}, nil
}

// keep moves the file to its final name after all data is on the disk.
func (o *output) keep() error {
	if o.file == nil {
		return nil
	}
	if err := o.file.Commit(); err != nil {
		return fmt.Errorf("writing --out: %w", err)
	}
	return nil
}

// discard removes a file that was not kept.
func (o *output) discard() {
	if o != nil && o.file != nil {
		o.file.Discard()
	}
}

// write is Write for an output that may be nil.
func (o *output) write(records []store.Record) error {
	if o == nil {
		return nil
	}
	return o.Write(records)
}
