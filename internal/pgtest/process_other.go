//go:build !linux

package pgtest

import "os/exec"

// prepare does nothing, because the kernel cannot stop the child with its parent.
func prepare(*exec.Cmd) error { return nil }

// own does nothing, because the server runs as the same user.
func own(string) error { return nil }
