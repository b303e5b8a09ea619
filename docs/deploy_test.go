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

// docs/operations.md has a section for every alert, which says what the alert means and what to do,
// and no other sections.
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

// optional matches settings that are commented out.
var optional = regexp.MustCompile(`(?m)^( *)# ((?: *- )? *\w+:.*)$`)

// The program accepts every configuration that a document shows or that is deployed.
func TestConfigurations(t *testing.T) {
	compose := read(t, "deploy/compose/cloudidq.yaml")
	var configMap struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(read(t, "deploy/kubernetes/config.yaml")), &configMap); err != nil {
		t.Fatal(err)
	}
	checkConfig(t, "deploy/compose", compose)
	checkConfig(t, "deploy/compose with its optional settings", optional.ReplaceAllString(compose, "$1$2"))
	checkConfig(t, "deploy/kubernetes", configMap.Data["cloudidq.yaml"])
	shown := 0
	for _, file := range documents(t) {
		for _, b := range blocks(read(t, file)) {
			if b.language == "yaml" && !strings.HasPrefix(b.comment, "not a configuration") {
				checkConfig(t, file, b.text)
				shown++
			}
		}
	}
	if shown < 3 {
		t.Errorf("only %d configurations were found in the documents", shown)
	}
}

// checkConfig loads a configuration. If a document shows only a part, checkConfig adds the required
// sections.
func checkConfig(t *testing.T, name, text string) {
	t.Helper()
	for section, minimum := range map[string]string{
		"store:": "store: {keyset: env:RESULTS_KEYSET}\n",
		"apps:":  "apps:\n  - {appid: wx0000000000000001, token: {mode: stable, secret: env:WX_SECRET}}\n",
	} {
		if !strings.Contains("\n"+text, "\n"+section) {
			text += minimum
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
