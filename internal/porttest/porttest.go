// Package porttest chooses ports for servers that a test starts by their address, such as a process of its own.
//
// A port that the kernel names and nobody holds may be somebody else's a moment later. These are held: the kernel gives
// a held port to nobody who asks for any port, and to no outgoing connection, while a server that names it gets it, again
// and again. Until then connections to it are refused.
package porttest

import "testing"

// Reserve returns a free host:port of 127.0.0.1, which is held until the end of tb.
func Reserve(tb testing.TB) string {
	tb.Helper()
	addr, release, err := Hold()
	if err != nil {
		tb.Fatalf("holding a port: %v", err)
	}
	tb.Cleanup(release)
	return addr
}
