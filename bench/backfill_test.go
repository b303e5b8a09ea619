package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/queue"
	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// BenchmarkBackfill runs the cloudidq program and writes lines to its stdin while the program
// reads them. No worker takes the tasks out of Redis. It reports lines per second and the peak
// memory of the program. With BENCH_LINES=10000000 you can see that the memory does not grow
// with the file; Redis then holds 2.5 GB.
func BenchmarkBackfill(b *testing.B) {
	n := size(b, "BENCH_LINES", 1_000_000)
	dir := b.TempDir()
	program := filepath.Join(dir, "cloudidq")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", program, "../cmd/cloudidq").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	keyset, err := exec.CommandContext(b.Context(), program, "keys", "new").Output()
	if err != nil {
		b.Fatal(err)
	}
	srv := redistest.Start(b)
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr})
	b.Cleanup(func() { _ = rdb.Close() })
	config := filepath.Join(dir, "cloudidq.yaml")
	text := fmt.Sprintf(`redis: {url: "redis://%s/0"}
store: {keyset: "env:BENCH_KEYSET"}
api: {max_pending: 10000000}
apps: [{appid: %s, token: {mode: static, access_token: "env:UNUSED"}}]
`, srv.Addr, appID)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	var peak float64
	for b.Loop() {
		// Each iteration starts with an empty Redis and a new process, whose stdin is a pipe.
		if err := rdb.FlushAll(b.Context()).Err(); err != nil {
			b.Fatal(err)
		}
		cmd := exec.CommandContext(b.Context(), program, "backfill", "--config", config, "--appid", appID, "-")
		cmd.Env = append(os.Environ(), "BENCH_KEYSET="+string(keyset))
		var said strings.Builder
		cmd.Stderr = &said
		stdin, out, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		cmd.Stdin = stdin
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		_ = stdin.Close()
		if err := writeLines(out, n); err != nil {
			b.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			b.Fatalf("%v: %s", err, said.String())
		}
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			peak = max(peak, float64(usage.Maxrss)/1024) // Linux reports KiB
		}
		if waiting, err := queue.Backlog(b.Context(), rdb, tasks.QueueBackfill); err != nil || waiting < n/tasks.MaxItems {
			b.Fatalf("%d tasks wait, %v, want %d at least; %s", waiting, err, n/tasks.MaxItems, said.String())
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
	b.ReportMetric(peak, "peak-MiB")
}

// writeLines writes n lines with different cloudIDs of the usual length, and closes the file.
func writeLines(out *os.File, n int) error {
	w := bufio.NewWriterSize(out, 64<<10)
	line := []byte(`{"cloud_id":"73_fgJ4wyusvonf58qdAq2uaTrbS1IOTpU2yR9ohCpIKEwU2AMI0000000000","openid":"o2axXWPau4mHCKPO0000000000","obtained_at":"2026-11-22T08:00:00.000Z"}` + "\n")
	cloudID := strings.Index(string(line), "0000000000")
	openID := strings.LastIndex(string(line), "0000000000")
	for i := range n {
		number := fmt.Appendf(line[cloudID:cloudID], "%010d", i) // overwrites the digits in line
		copy(line[openID:], number)
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return out.Close()
}
