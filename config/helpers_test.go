package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"cloudidq/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// checkGenerated compares a generated file with got. With -update, it writes the file first.
func checkGenerated(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is out of date; run with -update to write it (-file +code):\n%s", file, diff)
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// minimal is the shortest valid file.
const minimal = `store: {encryption: off}
apps:
  - appid: wx1
    token: {mode: stable, secret: env:WX_SECRET}
`

// with returns the minimal file with lines before it.
func with(lines string) string { return lines + minimal }

// app returns a file with one app that consists of these lines. It indents them.
func app(lines ...string) string {
	return "store: {encryption: off}\napps:\n  - " + strings.Join(lines, "\n    ") + "\n"
}

// write writes text to a file in a new folder.
func write(tb testing.TB, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "cloudidq.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// environment returns a look-up function for a map.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

func load(tb testing.TB, text string, vars map[string]string) *config.Config {
	tb.Helper()
	cfg, err := config.Load(write(tb, text), environment(vars))
	if err != nil {
		tb.Fatalf("Load() = %v\n%s", err, text)
	}
	return cfg
}

// faults loads text, expects an error, and returns its text without the folder of the file.
func faults(tb testing.TB, text string, vars map[string]string) string {
	tb.Helper()
	path := write(tb, text)
	cfg, err := config.Load(path, environment(vars))
	return short(tb, cfg, err, path)
}

func short(tb testing.TB, cfg *config.Config, err error, path string) string {
	tb.Helper()
	var all config.Faults
	if !errors.As(err, &all) || len(all) == 0 {
		tb.Fatalf("error = %v (%T), want Faults", err, err)
	}
	if cfg != nil {
		tb.Errorf("Load() returns a configuration in addition to %v", err)
	}
	return strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", "")
}

// same compares the values of two configurations, not their origin.
func same(tb testing.TB, got, want *config.Config) {
	tb.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Config{})); diff != "" {
		tb.Errorf("configuration differs (-want +got):\n%s", diff)
	}
}

func yamlOf(tb testing.TB, cfg *config.Config) string {
	tb.Helper()
	text, err := cfg.YAML()
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// golden compares got with a file in testdata.
func golden(tb testing.TB, name, got string) {
	tb.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		tb.Errorf("%s differs; run with -update if this is intended (-want +got):\n%s", path, diff)
	}
}
