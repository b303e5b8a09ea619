package tasks_test

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cloudidq/tasks"
)

// Appids and names of webhooks follow one rule, and a valid name needs no escape anywhere.
func TestNames_NeedNoEscape(t *testing.T) {
	for name, ok := range map[string]bool{
		"wx0000000000000001": true, "wxcomponent00000001": true, "wxe1f7b34c90a2d503": true, "orders": true, "a-b_C9": true,
		strings.Repeat("a", 64): true, strings.Repeat("a", 65): false,
		"": false, " ": false, "wx1\n": false, "wx.1": false, "wx:1": false, "wx/1": false, "wx%31": false, `wx"1`: false, `wx\1`: false,
		"wx{1}": false, "wx*": false, "wx\x00": false, "wx\x7f": false, "wx\xff": false, "微信": false, "wx\u200b1": false, "=wx": false,
	} {
		if got := tasks.ValidAppID(name); got != ok {
			t.Errorf("ValidAppID(%q) = %v", name, got)
		}
		if got := tasks.NameProblem(name) == ""; got != ok {
			t.Errorf("NameProblem(%q) = %q", name, tasks.NameProblem(name))
		}
	}
	pattern := regexp.MustCompile(tasks.NamePattern)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.StringMatching(tasks.NamePattern), rapid.String()).Draw(t, "name")
		if tasks.ValidAppID(name) != pattern.MatchString(name) {
			t.Fatalf("ValidAppID(%q) = %v, the pattern differs", name, tasks.ValidAppID(name))
		}
		if problem := tasks.AppIDProblem(name); problem != "" {
			if len(name) > 2 && strings.Contains(problem, name) {
				t.Fatalf("the problem repeats what was submitted: %s", problem)
			}
			return
		}
		quoted, err := json.Marshal(name)
		if err != nil || string(quoted) != `"`+name+`"` || url.PathEscape(name) != name || url.QueryEscape(name) != name {
			t.Fatalf("%q needs an escape", name)
		}
	})
}
