package config

import (
	"strconv"
	"strings"

	"cloudidq/internal/secret"
)

// show quotes a value for a message. It shortens long values and redacts credentials in URLs,
// which may be in the wrong place.
func show(text string) string {
	const most = 40
	text = secret.URLsIn(text)
	if runes := []rune(text); len(runes) > most {
		return strconv.Quote(string(runes[:most])) + "…"
	}
	return strconv.Quote(text)
}

// nearest returns the key with the smallest distance to name. The distance must be at most two
// letters and less than half of name's length.
func nearest(name string, keys []string) (string, bool) {
	best, least := "", min(3, (len(name)+1)/2)
	for _, k := range keys {
		if d := distance(strings.ToLower(name), k); d < least {
			best, least = k, d
		}
	}
	return best, best != ""
}

// distance returns the number of single-letter edits between two words (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// alternatives joins the accepted words with commas and "or".
func alternatives(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
