package browsertest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// A browser that reads its commands and does not answer, and one that reads no more, end a step with its name; nothing hangs.
func TestCall_NamesTheStepThatGetsNoAnswer(t *testing.T) {
	for name, size := range map[string]int{"no answer": 1, "does not take the command": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			in, out, err := os.Pipe() // nobody reads; it takes 64 KiB
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = in.Close(), out.Close() })
			c := newConn(out)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			err = c.call(ctx, "", "Page.planted", params{"text": strings.Repeat("x", size)}, nil)
			if err == nil || !strings.HasPrefix(err.Error(), "Page.planted: ") || !strings.Contains(err.Error(), name) {
				t.Errorf("call() = %v, want the command and %q", err, name)
			}
			if len(c.waiting) != 0 {
				t.Errorf("%d calls still wait", len(c.waiting))
			}
		})
	}
}
