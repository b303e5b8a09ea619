package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
)

const (
	simSeed = 11
	simEnv  = "CLOUDIDQ_BENCH_SIM" // makes the test binary run the simulator, listening at this address
)

// TestMain runs the simulator if simEnv is set, and the benchmarks otherwise.
func TestMain(m *testing.M) {
	if addr := os.Getenv(simEnv); addr != "" {
		fmt.Fprintln(os.Stderr, serveSim(addr))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func serveSim(addr string) error {
	sim, err := wechattest.New(wechattest.Config{Seed: simSeed, Latency: simLatency(), NoLedger: true})
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return err
	}
	return sim.Serve(context.Background(), ln)
}

// latencyEnv overrides the simulator's latency.
const latencyEnv = "CLOUDIDQ_BENCH_LATENCY"

func simLatency() time.Duration {
	d, err := time.ParseDuration(os.Getenv(latencyEnv))
	if err != nil {
		return latency
	}
	return d
}

// simulator is WeChat in its own process, so that its CPU time does not count as the worker's.
type simulator struct{ url, token string }

func startSimulator(b *testing.B, env ...string) *simulator {
	b.Helper()
	addr := freeAddr(b)
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), simEnv+"="+addr), env...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 200 {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(b.Context(), "tcp", addr)
		if err == nil {
			_ = conn.Close()
			front, err := wechattest.New(wechattest.Config{Seed: simSeed, NoLedger: true})
			if err != nil {
				b.Fatal(err)
			}
			return &simulator{url: "http://" + addr, token: front.StaticToken(appID)}
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatal("the simulator does not come up")
	return nil
}

func freeAddr(b *testing.B) string {
	b.Helper()
	ln, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// counter is a store that closes done after a given number of records are final.
type counter struct {
	store.Results
	left atomic.Int64
	done chan struct{}
}

func newCounter(results store.Results, n int) *counter {
	c := &counter{Results: results, done: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

// Save implements [store.Results].
func (c *counter) Save(ctx context.Context, taskID string, records []store.Record) error {
	if err := c.Results.Save(ctx, taskID, records); err != nil {
		return err
	}
	final := 0
	for i := range records {
		if records[i].Status.Final() {
			final++
		}
	}
	if final > 0 && c.left.Add(-int64(final)) == 0 {
		close(c.done)
	}
	return nil
}

// wait waits until all records are final.
func (c *counter) wait(b *testing.B) {
	b.Helper()
	select {
	case <-c.done:
	case <-time.After(4 * time.Minute):
		b.Fatalf("%d cloudIDs are not finished", c.left.Load())
	}
}
