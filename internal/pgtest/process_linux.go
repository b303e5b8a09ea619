package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// prepare sets the process attributes of a command.
//
// The kernel stops the child if the test binary dies without its cleanups (panic, -timeout). The
// signal is SIGQUIT, PostgreSQL's immediate shutdown, which also stops PostgreSQL's own children
// (https://www.postgresql.org/docs/current/server-shutdown.html).
//
// PostgreSQL refuses to run as root. If the tests run as root, the child runs as the user
// postgres, which the PostgreSQL package creates.
func prepare(cmd *exec.Cmd) error {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() == 0 {
		uid, gid, err := unprivileged()
		if err != nil {
			return err
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	cmd.SysProcAttr = attr
	return nil
}

// own makes the user that the server runs as the owner of dir.
func own(dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	uid, gid, err := unprivileged()
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}

// unprivileged returns the ids of the user postgres.
func unprivileged() (uid, gid int, err error) {
	account, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0,
			fmt.Errorf("PostgreSQL does not run as root, and the user postgres does not exist: %w", err)
	}
	uid, err = strconv.Atoi(account.Uid)
	gid, gidErr := strconv.Atoi(account.Gid)
	return uid, gid, errors.Join(err, gidErr)
}
