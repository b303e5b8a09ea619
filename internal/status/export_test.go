package status

import (
	"time"

	"golang.org/x/text/language"
)

// PageHTML exposes the template.
var PageHTML = pageHTML

// KeysByValue lists the text keys that the template looks up by value: alerts, reasons and states.
var KeysByValue = []string{
	string(NoWorker), string(OldCloudIDs), string(ManyLost), string(AppsPaused), string(WebhooksDisabled), string(WebhooksFailing),
	"rateWhy", "quotaWhy", "appWhy", "open", "complete", "canceled",
}

// Texts returns the texts of a language.
func Texts(tag language.Tag) map[string]string { return texts[tag] }

// InChinese reports whether a sentence of another package is translated.
func InChinese(sentence string) bool { return chinese[sentence] != "" }

// Span formats a duration like the page.
func Span(tag language.Tag, d time.Duration) string { return NewPage().locales[tag].span(d) }

// These functions draw and format the values on the page.
var (
	Spark   = spark
	Share   = share
	Decimal = decimal
	Count   = count[int64]
)
