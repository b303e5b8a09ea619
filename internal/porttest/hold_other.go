//go:build !linux

package porttest

import (
	"context"
	"net"
)

// Hold returns a port that is currently free. release does nothing: on these systems, a bound
// socket would block the port for the server too, so it cannot be held.
func Hold() (addr string, release func(), err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	return ln.Addr().String(), func() {}, ln.Close()
}
