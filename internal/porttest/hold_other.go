//go:build !linux

package porttest

import (
	"context"
	"net"
)

// Hold returns a port that is free now. Where a bound socket keeps others from the port there is no way to hold it.
func Hold() (addr string, release func(), err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	return ln.Addr().String(), func() {}, ln.Close()
}
