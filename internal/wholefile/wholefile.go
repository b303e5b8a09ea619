// Package wholefile writes files that are there as a whole or not at all.
package wholefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// handle is the part of [os.File] that a File uses.
type handle interface {
	Name() string
	Write(text []byte) (int, error)
	Sync() error
	Close() error
}

// File is a file under a temporary name in the folder of its target. [File.Commit] gives it its name once all of it is
// on the disk; [File.Discard] removes it. It is used by one goroutine at a time.
type File struct {
	file   handle
	target string
	broken error // the first error: what follows it changes nothing
	done   bool  // committed or discarded
}

// Create makes the temporary file for target, readable and writable for this user alone. What is at target stays as it
// is until Commit. If it is a symbolic link, the file that it leads to is the target: somebody has chosen that place, and its
// disk. Errors are those of [os.CreateTemp], or say that the link leads nowhere. The caller calls Discard, after a Commit as
// well.
func Create(target string) (*File, error) {
	if info, err := os.Lstat(target); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if target, err = filepath.EvalSymlinks(target); err != nil {
			return nil, err
		}
	}
	file, err := os.CreateTemp(filepath.Dir(target), filepath.Base(target)+".*.partial")
	if err != nil {
		return nil, err
	}
	return &File{file: file, target: target}, nil
}

// Write implements [io.Writer]. After an error the file cannot be committed.
func (f *File) Write(text []byte) (int, error) {
	if f.broken != nil {
		return 0, f.broken
	}
	n, err := f.file.Write(text)
	f.broken = err
	return n, err
}

// errDone is for a file that has its name already, or is gone.
var errDone = errors.New("the file has been committed or discarded")

// Commit writes all of the file to the disk and gives it its name. It stops at the first error, of an earlier Write too:
// then what is at the target stays as it is, and Discard removes the temporary file.
//
// At last it writes the folder to the disk, so that the name outlives a loss of power. If only that fails the file is in
// its place, and the error says so.
func (f *File) Commit() error {
	if f.done {
		return errDone
	}
	if f.broken == nil {
		f.broken = f.file.Sync()
	}
	if f.broken != nil {
		return f.broken
	}
	if f.broken = f.file.Close(); f.broken != nil {
		return f.broken
	}
	if f.broken = os.Rename(f.file.Name(), f.target); f.broken != nil {
		return f.broken
	}
	f.done = true
	if err := syncFolder(filepath.Dir(f.target)); err != nil {
		return fmt.Errorf("the file is in its place, but its folder is not safely on the disk: %w", err)
	}
	return nil
}

// Discard removes a file that was not committed. It may be called more than once.
func (f *File) Discard() {
	if f.done {
		return
	}
	f.done = true
	_ = f.file.Close() // nothing of it is kept
	_ = os.Remove(f.file.Name())
}

// syncFolder writes the names in a folder to the disk. Some file systems cannot do that and say so with EINVAL or
// ENOTSUP; they have no safer way (https://pubs.opengroup.org/onlinepubs/9799919799/functions/fsync.html).
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil // a folder that may be written but not read
	}
	if err != nil {
		return err
	}
	err = folder.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, folder.Close())
}
