package docs_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/redistest"
	"cloudidq/internal/wechat/wechattest"
)

// The program of embedding.md is in another module, runs a worker and prints a resolved record.
func TestEmbedding_AnotherModuleRunsAWorker(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	code := between(t, read(t, "docs/embedding.md"), "<!-- embedded -->\n```go\n", "```\n")
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	// The versions are those of the project, so that nothing is fetched for this module.
	mod := strings.Replace(read(t, "go.mod"), "module cloudidq\n", "module example.com/embedding\n", 1)
	mod += "\nrequire cloudidq v0.0.0\n\nreplace cloudidq => " + root + "\n"
	for name, text := range map[string]string{"go.mod": mod, "go.sum": read(t, "go.sum")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "embedding")
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", program)
	build.Dir, build.Env = dir, environment()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}

	sim, url := simulator(t)
	tap := sim.CloudID("wx0000000000000001", 0, 0, time.Now())
	redisURL := "redis://" + redistest.Start(t).Addr + "/0"
	config := filepath.Join(dir, "cloudidq.yaml")
	text := "redis: {url: '" + redisURL + "'}\nstore: {encryption: 'off'}\nwechat: {base_url: '" + url + "'}\n" +
		"apps: [{appid: wx0000000000000001, token: {mode: static, access_token: " + sim.StaticToken("wx0000000000000001") + "}}]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, config, redisURL, tap.OpenID, tap.CloudID).Output()
	if err != nil || !strings.HasPrefix(string(out), "resolved ") {
		t.Errorf("the program printed %q, %v, want a resolved record", out, err)
	}
}

// simulator starts a WeChat simulator and returns its address.
func simulator(t *testing.T) (sim *wechattest.Simulator, url string) {
	t.Helper()
	sim, err := wechattest.New(wechattest.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return sim, server.URL
}
