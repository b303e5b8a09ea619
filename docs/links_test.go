package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// documents returns the paths of all Markdown files of the project, relative to its root.
func documents(t *testing.T) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata" || d.Name() == "dist"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".md"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil || len(files) < 3 {
		t.Fatalf("documents: %v, %v", files, err)
	}
	return files
}

var (
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	codeFence  = regexp.MustCompile("(?ms)^```.*?^```$")
	codeSpan   = regexp.MustCompile("`[^`\n]*`")
	headingRow = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
)

// Every link within the project leads to an existing file, and to an existing heading if it names
// one.
func TestLinks(t *testing.T) {
	links := 0
	for _, file := range documents(t) {
		text := read(t, file)
		for _, found := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(codeFence.ReplaceAllString(text, ""), ""), -1) {
			to := found[1]
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			links++
			path, anchor, _ := strings.Cut(to, "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(filepath.Join("..", target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", file, to)
				continue
			}
			if anchor != "" && !anchors(read(t, target))[anchor] {
				t.Errorf("%s links to %s, and %s has no such heading", file, to, target)
			}
		}
	}
	if links < 10 {
		t.Errorf("only %d links were found", links)
	}
}

// docs/README.md links to every page in docs.
func TestContents_ListEveryPage(t *testing.T) {
	contents := read(t, "docs/README.md")
	for _, file := range documents(t) {
		page, isPage := strings.CutPrefix(file, "docs/")
		if isPage && !strings.Contains(page, "/") && page != "README.md" && !strings.Contains(contents, "]("+page+")") {
			t.Errorf("docs/README.md does not list %s", page)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// anchors returns the anchors of a document's headings: lower case, without punctuation, with hyphens
// for spaces.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for _, heading := range headingRow.FindAllStringSubmatch(codeFence.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			default:
				return -1
			}
		}, heading[1])
		names[name] = true
	}
	return names
}
