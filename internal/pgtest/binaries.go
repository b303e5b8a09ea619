package pgtest

import (
	"cmp"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// debian is where its packages put the servers, one folder per major version, outside of PATH.
const debian = "/usr/lib/postgresql/*/bin"

var errMissing = errors.New("PostgreSQL is not installed: apt-get install postgresql, or make test does it")

// binaries returns the folder of initdb and postgres: that of PATH, or the newest among those of the pattern.
func binaries(pattern string) (string, error) {
	var dirs []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	installed, _ := filepath.Glob(pattern) // fails for a bad pattern only
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

// major is the version in a folder's name, such as 15 in /usr/lib/postgresql/15/bin.
func major(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // 0 for anything else
	return n
}
