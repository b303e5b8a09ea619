package status_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/language"

	"cloudidq/internal/status"
	"cloudidq/internal/wechat"
)

// Every text exists in every language, has the same placeholders, and is used.
func TestTexts_AreComplete(t *testing.T) {
	page := status.PageHTML
	used := func(key string) bool {
		return strings.Contains(page, `tr "`+key+`"`) || slices.Contains(status.KeysByValue, key)
	}
	english := status.Texts(language.English)
	for _, tag := range status.Languages {
		words := status.Texts(tag)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(words))); diff != "" {
			t.Errorf("the keys of %s differ from English (-en +%s):\n%s", tag, tag, diff)
		}
		for key, text := range words {
			if text == "" || strings.Count(text, "%s") != strings.Count(english[key], "%s") || strings.Count(text, "%d") != strings.Count(english[key], "%d") {
				t.Errorf("%s: %s = %q, English has %q", tag, key, text, english[key])
			}
			if !used(key) {
				t.Errorf("%s is not used", key)
			}
		}
	}
}

// Every remedy in the code table has a Chinese translation. So does the text of each code that
// pauses an app.
func TestChinese_KnowsTheCodeTable(t *testing.T) {
	for _, code := range wechat.Codes() {
		pauses := code.Class == wechat.ClassRate || code.Class == wechat.ClassQuota || code.Class == wechat.ClassApp
		if pauses && !status.InChinese(code.Text) {
			t.Errorf("%d: %q is not translated", code.Code, code.Text)
		}
		if code.Remedy != "" && !status.InChinese(code.Remedy) {
			t.Errorf("%d: the remedy %q is not translated", code.Code, code.Remedy)
		}
	}
}
