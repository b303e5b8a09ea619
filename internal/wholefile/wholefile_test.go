package wholefile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

var errDisk = errors.New("no space left on device")

// failing is a file that fails at one step, as on a full disk.
type failing struct {
	handle
	write, sync, close error
}

func (f *failing) Write(text []byte) (int, error) {
	if f.write != nil {
		return 0, f.write
	}
	return f.handle.Write(text)
}

func (f *failing) Sync() error { return errors.Join(f.sync, f.handle.Sync()) }

func (f *failing) Close() error { return errors.Join(f.handle.Close(), f.close) }

// A file that was not fully written and synced never replaces the target. Discard removes it.
func TestCommit_ErrorKeepsTarget(t *testing.T) {
	for name, breakIt := range map[string]func(*failing){
		"Write": func(f *failing) { f.write = errDisk },
		"Sync":  func(f *failing) { f.sync = errDisk },
		"Close": func(f *failing) { f.close = errDisk },
	} {
		t.Run(name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "out.ndjson")
			if err := os.WriteFile(target, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Create(target)
			if err != nil {
				t.Fatal(err)
			}
			broken := &failing{handle: f.file}
			breakIt(broken)
			f.file = broken
			_, _ = f.Write([]byte("half")) // a caller that ignores the error
			if err := f.Commit(); !errors.Is(err, errDisk) {
				t.Errorf("Commit() = %v, want the error of the disk", err)
			}
			f.Discard()
			if err := f.Commit(); err == nil {
				t.Error("Commit() of a discarded file = nil")
			}
			wantContent(t, target, "before")
		})
	}
}

// If the target cannot be replaced, it stays, and Discard removes the temporary file.
func TestCommit_TargetIsAFolder(t *testing.T) {
	target := filepath.Join(t.TempDir(), "out")
	if err := os.MkdirAll(filepath.Join(target, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := Create(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err == nil {
		t.Error("Commit() over a folder = nil")
	}
	f.Discard()
	wantOnly(t, target)
}

func TestCommit(t *testing.T) {
	target := filepath.Join(t.TempDir(), "out.ndjson")
	if err := os.WriteFile(target, []byte("before"), 0o644); err != nil { //nolint:gosec // the mode before Commit
		t.Fatal(err)
	}
	f, err := Create(target)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if _, err := f.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	read, err := os.ReadFile(target)
	if err != nil || string(read) != "before" {
		t.Errorf("before Commit() the target is %q, %v", read, err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	f.Discard()
	wantContent(t, target, "after")
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600: records are personal data", info.Mode(), err)
	}
}

// wantContent checks the content of a file, and that its folder has no other file.
func wantContent(t *testing.T, path, want string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("the target contains %q, %v, want %q", text, err, want)
	}
	wantOnly(t, path)
}

// wantOnly checks that the folder of a file has no other file.
func wantOnly(t *testing.T, path string) {
	t.Helper()
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("folder = %v, %v, want only the target", names, err)
	}
}

// If the target is a symbolic link, the link stays and the file that it points to is replaced.
// Records must not land on another disk than the chosen one.
func TestCreate_FollowsALink(t *testing.T) {
	chosen, link := filepath.Join(t.TempDir(), "out.ndjson"), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(chosen, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(link); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Create() of a broken link = %v", err)
	}
	if err := os.WriteFile(chosen, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Create(link)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if _, err := f.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	wantContent(t, chosen, "after")
	if to, err := os.Readlink(link); to != chosen {
		t.Errorf("the link points to %q (%v)", to, err)
	}
}
