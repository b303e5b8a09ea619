package pgtest

import (
	"cmp"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// debian is the pattern of the folders where Debian's packages install the servers. There is one
// folder per major version, and none is in PATH.
const debian = "/usr/lib/postgresql/*/bin"

var errMissing = errors.New(
	"PostgreSQL is not installed; run apt-get install postgresql or make test, which installs it")

// binaries returns the folder that contains initdb and postgres. It prefers PATH. Otherwise it
// picks the newest version among the folders that match pattern.
func binaries(pattern string) (string, error) {
	var dirs []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	installed, _ := filepath.Glob(pattern) // fails only for a bad pattern
	slices.SortFunc(installed, func(a, b string) int { return cmp.Compare(major(b), major(a)) })
	for _, dir := range append(dirs, installed...) {
		_, initErr := exec.LookPath(filepath.Join(dir, "initdb"))
		_, err := exec.LookPath(filepath.Join(dir, "postgres"))
		if initErr == nil && err == nil {
			return dir, nil
		}
	}
	return "", errMissing
}

// major returns the version in the path of a folder, for example 15 for
// /usr/lib/postgresql/15/bin.
func major(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // 0 if it is not a number
	return n
}
