package porttest

import (
	"net"
	"os"
	"strconv"
	"syscall"
)

// Hold is like [Reserve], but needs no test. It holds the port until the caller calls release.
//
// Hold binds a socket to the port but does not listen. If both sockets set SO_REUSEADDR, another
// process may bind the port and listen on it (socket(7)). Go's listeners, redis-server and
// PostgreSQL set it.
func Hold() (addr string, release func(), err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("socket", err)
	}
	release = func() { _ = syscall.Close(fd) }
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		release()
		return "", nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		release()
		return "", nil, os.NewSyscallError("bind", err)
	}
	bound, err := syscall.Getsockname(fd)
	at, ok := bound.(*syscall.SockaddrInet4)
	if err != nil || !ok {
		release()
		return "", nil, os.NewSyscallError("getsockname", err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(at.Port)), release, nil
}
