//go:build linux

package porttest_test

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"

	"cloudidq/internal/porttest"
)

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// A held port refuses connections. A server that requests it by number gets it, repeatedly. No
// one else gets it.
func TestReserve_OnlyForItsServer(t *testing.T) {
	addr := porttest.Reserve(t)
	dial := func() error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	if dial() == nil {
		t.Error("a port without a listener accepts a connection")
	}
	for range 3 {
		ln := listen(t, addr)
		if err := dial(); err != nil {
			t.Errorf("connecting to its server: %v", err)
		}
		_ = ln.Close()
	}
	if dial() == nil {
		t.Error("the port accepts a connection after its server has stopped")
	}

}

// A process that requests any free port never gets the held port, even if no other port is left.
// This applies to servers and to outgoing connections.
func TestReserve_IsNotGivenToOthers(t *testing.T) {
	free := listen(t, "127.0.0.1:0")
	target := listen(t, "127.0.0.1:0")
	defer func() { _ = target.Close() }()
	_ = free.Close()
	for addr, want := range map[string]bool{free.Addr().String(): true, porttest.Reserve(t): false} {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		only := onlyPort(t, port)
		ln, err := (&net.ListenConfig{Control: only}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if got := err == nil; got != want {
			t.Errorf("server gets the port: %t, want %t (%v)", got, want, err)
		}
		if err == nil {
			_ = ln.Close()
		}
		conn, err := (&net.Dialer{Control: only}).DialContext(t.Context(), "tcp", target.Addr().String())
		if got := err == nil; got != want {
			t.Errorf("connection gets the port: %t, want %t (%v)", got, want, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// onlyPort limits the kernel's choice to one port (ip(7), IP_LOCAL_PORT_RANGE, since Linux 6.3).
func onlyPort(t *testing.T, port string) func(string, string, syscall.RawConn) error {
	t.Helper()
	const ipLocalPortRange = 51
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return func(_, _ string, conn syscall.RawConn) error {
		var failed error
		err := conn.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipLocalPortRange, n<<16|n)
		})
		if errors.Is(failed, syscall.ENOPROTOOPT) {
			t.Skip("this kernel does not support IP_LOCAL_PORT_RANGE")
		}
		return errors.Join(err, failed)
	}
}

func TestReserve_ReleasedAfterTest(t *testing.T) {
	var addr string
	t.Run("inner", func(t *testing.T) { addr = porttest.Reserve(t) })
	for range 2 {
		_ = listen(t, addr).Close()
	}
}
