package lines_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"cloudidq/internal/lines"
	"cloudidq/tasks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// readAll reads to the end of the input. It returns the error of the input, or nil at io.EOF.
func readAll(in io.Reader, format lines.Format, count int) (all []lines.Line, err error) {
	r := lines.New(in, format)
	into := make([]lines.Line, count)
	for {
		n, err := r.Read(into)
		all = append(all, into[:n]...)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return all, nil
			}
			return all, err
		}
	}
}

func TestNDJSON(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		line string
		want tasks.Item
	}{
		"Least":        {`{"cloud_id":"73_x"}`, tasks.Item{CloudID: "73_x"}},
		"All":          {`{"cloud_id":"73_x","openid":"o1","obtained_at":"2026-11-22T08:00:00Z","reference":"r"}`, tasks.Item{CloudID: "73_x", OpenID: "o1", ObtainedAt: at, Reference: "r"}},
		"AnyOrder":     {` { "reference" : "r" ,` + "\t" + `"cloud_id":"73_x" } `, tasks.Item{CloudID: "73_x", Reference: "r"}},
		"Escapes":      {`{"cloud_id":"73_\u0041\/"}`, tasks.Item{CloudID: "73_A/"}},
		"EscapedName":  {`{"cloud\u005fid":"73_x"}`, tasks.Item{CloudID: "73_x"}},
		"BeyondASCII":  {`{"cloud_id":"73_x","reference":"订单"}`, tasks.Item{CloudID: "73_x", Reference: "订单"}},
		"NullIsAbsent": {`{"cloud_id":"73_x","openid":null,"obtained_at":null,"reference":null}`, tasks.Item{CloudID: "73_x"}},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := readAll(strings.NewReader(tc.line), lines.NDJSON, 10)
			if err != nil || len(all) != 1 || all[0].Reason != "" || all[0].Blank {
				t.Fatalf("Read = %+v, %v", all, err)
			}
			if diff := cmp.Diff(tc.want, all[0].Item); diff != "" {
				t.Errorf("item (-want +got):\n%s", diff)
			}
		})
	}
}

// Every invalid line has a reason, and the reason does not quote the line.
func TestNDJSON_InvalidLines(t *testing.T) {
	for name, tc := range map[string]struct{ line, reason string }{
		"NotJSON":       {`planted`, "is not JSON, near byte 1"},
		"Truncated":     {`{"cloud_id":"planted"`, "is not JSON: unexpected end of the line"},
		"TruncatedText": {`{"cloud_id":"planted`, "is not JSON: unexpected end of the line"},
		"Array":         {`["planted"]`, "is not a JSON object"},
		"Text":          {`"planted"`, "is not a JSON object"},
		"Null":          {`null`, "is not a JSON object"},
		"Number":        {`{"cloud_id":17}`, "cloud_id must be a string"},
		"Object":        {`{"cloud_id":{"planted":1}}`, "cloud_id must be a string"},
		"Bool":          {`{"cloud_id":"x","openid":true}`, "openid must be a string"},
		"TimeNumber":    {`{"cloud_id":"x","obtained_at":1795390345}`, "obtained_at must be a string"},
		"Time":          {`{"cloud_id":"x","obtained_at":"planted"}`, "obtained_at must be a time in the format of RFC 3339, such as 2026-11-22T08:00:00Z"},
		"TimeEmpty":     {`{"cloud_id":"x","obtained_at":""}`, "obtained_at must be a time in the format of RFC 3339, such as 2026-11-22T08:00:00Z"},
		"Unknown":       {`{"cloud_id":"x","planted":"x"}`, "has an unknown field; cloud_id, openid, obtained_at and reference are known"},
		"OtherCase":     {`{"Cloud_ID":"planted"}`, "has an unknown field; cloud_id, openid, obtained_at and reference are known"},
		"Twice":         {`{"cloud_id":"planted","cloud_id":"planted"}`, "has cloud_id twice"},
		"TwiceNull":     {`{"cloud_id":"x","openid":null,"openid":"planted"}`, "has openid twice"},
		"Trailing":      {`{"cloud_id":"x"}{"cloud_id":"planted"}`, "has data after the JSON object"},
		"Comma":         {`{"cloud_id":"x",}`, "is not JSON, near byte 16"},
		"NotUTF8":       {"{\"cloud_id\":\"planted\xff\"}", "is not UTF-8"},
		"UTF16":         {"\xff\xfe{\x00}\x00", "is not UTF-8"},
		"Damaged":       {"{\"cloud_id\":\"planted\ufffd\"}", "cloud_id contains U+FFFD, which replaces a character that was lost"},
		"HalfSurrogate": {
			`{"cloud_id":"x","openid":"planted\ud83d"}`, "openid contains U+FFFD, which replaces a character that was lost",
		},
		"Long": {`{"cloud_id":"x","reference":"` + strings.Repeat("planted ", lines.MaxBytes/8) + `"}`, "is longer than 16384 bytes"},
		"Deep": {`{"cloud_id":` + strings.Repeat("[", 15000), "cloud_id must be a string"},
	} {
		t.Run(name, func(t *testing.T) {
			text := `{"cloud_id":"73_1"}` + "\n" + tc.line + "\n" + `{"cloud_id":"73_3"}` + "\n"
			all, err := readAll(strings.NewReader(text), lines.NDJSON, 2)
			if err != nil || len(all) != 3 {
				t.Fatalf("Read = %+v, %v", all, err)
			}
			if got := all[1]; got.Reason != tc.reason || got.Number != 2 || strings.Contains(got.Reason, "planted") {
				t.Errorf("line %d: %q, want line 2: %q", got.Number, got.Reason, tc.reason)
			}
			if last := all[2]; last.Number != 3 || last.Reason != "" || last.Item.CloudID != "73_3" {
				t.Errorf("the next line = %+v", last)
			}
		})
	}
}

// Lines may end with \n or \r\n. Blank lines count in the numbering. A byte order mark is skipped.
func TestLineBreaksAndBlankLines(t *testing.T) {
	text := "\ufeff" + `{"cloud_id":"73_1"}` + "\r\n\n \t\r\n" + `{"cloud_id":"73_4"}` + "\n\n" + `{"cloud_id":"73_6"}`
	all, err := readAll(strings.NewReader(text), lines.NDJSON, 100)
	if err != nil || len(all) != 6 {
		t.Fatalf("Read = %+v, %v, want 6 lines", all, err)
	}
	for i, line := range all {
		blank := i == 1 || i == 2 || i == 4
		if line.Number != i+1 || line.Blank != blank || line.Reason != "" || !blank && line.Item.CloudID != fmt.Sprintf("73_%d", i+1) {
			t.Errorf("line %d = %+v", i+1, line)
		}
	}
	if all, err := readAll(strings.NewReader(""), lines.NDJSON, 1); err != nil || len(all) != 0 {
		t.Errorf("an empty input = %+v, %v", all, err)
	}
}

func TestCSV(t *testing.T) {
	text := "\ufeffopenid,cloud_id,\"reference\",obtained_at\r\n" +
		"o1,73_2,\"a, \"\"b\"\"\",2026-11-22T08:00:00+08:00\r\n" +
		",73_3,,\r\n" +
		"\r\n" +
		"o1,73_5\r\n" +
		"o1,\"73_6,,\r\n" +
		"o1,73\"_7,,\r\n" +
		"o1,\"73\"_8,,\r\n" +
		"o1,73_9,,planted\r\n" +
		"o1,73_\xff,,\r\n" +
		"\"o1\",\"73_11\",\"\",\"\""
	all, err := readAll(strings.NewReader(text), lines.CSV, 3)
	if err != nil || len(all) != 11 {
		t.Fatalf("Read = %+v, %v", all, err)
	}
	want := []lines.Line{
		{Number: 1, Blank: true},
		{Number: 2, Item: tasks.Item{CloudID: "73_2", OpenID: "o1", Reference: `a, "b"`, ObtainedAt: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}},
		{Number: 3, Item: tasks.Item{CloudID: "73_3"}},
		{Number: 4, Blank: true},
		{Number: 5, Reason: "has 2 fields, the header has 4"},
		{Number: 6, Reason: "has an unclosed quote; a field must not contain a line break"},
		{Number: 7, Reason: "has a quote in an unquoted field"},
		{Number: 8, Reason: "has data between a closing quote and the next comma"},
		{Number: 9,
			Reason: "obtained_at must be a time in the format of RFC 3339, such as 2026-11-22T08:00:00Z"},
		{Number: 10, Reason: "is not UTF-8"},
		{Number: 11, Item: tasks.Item{CloudID: "73_11", OpenID: "o1"}},
	}
	for i := range all {
		all[i].Text = ""
		if all[i].Reason != "" {
			all[i].Item = tasks.Item{}
		}
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// A file with an invalid header is rejected as a whole. The error does not quote the header,
// because it may be data.
func TestCSV_InvalidHeader(t *testing.T) {
	for name, tc := range map[string]struct{ header, problem string }{
		"NoHeader":   {"planted,o1\nx,y\n", "column 1 has an unknown name; cloud_id, openid, obtained_at and reference are known"},
		"Unknown":    {"cloud_id,planted\n", "column 2 has an unknown name; cloud_id, openid, obtained_at and reference are known"},
		"Space":      {"cloud_id, openid\n", "column 2 has an unknown name; cloud_id, openid, obtained_at and reference are known"},
		"Twice":      {"cloud_id,cloud_id\n", "duplicate column cloud_id"},
		"NoCloudID":  {"openid,reference\nplanted,planted\n", "missing column cloud_id"},
		"EmptyLine":  {"\n", "column 1 has an unknown name; cloud_id, openid, obtained_at and reference are known"},
		"OpenQuote":  {"\"cloud_id\nplanted", "has an unclosed quote; a field must not contain a line break"},
		"EndlessOne": {strings.Repeat("planted,", 1<<16), "is longer than 16384 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			r := lines.New(strings.NewReader(tc.header), lines.CSV)
			for range 2 { // the error repeats
				n, err := r.Read(make([]lines.Line, 8))
				wrong, ok := errors.AsType[*lines.HeaderError](err)
				if n != 0 || !ok || wrong.Problem != tc.problem || strings.Contains(err.Error(), "planted") {
					t.Errorf("Read = %d, %v, want %q", n, err, tc.problem)
				}
			}
		})
	}
}

// Read returns the lines that it has at once, without waiting for the next one.
func TestRead_ReturnsAvailableLines(t *testing.T) {
	in, out := io.Pipe()
	defer func() { _ = out.Close() }()
	go func() { _, _ = io.WriteString(out, `{"cloud_id":"73_1"}`+"\n"+`{"cloud_id":"73_2"}`+"\n"+`{"clo`) }()
	r := lines.New(in, lines.NDJSON)
	into := make([]lines.Line, 8)
	if n, err := r.Read(into); n != 2 || err != nil || into[1].Item.CloudID != "73_2" {
		t.Errorf("Read = %d, %v, want both complete lines", n, err)
	}
}

// If the input fails in the middle of a line, that part of the line is not returned.
func TestRead_BrokenInput(t *testing.T) {
	gone := errors.New("connection reset")
	text := `{"cloud_id":"73_1"}` + "\n" + `{"cloud_id":"73_2"}`
	for _, chunk := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
		in := chunk(io.MultiReader(strings.NewReader(text), iotest.ErrReader(gone)))
		all, err := readAll(in, lines.NDJSON, 4)
		if !errors.Is(err, gone) || len(all) != 1 || all[0].Item.CloudID != "73_1" {
			t.Errorf("Read = %+v, %v, want the first line and the error", all, err)
		}
	}
	if _, err := readAll(idle{}, lines.NDJSON, 4); err == nil {
		t.Error("Read of an input that never returns data succeeded")
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// The lines do not depend on the sizes of the reads of the input, nor on the number of lines in
// one call of Read.
func FuzzRead(f *testing.F) {
	f.Add("{\"cloud_id\":\"73_1\"}\r\n\n"+strings.Repeat("x", 40)+"\nlast", byte(3), false)
	f.Add("\ufeffcloud_id,openid\n73_1,\"o,1\"\n\n,\n\"", byte(1), true)
	f.Add(strings.Repeat("y", lines.MaxBytes)+"\r\n"+strings.Repeat("y", lines.MaxBytes+1)+"\r\n"+strings.Repeat("z", 3*lines.MaxBytes), byte(200), false)
	f.Fuzz(func(t *testing.T, text string, size byte, csv bool) {
		format := lines.NDJSON
		if csv {
			format = lines.CSV
		}
		whole, wholeErr := readAll(strings.NewReader(text), format, 1000)
		pieces, piecesErr := readAll(&piecewise{text, int(size)*97 + 1}, format, 1+int(size)%7)
		if diff := cmp.Diff(whole, pieces); diff != "" || fmt.Sprint(wholeErr) != fmt.Sprint(piecesErr) {
			t.Errorf("errors %v and %v, lines (-whole +pieces):\n%s", wholeErr, piecesErr, diff)
		}
		want := strings.Count(text, "\n")
		if text != "" && !strings.HasSuffix(text, "\n") {
			want++
		}
		for i, line := range whole {
			if line.Number != i+1 {
				t.Fatalf("line %d has number %d", i+1, line.Number)
			}
		}
		if wholeErr == nil && len(whole) != want {
			t.Errorf("%d lines, want %d", len(whole), want)
		}
	})
}

// piecewise returns a text in pieces of a fixed size.
type piecewise struct {
	text string
	size int
}

func (p *piecewise) Read(into []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(into, p.text[:min(p.size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}
