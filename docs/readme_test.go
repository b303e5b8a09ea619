package docs_test

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestReadme types the commands of the README in a fresh copy of the project. Every command must
// succeed and print what the README shows, and every producer must submit a cloudID that is
// resolved. The blocks of other pages that belong to the session run before the README's last block,
// which stops the processes.
func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and runs the program")
	}
	needTools(t, "bash", "curl")
	needPorts(t, "6390", "8080", "9090", "9900")
	s := newSession(t, checkout(t))
	commands, programs := 0, 0
	for _, b := range sessionBlocks(t) {
		switch {
		case b.language == "console" || b.language == "sh":
			for _, c := range b.commands() {
				s.follow(c)
				commands++
			}
		case b.comment == "output":
			s.compare(command{"the command before", strings.Split(strings.TrimSpace(b.text), "\n")}, s.last)
		case strings.HasPrefix(b.comment, "producer: "):
			s.produce(b)
			programs++
		}
		if t.Failed() {
			return // the next block depends on this one
		}
	}
	if commands < 26 || programs != len(producers) {
		t.Errorf("only %d commands and %d programs were found", commands, programs)
	}
}

// sessionBlocks returns all blocks of the README, and before its last one the blocks of other pages
// that run in the same session: those with the comment "session", and producers.
func sessionBlocks(t *testing.T) []block {
	t.Helper()
	var others []block
	for _, file := range documents(t) {
		if strings.HasPrefix(file, "README") {
			continue
		}
		for _, b := range blocks(read(t, file)) {
			if b.comment == "session" || strings.HasPrefix(b.comment, "producer: ") {
				others = append(others, b)
			}
		}
	}
	all := blocks(read(t, "README.md"))
	last := slices.IndexFunc(all, func(b block) bool { return strings.HasPrefix(b.comment, "last: ") })
	if last != len(all)-1 {
		t.Fatalf("README.md: block %d of %d has the comment last", last+1, len(all))
	}
	return slices.Insert(all, last, others...)
}

// follow types a command of a document.
func (s *session) follow(c command) {
	s.t.Helper()
	from := s.screen.len()
	status, output := s.run(c.text)
	if status != "0" {
		s.t.Errorf("$ %s\n%s\nexited with status %s", c.text, output, status)
		return
	}
	s.last = output
	if strings.HasSuffix(c.text, "&") {
		output = s.waitFor(from, func(output string) bool { return c.missing(output) == "" })
	}
	s.compare(c, output)
}

func (s *session) compare(c command, output string) {
	s.t.Helper()
	if missing := c.missing(output); missing != "" {
		s.t.Errorf("$ %s\n%s\ndoes not print\n%s", c.text, output, missing)
	}
}

// producers says how to run the producers of the documents, with openid, cloudID and time as
// arguments. The block stands between before and after.
var producers = map[string]struct {
	tool, file, before, after, run string
}{
	"node": {"node", "producer.js", "", `
const [openid, cloudID, obtainedAt] = process.argv.slice(2)
resolve(openid, [cloudID], obtainedAt).then((records) => console.log(records[0].status))
`, "node producer.js"},
	"php": {"php", "producer.php", "", `
echo resolve($argv[1], [$argv[2]], $argv[3])[0]['status'], "\n";
`, "php producer.php"},
	"python": {"python3", "producer.py", "", `

import sys
print(resolve(sys.argv[1], [sys.argv[2]], sys.argv[3])[0]["status"])
`, "python3 producer.py"},
	"go": {"go", "producer/main.go", "", "", "go run ./producer"},
	"go, a part": {"go", "part/main.go", `package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

func produce(ctx context.Context, rdb *redis.Client, openid, cloudID string, obtainedAt time.Time) error {
`, `	return nil
}

func main() {
	obtainedAt, err := time.Parse(time.RFC3339, os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6390"})
	defer rdb.Close()
	if err := produce(context.Background(), rdb, os.Args[1], os.Args[2], obtainedAt); err != nil {
		log.Fatal(err)
	}
}
`, "go run ./part"},
}

// produce runs the program of a block with a new cloudID, which must be resolved.
func (s *session) produce(b block) {
	s.t.Helper()
	name := strings.TrimPrefix(b.comment, "producer: ")
	p, known := producers[name]
	if !known {
		s.t.Fatalf("there is no way to run the producer %s", name)
	}
	if _, err := exec.LookPath(p.tool); err != nil {
		s.t.Logf("the producer %s is not run: %s is not installed", name, p.tool)
		return
	}
	_, dir := s.run("pwd")
	path := filepath.Join(strings.TrimSpace(dir), p.file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(p.before+b.text+p.after), 0o600); err != nil {
		s.t.Fatal(err)
	}
	const tap = `TAP=$(curl -s "http://127.0.0.1:9900/sim/cloudids?appid=wx0000000000000001&users=1&start=$((++TAPS + 100))&n=1")
set -- $(echo "$TAP" | cut -d '"' -f 8) $(echo "$TAP" | cut -d '"' -f 4) $(echo "$TAP" | cut -d '"' -f 12)
`
	status, output := s.run(tap + p.run + ` "$@"`)
	// The Go producers do not wait for the record.
	printed := strings.Contains(output, "resolved\n") || p.tool == "go" && strings.Contains(output, "accepted ")
	if status != "0" || !printed {
		s.t.Errorf("the producer %s exited with status %s: %s", name, status, output)
		return
	}
	status, output = s.run(`for _ in $(seq 1000); do
  ./bin/cloudidq result --appid wx0000000000000001 "$2" 2>&1 | grep -q '"status":"resolved"' && break
  sleep 0.1
done; ./bin/cloudidq result --appid wx0000000000000001 "$2"`)
	if status != "0" || !strings.Contains(output, `"status":"resolved"`) {
		s.t.Errorf("the cloudID of the producer %s: %s", name, output)
	}
}

// The documents name only targets that the Makefile has, also in blocks that no test runs.
func TestReadme_Targets(t *testing.T) {
	makefile := read(t, "Makefile")
	found := 0
	for _, file := range documents(t) {
		for _, b := range blocks(read(t, file)) {
			for _, c := range b.commands() {
				target, isMake := strings.CutPrefix(c.text, "make ")
				if !isMake {
					continue
				}
				found++
				if target = strings.Fields(target)[0]; !strings.Contains(makefile, "\n"+target+":") {
					t.Errorf("%s: the Makefile has no target %s", file, target)
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d targets of make are in the documents", found)
	}
}

// Both languages of the README show the same commands and programs.
func TestReadme_Chinese(t *testing.T) {
	english, chinese := typed(read(t, "README.md")), typed(read(t, "README.zh-CN.md"))
	for i := range max(len(english), len(chinese)) {
		if i >= len(english) || i >= len(chinese) || english[i] != chinese[i] {
			t.Fatalf("step %d differs:\n%q\n%q", i, english[min(i, len(english)):], chinese[min(i, len(chinese)):])
		}
	}
}

// A browser shows a line break as a space. So a line of Chinese text may end only where a space
// belongs.
func TestReadme_ChineseLines(t *testing.T) {
	const list = "(?:[-|#>]|[0-9]+\\.) "
	prefixed := regexp.MustCompile("(?m)^(?:" + list + "|```|<!--).*$")
	within := regexp.MustCompile(`[^\n]{0,8}(?:\p{Han}\n *\p{Han}|[，。：；、！？（“]\n *[^\s]|[^\s]\n *[，。：；、！？）”（])[^\n]{0,8}`)
	for _, file := range []string{"README.zh-CN.md", "docs/faq.zh-CN.md"} {
		text := prefixed.ReplaceAllString(codeFence.ReplaceAllString(read(t, file), ""), "")
		for _, found := range within.FindAllString(text, -1) {
			t.Errorf("%s: the line break in %q shows as a space", file, found)
		}
	}
}

var remark = regexp.MustCompile(`(?m)[ \t]*(?://|#) .*$`)

// typed returns the commands and producers of a document, without remarks.
func typed(document string) []string {
	var all []string
	for _, b := range blocks(document) {
		switch {
		case b.language == "console" || b.language == "sh":
			for _, c := range b.commands() {
				all = append(all, remark.ReplaceAllString(c.text, ""))
			}
		case strings.HasPrefix(b.comment, "producer: "):
			all = append(all, b.comment+"\n"+remark.ReplaceAllString(b.text, ""))
		}
	}
	return all
}

func needTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			skipOrFail(t, name+" is not installed")
		}
	}
}

// needPorts checks that the ports of the README are free. If one is not, the test is skipped, and
// fails in CI.
func needPorts(t *testing.T, ports ...string) {
	t.Helper()
	for _, port := range ports {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
			skipOrFail(t, "port "+port+" is in use")
		}
	}
}

func skipOrFail(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// checkout copies the project into a new folder.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == ".git" || path == "bin" || path == "dist"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, path), 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		text, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, path), text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
