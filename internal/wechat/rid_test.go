package wechat_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cloudidq/internal/wechat"
)

func TestParseRID(t *testing.T) {
	const rid = "68aeab00-21ea7900-3a442400"
	tests := []struct{ name, errmsg, rid, rest string }{
		{"Usual", "invalid openid rid: " + rid, rid, "invalid openid"},
		{"WithComma", "invalid openid, rid: " + rid, rid, "invalid openid"},
		{"WithoutBlank", "invalid openid rid:" + rid, rid, "invalid openid"},
		{"EmptyID", "invalid openid, rid: ", "", "invalid openid"},
		{"None", "invalid openid", "", "invalid openid"},
		{"NoText", "", "", ""},
		{"OnlyRID", "rid: " + rid, rid, ""},
		{"Hint", "invalid credential, hint: [AbC 123]", "", "invalid credential"},
		{"HintThenRID", "invalid credential hint: [AbC] rid: " + rid, rid, "invalid credential"},
		{"RIDThenHint", "invalid credential rid: " + rid + ", hint: [AbC]", rid, "invalid credential"},
		{"WordInText", "invalid rid: give another", "", "invalid rid: give another"},
		{"MorePointers", "quota, more details at https://x rid: " + rid, rid, "quota, more details at https://x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rid, rest := wechat.ParseRID(tt.errmsg)
			if rid != tt.rid || rest != tt.rest {
				t.Errorf("ParseRID(%q) = %q, %q, want %q, %q", tt.errmsg, rid, rest, tt.rid, tt.rest)
			}
		})
	}
}

func TestRIDTime(t *testing.T) {
	got, ok := wechat.RIDTime("607d4cbc-12345678-9abcdef0")
	want := time.Date(2021, 4, 19, 17, 26, 20, 0, time.FixedZone("Beijing", 8*3600))
	if !ok || !got.Equal(want) {
		t.Errorf("RIDTime = %v, %v, want %v", got, ok, want)
	}
	for _, bad := range []string{"", "607d4cbc", "607d4cb-1-1", "zzzzzzzz-12345678-9abcdef0"} {
		if got, ok := wechat.RIDTime(bad); ok {
			t.Errorf("RIDTime(%q) = %v, want none", bad, got)
		}
	}
}

func FuzzParseRID(f *testing.F) {
	f.Add("invalid openid rid: 68aeab00-21ea7900-3a442400")
	f.Add("invalid credential, hint: [AbC], rid: ")
	f.Add("rid: rid: 68aeab00-21ea7900-3a442400 hint: [[]")
	f.Add("\x00\xff")
	f.Fuzz(func(t *testing.T, errmsg string) {
		rid, rest := wechat.ParseRID(errmsg)
		if rid != "" {
			if !strings.Contains(errmsg, rid) {
				t.Errorf("ParseRID(%q) returned rid %q, which is not in the text", errmsg, rid)
			}
			if _, ok := wechat.RIDTime(rid); !ok {
				t.Errorf("RIDTime(%q) found no time", rid)
			}
		}
		if len(rest) > len(errmsg) {
			t.Errorf("ParseRID(%q) returned a longer text: %q", errmsg, rest)
		}
		if utf8.ValidString(errmsg) && !utf8.ValidString(rest) {
			t.Errorf("ParseRID(%q) returned invalid UTF-8: %q", errmsg, rest)
		}
	})
}

func TestError_EndsWithRequestIDAndItsTime(t *testing.T) {
	for rid, want := range map[string]string{
		"":                           "wechat: errcode 40003 (call)",
		"607d4cbc-12345678-9abcdef0": "wechat: errcode 40003 (call), rid 607d4cbc-12345678-9abcdef0 of 2021-04-19T09:26:20Z",
		"strange":                    "wechat: errcode 40003 (call), rid strange",
	} {
		err := &wechat.Error{Class: wechat.ClassCall, Code: 40003, Message: "invalid openid", RID: rid}
		if got := err.Error(); got != want {
			t.Errorf("Error() with rid %q = %q, want %q", rid, got, want)
		}
	}
	if got := (&wechat.Error{Class: wechat.ClassRetry, Message: "no answer: timeout"}).Error(); got != "wechat: no answer: timeout" {
		t.Errorf("Error() = %q", got)
	}
}
