package docs_test

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	testFunc  = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	testNamed = regexp.MustCompile("`(Test[A-Z]\\w*)`")
)

// Every test that a document names exists.
func TestDocuments_NameTestsThatExist(t *testing.T) {
	existing := tests(t)
	for _, file := range documents(t) {
		for _, found := range testNamed.FindAllStringSubmatch(read(t, file), -1) {
			if !existing[found[1]] {
				t.Errorf("%s names the test %s, which does not exist", file, found[1])
			}
		}
	}
}

// Every promise of the README, and every row of the table of threats, names its tests.
func TestDocuments_PromisesNameTheirTests(t *testing.T) {
	promises := between(t, read(t, "README.md"), "## Promises\n", "\n## ")
	items := regexp.MustCompile(`(?m)^\d+\. `).Split(promises, -1)[1:]
	if len(items) < 6 {
		t.Fatalf("README.md has %d promises", len(items))
	}
	for _, item := range items {
		if !testNamed.MatchString(item) {
			t.Errorf("a promise of README.md names no test: %s", item)
		}
	}

	rows := strings.Split(strings.TrimSpace(between(t, read(t, "docs/threats.md"), "## Who can reach what\n", "\n## ")), "\n")
	if len(rows) < 15 {
		t.Fatalf("docs/threats.md has %d rows", len(rows))
	}
	for _, row := range rows[2:] {
		if !testNamed.MatchString(row) {
			t.Errorf("a row of docs/threats.md names no test: %s", row)
		}
	}
}

// between returns the part of a text between begin and end.
func between(t *testing.T, text, begin, end string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, begin)
	if !ok {
		t.Fatalf("there is no %q", begin)
	}
	part, _, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatalf("there is no %q after %q", end, begin)
	}
	return part
}

// tests returns the names of all test functions of the project.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(root, path)
		for _, found := range testFunc.FindAllSubmatch(text, -1) {
			names[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
