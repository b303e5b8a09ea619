package browsertest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// If a browser does not respond, or does not read its commands, call returns an error that names
// the command. It does not hang.
func TestCall_NamesCommandWithoutAnswer(t *testing.T) {
	for name, size := range map[string]int{"no answer": 1, "does not accept the command": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			in, out, err := os.Pipe() // no one reads from the pipe, whose buffer is 64 KiB
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
				t.Errorf("%d calls are still waiting", len(c.waiting))
			}
		})
	}
}
