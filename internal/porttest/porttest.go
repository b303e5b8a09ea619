// Package porttest reserves ports for servers that a test starts by address, such as a separate
// process.
//
// If a test lets the kernel pick a free port and releases it, another process may get that port
// before the server does. This package holds the port. The kernel then gives it to no process
// that requests any free port, and to no outgoing connection. A server that requests the held
// port by number gets it, and may be restarted on it. While no server listens, connections to
// the port are refused.
package porttest

import "testing"

// Reserve returns a free host:port of 127.0.0.1 and holds it until the end of tb.
func Reserve(tb testing.TB) string {
	tb.Helper()
	addr, release, err := Hold()
	if err != nil {
		tb.Fatalf("holding a port: %v", err)
	}
	tb.Cleanup(release)
	return addr
}
