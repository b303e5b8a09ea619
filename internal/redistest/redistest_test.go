package redistest_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cloudidq/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStart_RespondsAndStopsWithTest(t *testing.T) {
	var addr string
	t.Run("inner", func(t *testing.T) {
		srv := redistest.Start(t)
		addr = srv.Addr
		rdb := srv.Client(t)
		if err := rdb.Set(t.Context(), "k", "v", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		if got := rdb.ConfigGet(t.Context(), "save").Val()["save"]; got != "" {
			t.Errorf("save = %q, want none", got)
		}
		t.Cleanup(func() { // runs after t's context is canceled
			if got := rdb.Get(context.Background(), "k").Val(); got != "v" {
				t.Errorf("in a cleanup: k = %q, want v", got)
			}
		})
	})
	if answers(t, addr) {
		t.Errorf("%s still accepts connections after its test", addr)
	}
}

func TestStart_ArgumentsOverrideDefaults(t *testing.T) {
	rdb := redistest.Start(t, "--databases", "3", "--maxmemory-policy", "allkeys-lru").Client(t)
	for name, want := range map[string]string{"databases": "3", "maxmemory-policy": "allkeys-lru"} {
		if got := rdb.ConfigGet(t.Context(), name).Val()[name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestStart_ServersAreSeparate(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 4 {
		srv := redistest.Start(t)
		rdb := srv.Client(t)
		wg.Go(func() {
			want := fmt.Sprint(i)
			if err := rdb.SetNX(t.Context(), "k", want, 0).Err(); err != nil {
				t.Error(err)
			}
			if got := rdb.Get(t.Context(), "k").Val(); got != want {
				t.Errorf("server %d: k = %q, want %q", i, got, want)
			}
		})
	}
	wg.Wait()
}

func TestRestart(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		args       []string
	}{
		{name: "WithoutAppendOnly_Empty"},
		{name: "WithAppendOnly_KeepsData", args: []string{"--appendonly", "yes"}, want: "v"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := redistest.Start(t, tc.args...)
			rdb := srv.Client(t)
			if err := rdb.Set(t.Context(), "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}

			addr := srv.Addr
			srv.Kill()
			srv.Kill() // does nothing
			if answers(t, addr) {
				t.Error("accepts connections after Kill")
			}
			srv.Restart()

			if srv.Addr != addr {
				t.Errorf("Addr = %q after Restart, want %q", srv.Addr, addr)
			}
			if got := rdb.Get(t.Context(), "k").Val(); got != tc.want {
				t.Errorf("k = %q after Restart, want %q", got, tc.want)
			}
			srv.Restart() // on a running server
			if err := rdb.Ping(t.Context()).Err(); err != nil {
				t.Errorf("after the second Restart: %v", err)
			}
		})
	}
}

func TestStart_InvalidArgument_FailsWithReason(t *testing.T) {
	got := record(t, func(tb testing.TB) { redistest.Start(tb, "--no-such-setting", "1") })
	if got.verb != "fatal" || !strings.Contains(got.text, "no-such-setting") {
		t.Errorf("Start = %s %q, want fatal with the error of the server", got.verb, got.text)
	}
}

func TestStart_NotInstalled(t *testing.T) {
	for ci, want := range map[string]string{"": "skip", "true": "fatal"} {
		t.Setenv("PATH", t.TempDir())
		t.Setenv("CI", ci)
		got := record(t, func(tb testing.TB) { redistest.Start(tb) })
		if got.verb != want || !strings.Contains(got.text, "apt-get install redis-server") {
			t.Errorf("CI=%q: %s %q, want %s with the remedy", ci, got.verb, got.text, want)
		}
	}
}

// recorder is a [testing.TB] that records how the test would have finished.
type recorder struct {
	testing.TB
	verb, text string
}

type stopped struct{}

func (r *recorder) Skip(args ...any)             { r.stop("skip", fmt.Sprint(args...)) }
func (r *recorder) Fatal(args ...any)            { r.stop("fatal", fmt.Sprint(args...)) }
func (r *recorder) Fatalf(f string, args ...any) { r.stop("fatal", fmt.Sprintf(f, args...)) }
func (r *recorder) stop(verb, text string)       { r.verb, r.text = verb, text; panic(stopped{}) }

func record(t *testing.T, f func(testing.TB)) (r *recorder) {
	t.Helper()
	r = &recorder{TB: t}
	defer func() {
		if p := recover(); p != nil && p != (stopped{}) {
			panic(p)
		}
	}()
	f(r)
	return r
}

// answers reports whether addr accepts a connection.
func answers(t *testing.T, addr string) bool {
	t.Helper()
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
