package status

import (
	"time"

	"golang.org/x/text/language"
)

// PageHTML is the template.
var PageHTML = pageHTML

// SpokenOf are the texts that the template names by what it shows: alerts, reasons, states.
var SpokenOf = []string{
	string(NoWorker), string(OldCloudIDs), string(ManyLost), string(AppsPaused), string(WebhooksDisabled), string(WebhooksFailing),
	"rateWhy", "quotaWhy", "appWhy", "open", "complete", "canceled",
}

// Texts are the texts of a language.
func Texts(tag language.Tag) map[string]string { return texts[tag] }

// InChinese reports whether a sentence of another package is translated.
func InChinese(sentence string) bool { return chinese[sentence] != "" }

// Span is a duration as the page has it.
func Span(tag language.Tag, d time.Duration) string { return NewPage().locales[tag].span(d) }

// What the page draws and writes.
var (
	Spark   = spark
	Share   = share
	Decimal = decimal
	Count   = count[int64]
)
