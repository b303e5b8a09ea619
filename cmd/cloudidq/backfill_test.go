package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// backfillFile writes a file of n lines. Each tenth line is invalid. It returns its path and the
// references of the valid lines.
func backfillFile(t *testing.T, n int) (path string, good []string) {
	t.Helper()
	var b strings.Builder
	for i := range n {
		if i%10 == 9 {
			b.WriteString(`{"cloud_id":"planted","openid":17}` + "\n")
			continue
		}
		good = append(good, fmt.Sprintf("line %07d", i+1))
		fmt.Fprintf(&b, `{"cloud_id":"73_planted_%d","openid":"o_planted_%d","reference":"%s"}`+"\n", i, i, good[len(good)-1])
	}
	return writeFile(t, "taps.ndjson", b.String()), good
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// queuedLines returns the references of all items in queue backfill, sorted.
func queuedLines(t *testing.T, rdb redis.UniversalClient) []string {
	t.Helper()
	var all []string
	for page := 1; ; page++ {
		infos, err := asynq.NewInspectorFromRedisClient(rdb).ListPendingTasks(tasks.QueueBackfill, asynq.PageSize(1000), asynq.Page(page))
		if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
			t.Fatal(err)
		}
		for _, info := range infos {
			p, err := tasks.ParseResolve(info.Payload)
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range p.Items {
				all = append(all, it.Reference)
			}
		}
		if len(infos) < 1000 {
			slices.Sort(all)
			return all
		}
	}
}

var saidID = regexp.MustCompile(`(?m)^id=(bf_[a-z2-7]{26})$`)

// idOf returns the backfill id that a command has printed.
func idOf(stderr string) string {
	if found := saidID.FindStringSubmatch(stderr); found != nil {
		return found[1]
	}
	return ""
}

func TestBackfill_CommandLine(t *testing.T) {
	srv := redistest.Start(t)
	rdb := srv.Client(t)
	good := goodConfig(t, srv.Addr)
	path, want := backfillFile(t, 1000)
	run := func(args ...string) (int, string, string) {
		t.Helper()
		return invoke(t, append([]string{"backfill", "--config", good, "--appid", appA}, args...)...)
	}
	status, stdout, stderr := run(path)
	id := idOf(stderr)
	if status != exitFailed || stdout != "" || !strings.HasPrefix(stderr, "id=bf_") || id == "" ||
		!strings.Contains(stderr, "\nline 10: openid must be a string\n") || !strings.Contains(stderr, "\nlines: 1000, accepted: 900, rejected: 100\n") ||
		!strings.HasSuffix(stderr, "\ncloudidq: rejected lines: 100 of 1000\n") || strings.Contains(stderr, "planted") {
		t.Errorf("exit %d, stdout %q, stderr %s", status, stdout, stderr)
	}
	if diff := cmp.Diff(want, queuedLines(t, rdb)); diff != "" {
		t.Errorf("queued lines (-want +got):\n%s", diff)
	}
	// All lines of the same file are already loaded. A changed file is rejected.
	status, _, stderr = run("--resume", id, path)
	if status != exitFailed || idOf(stderr) != id || !strings.Contains(stderr, "resuming; lines already loaded, which are checked first: 1000\n") {
		t.Errorf("resumed: exit %d, %s", status, stderr)
	}
	text, _ := os.ReadFile(path)
	other := writeFile(t, "taps.ndjson", strings.Replace(string(text), "o_planted_500", "o_planted_501", 1))
	status, _, stderr = run("--resume", id, other)
	if status != exitFailed || !regexp.MustCompile(`the input has changed: at least one of lines \d+ to \d+ differs from the earlier load; `).MatchString(stderr) {
		t.Errorf("resumed with another file: exit %d, %s", status, stderr)
	}
	longer := writeFile(t, "taps.ndjson", string(text)+`{"cloud_id":"planted"}`)
	if status, _, stderr = run("--resume", id, longer); status != exitFailed || !strings.Contains(stderr, "complete with 1000 lines, but the input has more") {
		t.Errorf("resumed with a longer file: exit %d, %s", status, stderr)
	}
	if n := len(queuedLines(t, rdb)); n != 900 {
		t.Errorf("%d lines are queued", n)
	}
	if status, _, stderr = run(writeFile(t, "empty.ndjson", "")); status != exitDone || !strings.Contains(stderr, "lines: 0, accepted: 0, rejected: 0\n") {
		t.Errorf("an empty file: exit %d, %s", status, stderr)
	}
	csv := writeFile(t, "taps.CSV", "\ufeffreference,cloud_id\r\nr,73_x\r\n")
	if status, _, stderr = run(csv); status != exitDone || !strings.Contains(stderr, "lines: 2, accepted: 1, rejected: 0\n") {
		t.Errorf("a CSV file: exit %d, %s", status, stderr)
	}
	// Redis has no readable ids except in the payloads of tasks.
	for _, key := range rdb.Keys(t.Context(), "cloudidq:*").Val() {
		if strings.Contains(key, "planted") || rdb.TTL(t.Context(), key).Val() <= 0 {
			t.Errorf("%s contains an id or has no TTL", key)
		}
	}
}

func TestBackfill_UsageErrors(t *testing.T) {
	srv := redistest.Start(t)
	rdb := srv.Client(t)
	good := goodConfig(t, srv.Addr)
	path := writeFile(t, "taps.ndjson", `{"cloud_id":"73_planted"}`)
	backfills := backfill.NewStore(rdb, time.Hour, nil)
	open, canceled, unnamed := backfill.NewID(), backfill.NewID(), backfill.NewID()
	for id, webhook := range map[string]string{open: "", canceled: "", unnamed: "w"} {
		if _, err := backfills.Create(t.Context(), backfill.Backfill{ID: id, AppID: appA, Webhook: webhook, Format: "csv"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := backfills.Cancel(t.Context(), canceled); err != nil {
		t.Fatal(err)
	}
	other := backfill.NewID()
	if _, err := backfills.Create(t.Context(), backfill.Backfill{ID: other, AppID: "wx9", Format: "ndjson"}); err != nil {
		t.Fatal(err)
	}
	ofA := []string{"backfill", "--config", good, "--appid", appA}
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"NoFile":             {ofA, []string{"accepts 1 arg"}},
		"AllInvalid":         {[]string{"backfill", "--config", good, "--format", "xml", "--webhook", "w", filepath.Join(t.TempDir(), "nowhere")}, []string{"--appid is missing", "--format must be ndjson or csv", "--webhook is not among", "FILE cannot be opened: no such file"}},
		"UnknownApp":         {[]string{"backfill", "--config", good, "--appid", "wx9", path}, []string{"--appid is not among the apps"}},
		"Directory":          {append(slices.Clone(ofA), t.TempDir()), []string{"FILE cannot be read: it is a directory"}},
		"Header":             {append(slices.Clone(ofA), "--format", "csv", path), []string{"line 1, the header: has a quote in an unquoted field"}},
		"OutIsInput":         {append(slices.Clone(ofA), "--out", path, path), []string{"--out must not be the input file"}},
		"OutIsDirectory":     {append(slices.Clone(ofA), "--out", t.TempDir(), path), []string{"--out must be a regular file"}},
		"OutInMissingFolder": {append(slices.Clone(ofA), "--out", filepath.Join(t.TempDir(), "nowhere", "out"), path), []string{"--out cannot be written: no such file"}},
		"UnknownBackfill":    {append(slices.Clone(ofA), "--resume", "planted", path), []string{"--resume: the backfill does not exist or has expired"}},
		"OtherApp":           {append(slices.Clone(ofA), "--resume", other, path), []string{"--resume: the backfill belongs to another app"}},
		"OtherFormat":        {append(slices.Clone(ofA), "--resume", open, "--format", "ndjson", path), []string{"--resume: the backfill has format csv"}},
		"Canceled":           {append(slices.Clone(ofA), "--resume", canceled, path), []string{"--resume: the backfill has been canceled"}},
		"NoWebhook":          {append(slices.Clone(ofA), "--resume", unnamed, path), []string{"--resume: the backfill's webhook is not among"}},
		"ResumeHeader":       {append(slices.Clone(ofA), "--resume", open, path), []string{"line 1, the header: has a quote in an unquoted field"}},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := invoke(t, tc.args...)
			if status != exitUsage || stdout != "" || strings.Contains(stderr, "planted") {
				t.Errorf("exit %d with %q on stdout, want 2 and no output; stderr: %s", status,
					stdout, stderr)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr = %q, does not contain %q", stderr, want)
				}
			}
		})
	}
	if lines := queuedLines(t, rdb); len(lines) != 0 {
		t.Errorf("queue = %v", lines)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(left) != 1 {
		t.Errorf("files = %v, want only the input", left)
	}
}

// input.unchanged reports a file that was modified after it was opened.
func TestInput_Changes(t *testing.T) {
	path := writeFile(t, "taps", "0123456789")
	in, err := openInput(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	if n, err := in.Read(make([]byte, 100)); n != 10 || err != nil || in.unchanged() != nil {
		t.Errorf("Read = %d, %v, %v", n, err, in.unchanged())
	}
	if err := os.WriteFile(path, []byte("01234567890"), 0o600); err != nil {
		t.Fatal(err)
	}
	if in.unchanged() == nil {
		t.Error("unchanged() = nil for a longer file")
	}
	if err := errors.Join(os.WriteFile(path, []byte("9876543210"), 0o600), os.Chtimes(path, time.Now(), time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if in.unchanged() == nil {
		t.Error("unchanged() = nil for a rewritten file")
	}
}
