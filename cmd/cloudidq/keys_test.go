package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
)

// keys runs `cloudidq keys` with text on stdin.
func keys(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out bytes.Buffer
	status, stderr = keysTo(t, &out, stdin, args...)
	return status, out.String(), stderr
}

func keysTo(t *testing.T, stdout io.Writer, stdin string, args ...string) (status int, stderr string) {
	t.Helper()
	var err bytes.Buffer
	status = run(t.Context(), append([]string{"keys"}, args...), streams{
		in: strings.NewReader(stdin), out: stdout, err: &err,
		lookupEnv: func(string) (string, bool) { return "", false },
	})
	return status, err.String()
}

// goodKeys runs a command that must succeed, and returns its output.
func goodKeys(t *testing.T, stdin string, args ...string) (doc string, keyset *seal.Keyset) {
	t.Helper()
	status, stdout, stderr := keys(t, stdin, args...)
	if status != exitDone || strings.Count(stdout, "\n") != 1 || !strings.HasSuffix(stdout, "\n") {
		t.Fatalf("keys %v: exit %d, %d bytes on stdout, want 0 and one line; stderr %q", args, status, len(stdout), stderr)
	}
	keyset, err := seal.ParseKeyset(secret.New(stdout))
	if err != nil {
		t.Fatal(err)
	}
	return stdout, keyset
}

// The rotation that the help describes works from stdin and from files.
func TestKeys_NewRotatePrune(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keyset.json")
	for name, source := range map[string]func(doc string) (stdin string, args []string){
		"stdin":               func(doc string) (string, []string) { return doc, nil },
		"dash":                func(doc string) (string, []string) { return doc, []string{"-"} },
		"no final line break": func(doc string) (string, []string) { return strings.TrimSpace(doc), nil },
		"file": func(doc string) (string, []string) {
			if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
				t.Fatal(err)
			}
			return "", []string{file}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ad := seal.AD{Field: "data", AppID: appA, CloudID: "73_a"}
			doc, first := goodKeys(t, "", "new")
			old, err := first.Seal(nil, []byte("old"), ad)
			if err != nil {
				t.Fatal(err)
			}

			stdin, args := source(doc)
			doc, rotated := goodKeys(t, stdin, append([]string{"rotate"}, args...)...)
			if text, err := rotated.Open(nil, old, ad); err != nil || string(text) != "old" {
				t.Errorf("after rotate Open = %q, %v, want %q", text, err, "old")
			}
			fresh, err := rotated.Seal(nil, []byte("new"), ad)
			if err != nil {
				t.Fatal(err)
			}

			stdin, args = source(doc)
			_, pruned := goodKeys(t, stdin, append([]string{"prune"}, args...)...)
			if text, err := pruned.Open(nil, fresh, ad); err != nil || string(text) != "new" {
				t.Errorf("after prune Open = %q, %v, want %q", text, err, "new")
			}
			if _, err := pruned.Open(nil, old, ad); !errors.Is(err, seal.ErrUnreadable) {
				t.Errorf("after prune Open of an old text = %v, want ErrUnreadable", err)
			}
			if first.PersonHash(appA, "o1") != pruned.PersonHash(appA, "o1") {
				t.Error("the hash of a user has changed")
			}
		})
	}
}

func TestKeysPrune_ReportsRemovedKeys(t *testing.T) {
	doc, _ := goodKeys(t, "", "new")
	for _, want := range []string{"old keys removed: 0\n", "old keys removed: 1\n"} {
		if _, _, stderr := keys(t, doc, "prune"); stderr != want {
			t.Errorf("stderr = %q, want %q", stderr, want)
		}
		doc, _ = goodKeys(t, doc, "rotate")
	}
}

func TestKeys_UsageErrors_QuoteNothing(t *testing.T) {
	doc, _ := goodKeys(t, "", "new")
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"nothing on stdin":     {"", []string{"rotate"}, "stdin is empty"},
		"truncated":            {doc[:200], []string{"rotate"}, "keyset: is truncated after 200 bytes"},
		"unknown version":      {strings.Replace(doc, `"version":1`, `"version":2`, 1), []string{"prune"}, "version is 2, must be 1"},
		"too long":             {strings.Repeat(" ", maxKeysetBytes) + doc, []string{"prune"}, "stdin has more than 65536 bytes"},
		"no such file":         {"", []string{"rotate", filepath.Join(dir, "none")}, "opening the keyset file: no such file"},
		"a folder":             {"", []string{"prune", dir}, "reading the keyset from the file: is a directory"},
		"empty file":           {"", []string{"prune", os.DevNull}, "the shell truncates it first"},
		"keyset as argument":   {"", []string{"rotate", doc}, "opening the keyset file: "},
		"keyset as command":    {"", []string{doc}, "keys has the commands new, rotate and prune"},
		"argument of new":      {"", []string{"new", "keyset.json"}, "cloudidq keys new"},
		"two files":            {"", []string{"rotate", "a", "b"}, "at most 1 arg"},
		"unknown flag of keys": {doc, []string{"prune", "--keep", "1"}, "unknown flag: --keep"},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := keys(t, tc.stdin, tc.args...)
			if status != exitUsage || stdout != "" || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit %d, %d bytes on stdout, stderr %q; want 2, no output and %q", status,
					len(stdout), stderr, tc.want)
			}
			if strings.Contains(stderr, "typeUrl") || strings.Contains(stderr, "SYMMETRIC") {
				t.Errorf("the error quotes the keyset: %s", stderr)
			}
		})
	}
}

// brokenPipe is a writer that always fails.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// If the keyset cannot be written, for example to a full disk, the command fails.
func TestKeys_CannotWrite_ExitOne(t *testing.T) {
	doc, _ := goodKeys(t, "", "new")
	for _, command := range []string{"new", "rotate", "prune"} {
		status, stderr := keysTo(t, brokenPipe{}, doc, command)
		if status != exitFailed || !strings.Contains(stderr, "writing the keyset") {
			t.Errorf("%s: exit %d, %s", command, status, stderr)
		}
	}
}

func TestKeys_OnATerminal_Warns(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0) // the master of a pseudo terminal is also a terminal
	if err != nil {
		t.Skipf("no pseudo terminal: %v", err)
	}
	defer func() { _ = terminal.Close() }()
	file, err := os.Create(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for out, want := range map[*os.File]bool{terminal: true, file: false} {
		status, stderr := keysTo(t, out, "", "new")
		if warns := strings.Contains(stderr, "is a secret"); status != exitDone || warns != want {
			t.Errorf("%s: exit %d, stderr %q, want a warning: %v", out.Name(), status, stderr, want)
		}
	}
}

func TestKeysHelp_DescribesRotation(t *testing.T) {
	status, stdout, _ := keys(t, "")
	if status != exitDone {
		t.Errorf("exit %d", status)
	}
	at := 0
	for _, step := range []string{"keys rotate", "restart everything", "Wait for store.result_ttl", "keys prune"} {
		next := strings.Index(stdout[at:], step)
		if next < 0 {
			t.Fatalf("the help does not contain %q after the previous step:\n%s", step, stdout)
		}
		at += next
	}
	for _, command := range []string{"new", "rotate", "prune"} {
		if status, stdout, _ := keys(t, "", command, "--help"); status != exitDone || !strings.Contains(stdout, "Examples:\n") {
			t.Errorf("keys %s --help: exit %d, %s", command, status, stdout)
		}
	}
}

// unsafe is a regular file whose Sync fails. Only a call of Sync reveals the problem.
type unsafe struct{ *os.File }

func (unsafe) Sync() error { return errors.New("no space left on device") }

// `… > next.json && mv next.json keyset.json` replaces the only copy of the keys. Therefore a
// command fails if its output is not safely on the disk.
func TestKeys_OutputNotSynced(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "next.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	status, stderr := keysTo(t, unsafe{file}, "", "new")
	if status != exitFailed || !strings.Contains(stderr, "writing the keyset: no space left on device") {
		t.Errorf("exit %d, stderr %q, want 1 and the reason", status, stderr)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer func() { _ = full.Close() }()
	if status, stderr := keysTo(t, full, "", "new"); status != exitFailed || !strings.Contains(stderr, "writing the keyset: ") {
		t.Errorf("/dev/full: exit %d, stderr %q, want 1 and the reason", status, stderr)
	}
}
