package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloudidq/internal/telemetry"
)

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *logBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// lines returns the parsed lines written so far.
func (s *logBuffer) lines(t *testing.T) []map[string]any {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []map[string]any
	for text := range strings.Lines(s.b.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("not a line of JSON: %v: %s", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

// count returns how many lines with a message were written, and how many more the summary lines
// report.
func (s *logBuffer) count(t *testing.T, message string) (written, dropped int) {
	t.Helper()
	for _, line := range s.lines(t) {
		switch {
		case line["msg"] == message:
			written++
		case line["line"] == message:
			dropped += int(line["lines"].(float64))
		}
	}
	return written, dropped
}

func newTelemetry(t *testing.T, out *logBuffer, level string) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(t.Context(), telemetry.Config{
		Out: out, Level: level, Format: "json", LookupEnv: func(string) (string, bool) { return "", false },
	})
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

func TestQuiet_SummarizesFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logBuffer
		tel := newTelemetry(t, &out, "info")
		for i := range 3000 { // takes 3 seconds
			tel.Log.Info("resolve", "task_id", fmt.Sprint(i), "appid", "wx1", "error", fmt.Sprint("open: ", i))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		written, dropped := out.count(t, "resolve")
		if written+dropped != 3000 || written < 150 || written > 200 {
			t.Errorf("%d lines and %d suppressed, want 50 per second and 3000 in total", written,
				dropped)
		}
		for _, line := range out.lines(t) {
			if line["line"] != nil && (line["appid"] != "wx1" || line["level"] != "INFO" || line["task_id"] != nil) {
				t.Errorf("a summary = %v, want only the common attributes", line)
			}
		}
		// The burst is over, so new lines are written again.
		before := len(out.lines(t))
		tel.Log.Info("resolve", "appid", "wx1")
		if got := len(out.lines(t)); got != before+1 {
			t.Errorf("%d lines after one more, want %d", got, before+1)
		}
		tel.Shutdown()
	})
}

func TestQuiet_KindsAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logBuffer
		tel := newTelemetry(t, &out, "debug")
		for i := range 200 {
			tel.Log.Info("resolve", "appid", "wx1")
			tel.Log.Debug("detail", "appid", "wx1")
			if i < 20 {
				tel.Log.Info("resolve", "appid", "wx2")
				tel.Log.Warn("resolve", "appid", "wx1")
				tel.Log.With("appid", "wx3").Info("other")
			}
		}
		if n, _ := out.count(t, "resolve"); n != 50+20+20 {
			t.Errorf("%d lines, want 50 of the flood and the lines of another app and another level", n)
		}
		if n, _ := out.count(t, "detail"); n != 200 {
			t.Errorf("%d debug lines, want all", n)
		}
		tel.Shutdown()
		if _, dropped := out.count(t, "resolve"); dropped != 150 {
			t.Errorf("%d lines are suppressed at the end, want 150", dropped)
		}
		tel.Log.Info("resolve", "appid", "wx1") // after Shutdown, every line is written
		if n, _ := out.count(t, "resolve"); n != 91 {
			t.Errorf("%d lines after Shutdown, want one more", n)
		}
	})
}

// Lines of very many kinds must not use up the memory.
func TestQuiet_ManyKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logBuffer
		tel := newTelemetry(t, &out, "info")
		for i := range 20_000 {
			tel.Log.Info("resolve", "appid", fmt.Sprint("wx", i))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if written, dropped := out.count(t, "resolve"); written > 1100 || written+dropped != 20_000 {
			t.Errorf("%d lines and %d suppressed, want about 1,074 and 20,000 in total", written,
				dropped)
		}
		tel.Shutdown()
	})
}

func TestQuiet_Concurrent(t *testing.T) {
	var out logBuffer
	tel := newTelemetry(t, &out, "info")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				tel.Log.InfoContext(context.Background(), "resolve", "appid", "wx1")
			}
		})
	}
	wg.Wait()
	tel.Shutdown()
	if written, dropped := out.count(t, "resolve"); written+dropped != 40_000 {
		t.Errorf("%d lines and %d suppressed, want 40,000 in total", written, dropped)
	}
}

// BenchmarkLog measures the cost of a suppressed line and of a written line.
func BenchmarkLog(b *testing.B) {
	for name, level := range map[string]slog.Level{"dropped": slog.LevelInfo, "written": slog.LevelDebug} {
		b.Run(name, func(b *testing.B) {
			tel, err := telemetry.New(b.Context(), telemetry.Config{
				Out: discard{}, Level: "debug", Format: "json", LookupEnv: func(string) (string,
					bool) {
					return "", false
				},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer tel.Shutdown()
			b.ReportAllocs()
			for b.Loop() {
				tel.Log.LogAttrs(b.Context(), level, "resolve", slog.String("task_id", "t"), slog.String("queue", "events"),
					slog.Int("attempt", 1), slog.String("appid", "wx1"), slog.String("error", "wechat: errcode -1 (retry)"))
			}
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
