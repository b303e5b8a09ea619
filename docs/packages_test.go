package docs_test

import (
	"fmt"
	"maps"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var arrow = regexp.MustCompile(`(?m)^\s*(\w+) --> (\w+)$`)

// The picture of the packages in architecture.md equals the imports of the production code. An
// arrow is drawn unless a longer path leads there too.
func TestArchitecture_PictureEqualsTheImports(t *testing.T) {
	picture := between(t, read(t, "docs/architecture.md"), "<!-- packages -->\n```mermaid\n", "```")
	var drawn []string
	for _, found := range arrow.FindAllStringSubmatch(picture, -1) {
		drawn = append(drawn, found[1]+" --> "+found[2])
	}
	slices.Sort(drawn)
	if diff := cmp.Diff(arrows(imports(t)), drawn); diff != "" {
		t.Errorf("the picture differs from the imports (-imports +picture):\n%s", diff)
	}
}

// imports returns the project's packages by the last element of their path, with the packages
// that each of them imports. Packages that only help tests are left out.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	graph := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if helpsTests(words[0]) {
			continue
		}
		from := path.Base(words[0])
		if _, twice := graph[from]; twice {
			t.Fatalf("two packages are called %s", from)
		}
		graph[from] = nil
		for _, to := range words[1:] {
			if strings.HasPrefix(to, "cloudidq/") {
				graph[from] = append(graph[from], path.Base(to))
			}
		}
	}
	return graph
}

// helpsTests reports whether a package exists for tests only. The simulator wechattest does not:
// the commands sim and demo run it.
func helpsTests(importPath string) bool {
	name := path.Base(importPath)
	return strings.HasSuffix(name, "test") && name != "wechattest" || name == "bench" || name == "docs"
}

// arrows returns the edges of the graph that no longer path replaces, sorted.
func arrows(graph map[string][]string) (edges []string) {
	for _, from := range slices.Sorted(maps.Keys(graph)) {
		for _, to := range graph[from] {
			if !slices.ContainsFunc(graph[from], func(over string) bool { return over != to && reaches(graph, over, to) }) {
				edges = append(edges, fmt.Sprintf("%s --> %s", from, to))
			}
		}
	}
	slices.Sort(edges)
	return edges
}

func reaches(graph map[string][]string, from, to string) bool {
	return from == to || slices.ContainsFunc(graph[from], func(next string) bool { return reaches(graph, next, to) })
}
