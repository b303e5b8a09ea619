package docs_test

import (
	"regexp"
	"strings"
)

// block is a fenced block of a document, with the comment in the line before it.
type block struct {
	language string
	comment  string // <!-- this -->
	text     string
}

// command is a command of a document, with the output that the document shows.
type command struct {
	text   string // may have several lines
	output []string
}

var fenced = regexp.MustCompile("(?ms)(?:^<!-- (.*?) -->\n)?^```(\\w+)\n(.*?)^```$")

func blocks(document string) []block {
	var all []block
	for _, m := range fenced.FindAllStringSubmatch(document, -1) {
		all = append(all, block{language: m[2], comment: m[1], text: m[3]})
	}
	return all
}

// commands returns the commands of a console block: the lines that begin with "$ ", continued by
// lines that begin with "> ". A block of sh is one command without output.
func (b block) commands() []command {
	if b.language == "sh" {
		return []command{{text: strings.TrimSuffix(b.text, "\n")}}
	}
	var all []command
	for line := range strings.Lines(b.text) {
		line = strings.TrimSuffix(line, "\n")
		last := len(all) - 1
		switch text, isCommand := strings.CutPrefix(line, "$ "); {
		case isCommand:
			all = append(all, command{text: text})
		case last >= 0 && strings.HasPrefix(line, "> ") && len(all[last].output) == 0:
			all[last].text += "\n" + line[2:]
		case last >= 0:
			all[last].output = append(all[last].output, line)
		}
	}
	return all
}

var (
	number = regexp.MustCompile(`[0-9]+`)
	rule   = regexp.MustCompile(`─+`)
	space  = regexp.MustCompile(`\s+`)
)

// missing returns the first line that the document shows and the output does not have, or "". It
// ignores the values of numbers and the widths of tables, which differ from run to run. "…" matches
// anything; a line of "…" matches any lines.
func (c command) missing(output string) string {
	lines := strings.Split(output, "\n")
	for _, want := range c.output {
		if want == "…" {
			continue
		}
		pattern := regexp.QuoteMeta(want)
		for _, r := range []struct {
			old *regexp.Regexp
			new string
		}{{number, "[0-9]+"}, {rule, "─+"}, {space, `\s+`}} {
			pattern = r.old.ReplaceAllLiteralString(pattern, r.new)
		}
		re := regexp.MustCompile("^" + strings.ReplaceAll(pattern, "…", ".*") + "$")
		at := -1
		for i, line := range lines {
			if re.MatchString(strings.TrimRight(line, " \r")) {
				at = i
				break
			}
		}
		if at < 0 {
			return want
		}
		lines = lines[at+1:]
	}
	return ""
}
