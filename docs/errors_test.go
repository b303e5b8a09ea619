package docs_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/wechat"
)

var update = flag.Bool("update", false, "write the generated parts of the documents")

// docs/errors.md has the table of codes of internal/wechat.
func TestErrors_ListEveryCode(t *testing.T) {
	var table strings.Builder
	table.WriteString("| code | class | WeChat's text | what to do |\n| --- | --- | --- | --- |\n")
	for _, code := range wechat.Codes() {
		fmt.Fprintf(&table, "| %d | %s | %s | %s |\n", code.Code, code.Class, code.Text, code.Remedy)
	}
	checkPart(t, "errors.md", "codes", table.String())
}

// checkPart compares the part of a document between <!-- name --> and <!-- end --> with want. With
// -update it writes the part instead.
func checkPart(t *testing.T, file, name, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), "<!-- "+name+" -->\n")
	got, tail, closed := strings.Cut(rest, "<!-- end -->")
	if !found || !closed {
		t.Fatalf("%s has no part %s", file, name)
	}
	if *update {
		out := head + "<!-- " + name + " -->\n\n" + want + "\n<!-- end -->" + tail
		if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, strings.Trim(got, "\n")+"\n"); diff != "" {
		t.Errorf("%s is out of date; -update writes it (-want +file):\n%s", file, diff)
	}
}
