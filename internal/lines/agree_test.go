package lines_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/lines"
	"cloudidq/tasks"
)

// If parsePlain accepts a line, parseAny accepts it with the same result. If parseAny accepts a
// line, encoding/json does too, with the same result.
func FuzzParseJSON(f *testing.F) {
	for _, text := range []string{
		`{"cloud_id":"73_x","openid":"o1","obtained_at":"2026-11-22T08:00:00Z","reference":"r"}`,
		` {"cloud_id" : "73_x" } `, `{}`, `{"cloud_id":"a","cloud_id":"b"}`, `{"cloud_id":"\u0041"}`, `{"x":1}`, `{"cloud_id":"73_x",}`,
		`{"cloud_id":null}`, `{"obtained_at":"0000-00-00T00:00:00Z"}`, "{\"cloud_id\":\"\x7f\"}", `{"cloud_id":"x"} x`, `{"cloud_id":"x"`, `{,}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var short, long tasks.Item
		plain, reason := lines.ParsePlain(&short, text), lines.ParseAny(&long, text)
		if plain && reason != "" {
			t.Fatalf("parsePlain accepts %q, but parseAny returns: %s", text, reason)
		}
		if diff := cmp.Diff(long, short); plain && diff != "" {
			t.Fatalf("%q (-parseAny +parsePlain):\n%s", text, diff)
		}
		if reason != "" {
			return
		}
		var want tasks.Item
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("encoding/json rejects %q: %v", text, err)
		}
		if diff := cmp.Diff(want, long); diff != "" {
			t.Errorf("%q (-encoding/json +parseAny):\n%s", text, diff)
		}
	})
}

// splitCSV and encoding/csv accept the same lines, with the same fields.
func FuzzSplitCSV(f *testing.F) {
	for _, text := range []string{`a,b`, `"a","b,""c"`, `"a"b,c`, `a"b`, `"a`, `,`, `""`, `"",""`, ` "a"`, `"""`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "\r\n") || text == "" || !utf8.ValidString(text) {
			return // not a single line, or one that encoding/csv treats differently
		}
		got, reason := lines.SplitCSV(text)
		want, err := csv.NewReader(strings.NewReader(text)).Read()
		if (err == nil) != (reason == "") {
			t.Fatalf("splitCSV(%q) = %q, encoding/csv returns %v", text, reason, err)
		}
		if diff := cmp.Diff(want, got); err == nil && diff != "" {
			t.Errorf("%q (-encoding/csv +got):\n%s", text, diff)
		}
	})
}

var sample = `{"cloud_id":"73_fgJ4wyusvonf58qdAq2uaTrbS1IOTpU2yR9ohCpIKEwU2AMIIaHASIWCK9U","openid":"o2axXWPau4mHCKPOKVLg8InKOTP0","obtained_at":"2026-11-22T08:00:00.000Z"}`

func BenchmarkParseJSON(b *testing.B) {
	for name, parse := range map[string]func(*tasks.Item, string) string{
		"plain": lines.ParseJSON, "encoding_json": lines.ParseAny,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(sample)))
			for b.Loop() {
				var it tasks.Item
				if reason := parse(&it, sample); reason != "" {
					b.Fatal(reason)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	const n = 100_000
	text := strings.Repeat(sample+"\n", n)
	into := make([]lines.Line, 1024)
	for b.Loop() {
		r := lines.New(strings.NewReader(text), lines.NDJSON)
		for {
			if _, err := r.Read(into); errors.Is(err, io.EOF) {
				break
			}
		}
		if r.Line() != n {
			b.Fatal(fmt.Sprint(r.Line()))
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
