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

// A command is what a reader types, with the output that the document shows.
type command struct {
	text   string // several lines if it goes on
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

// commands are the lines of a console block that begin with "$ ", and those that go on with "> ". A block of sh is one
// command, which shows nothing.
func (b block) commands() []command {
	if b.language == "sh" {
		return []command{{text: strings.TrimSuffix(b.text, "\n")}}
	}
	var all []command
	for line := range strings.Lines(b.text) {
		line = strings.TrimSuffix(line, "\n")
		last := len(all) - 1
		switch begun, typed := strings.CutPrefix(line, "$ "); {
		case typed:
			all = append(all, command{text: begun})
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
	blank  = regexp.MustCompile(`\s+`)
)

// shows reports the first line that a document shows of an output and that is not in it: "" if there is none. Numbers and
// the width of tables differ from run to run; … stands for anything, and alone in a line for any lines.
func (c command) missing(output string) string {
	lines := strings.Split(output, "\n")
	for _, want := range c.output {
		if want == "…" {
			continue
		}
		pattern := regexp.QuoteMeta(want)
		for _, rule := range []struct {
			of *regexp.Regexp
			by string
		}{{number, "[0-9]+"}, {rule, "─+"}, {blank, `\s+`}} {
			pattern = rule.of.ReplaceAllLiteralString(pattern, rule.by)
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
