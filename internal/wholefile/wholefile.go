// Package wholefile writes files atomically: the target has either its old content or all of
// the new content.
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

// File is a file with a temporary name in the folder of its target. [File.Commit] syncs it
// to the disk and renames it to the target. [File.Discard] removes it. A File is not safe
// for concurrent use.
type File struct {
	file   handle
	target string
	broken error // the first error; later calls of Write and Commit return it
	done   bool  // committed or discarded
}

// Create creates the temporary file for target, readable and writable only by the current user.
// The file at target does not change until Commit. If target is a symbolic link, Create uses
// the file that the link points to, because somebody has chosen that place and its disk.
//
// The error is one of [os.CreateTemp], or one of [filepath.EvalSymlinks] if the link is broken.
// Always call [File.Discard] in the end, also after [File.Commit].
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

// Write implements [io.Writer]. After an error, the file cannot be committed.
func (f *File) Write(text []byte) (int, error) {
	if f.broken != nil {
		return 0, f.broken
	}
	n, err := f.file.Write(text)
	f.broken = err
	return n, err
}

// errDone is the error of Commit for a file that was committed or discarded already.
var errDone = errors.New("the file has been committed or discarded")

// Commit syncs the file to the disk and renames it to the target. If an earlier Write has
// failed, Commit returns its error. Commit stops at the first error. The target is then
// unchanged, and Discard removes the temporary file.
//
// After the rename, Commit syncs the folder, so that the new name survives a power loss. If
// only this step fails, the target has the new content, and the error says so.
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
		return fmt.Errorf("the file has been renamed, but syncing its folder failed: %w", err)
	}
	return nil
}

// Discard removes the temporary file, unless the file was committed. It may be called more than
// once.
func (f *File) Discard() {
	if f.done {
		return
	}
	f.done = true
	_ = f.file.Close() // the content is dropped, so the error does not matter
	_ = os.Remove(f.file.Name())
}

// syncFolder syncs the names in a folder to the disk. Some file systems do not support that,
// and return EINVAL or ENOTSUP. They offer nothing safer, so syncFolder ignores these errors
// (https://pubs.opengroup.org/onlinepubs/9799919799/functions/fsync.html).
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil // the folder may be writable but not readable
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
