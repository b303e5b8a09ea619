package backfill

import (
	"strings"
	"unicode/utf8"
)

// formulaStarts are the first characters that make a spreadsheet treat a cell as a formula, or
// as a DDE command. They are those of https://owasp.org/www-community/attacks/CSV_Injection,
// and their full-width forms, which Chinese and Japanese spreadsheets accept.
const formulaStarts = "=+-@\t\r\n＝＋－＠"

// safeCell returns an untrusted text as a cell that a spreadsheet shows and does not run. If the
// text begins like a formula, safeCell puts a single quote before it. Do not use it for
// cloudidq's own numbers and times: an error_code such as -601006 must stay a number.
func safeCell(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 || !strings.ContainsRune(formulaStarts, first) {
		return text
	}
	return "'" + text
}
