package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"cloudidq/config"
)

// Whoever is paged finds a section for the alert, which says what it means and what to do, and no section for one that is gone.
func TestOperations_HaveEveryAlert(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Annotations struct{ Runbook string }
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/prometheus/alerts.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(read(t, "docs/operations.md"), "\n## Alerts\n")
	sections := map[string]string{}
	for _, section := range strings.Split(text, "\n### ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		sections[name] = body
	}
	found := len(sections)
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			body := sections[rule.Alert]
			delete(sections, rule.Alert)
			if !strings.Contains(body, "**Means:**") || !strings.Contains(body, "**Do:**") {
				t.Errorf("docs/operations.md does not say what %s means and what to do", rule.Alert)
			}
			if want := "docs/operations.md#" + strings.ToLower(rule.Alert); rule.Annotations.Runbook != want {
				t.Errorf("the runbook of %s is %q, want %q", rule.Alert, rule.Annotations.Runbook, want)
			}
		}
	}
	for name := range sections {
		t.Errorf("docs/operations.md has a section %s, which is no alert", name)
	}
	if found < 10 {
		t.Errorf("only %d sections were found", found)
	}
}

// offered are settings that wait behind a comment for somebody to want them.
var offered = regexp.MustCompile(`(?m)^( *)# ((?: *- )? *\w+:.*)$`)

// Every configuration that is shown or deployed is one that the program takes.
func TestConfigurations(t *testing.T) {
	compose := read(t, "deploy/compose/cloudidq.yaml")
	var configMap struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(read(t, "deploy/kubernetes/config.yaml")), &configMap); err != nil {
		t.Fatal(err)
	}
	takes(t, "deploy/compose", compose)
	takes(t, "deploy/compose with what is offered", offered.ReplaceAllString(compose, "$1$2"))
	takes(t, "deploy/kubernetes", configMap.Data["cloudidq.yaml"])
	shown := 0
	for _, file := range documents(t) {
		for _, b := range blocks(read(t, file)) {
			if b.language == "yaml" && !strings.HasPrefix(b.comment, "not a configuration") {
				takes(t, file, b.text)
				shown++
			}
		}
	}
	if shown < 3 {
		t.Errorf("only %d configurations were found in the documents", shown)
	}
}

// takes loads a configuration, or the part of one that a document shows.
func takes(t *testing.T, name, text string) {
	t.Helper()
	for section, least := range map[string]string{
		"store:": "store: {keyset: env:RESULTS_KEYSET}\n",
		"apps:":  "apps:\n  - {appid: wx0000000000000001, token: {mode: stable, secret: env:WX_SECRET}}\n",
	} {
		if !strings.Contains("\n"+text, "\n"+section) {
			text += least
		}
	}
	path := filepath.Join(t.TempDir(), "cloudidq.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path, func(string) (string, bool) { return "", false }); err != nil {
		t.Errorf("%s: %v\n%s", name, err, text)
	}
}
