package backfill

import (
	"strings"
	"unicode/utf8"
)

// formulaStarts are the first characters by which a spreadsheet takes a cell for a formula, or its DDE for a command: those of
// https://owasp.org/www-community/attacks/CSV_Injection, with the full-width forms that a Chinese or Japanese one takes.
const formulaStarts = "=+-@\t\r\n＝＋－＠"

// safeCell is a text of somebody else's as a cell that a spreadsheet shows and does not run: behind a single quote, if it
// begins like a formula. Numbers and times of ours are no such texts; an error_code such as -601006 stays a number.
func safeCell(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 || !strings.ContainsRune(formulaStarts, first) {
		return text
	}
	return "'" + text
}
