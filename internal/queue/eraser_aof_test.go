package queue

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// An append-only file contains the unsealed task of an erased user until the file is rewritten,
// and nothing of the user afterwards. docs/operations.md says so.
func TestEraser_AppendOnlyFile_KeepsThePersonUntilItIsRewritten(t *testing.T) {
	options := []string{"--appendonly", "yes", "--appendfsync", "always", "--rdbcompression", "no"}
	rdb := redistest.Start(t, options...).Client(t)
	b := newEraserFixtureOn(t, rdb)
	b.enqueue("waits", mixed("waits", 4, time.Now()))
	if _, err := NewEraser(b.results, rdb).Erase(t.Context(), testApp, planted); err != nil {
		t.Fatal(err)
	}
	dir := rdb.ConfigGet(t.Context(), "dir").Val()["dir"]
	if !holdsFile(t, dir, planted) {
		t.Fatal("the append-only file does not hold the user after the erasure: nothing is proved")
	}
	if err := rdb.BgRewriteAOF(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	await(t, "the file is rewritten", func() bool {
		info := rdb.Info(t.Context(), "persistence").Val()
		return strings.Contains(info, "aof_rewrite_in_progress:0") &&
			strings.Contains(info, "aof_rewrite_scheduled:0") && !holdsFile(t, dir, planted)
	})
	if !holdsFile(t, dir, tasks.TypeResolve) {
		t.Error("the file does not hold the task any more")
	}
}

// holdsFile reports whether a file below dir contains text. It ignores files that
// vanish meanwhile.
func holdsFile(t *testing.T, dir, text string) bool {
	t.Helper()
	holds := false
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // Redis deletes files
		}
		content, _ := os.ReadFile(path)
		holds = holds || strings.Contains(string(content), text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return holds
}
