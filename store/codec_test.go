package store_test

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/store"
)

// full is a record with every field set.
func full() store.Record {
	at := store.At(time.Date(2026, 11, 22, 8, 0, 0, int(7*time.Millisecond), time.UTC))
	return store.Record{
		AppID: "wx1", OpenID: "o1", CloudID: "73_1", Status: store.Resolved, Kind: "werun",
		Data:  json.RawMessage(`{"stepInfoList":[{"timestamp":1603641600,"step":1234}]}`),
		Error: &store.Error{Code: -601007, Message: "cloudID not belong to user.", RID: "6a"}, Attempts: 3,
		Reference: "order 7", AcceptedAt: at, FinishedAt: store.At(at.Add(time.Second)),
	}
}

func TestEncode_EveryFieldRoundTrips(t *testing.T) {
	want := full()
	for v, i := reflect.ValueOf(want), 0; i < v.NumField(); i++ {
		field := v.Type().Field(i)
		if stored := field.Tag.Get("json") != "-"; stored == v.Field(i).IsZero() {
			t.Errorf("full() sets %s: %t, and the field is stored: %t", field.Name, !v.Field(i).IsZero(), stored)
		}
	}
	for _, want := range []store.Record{want, {AppID: "wx1", CloudID: "73_1", Status: store.Pending}} {
		value, err := store.Encode("task", want)
		if err != nil {
			t.Fatalf("Encode: %v", err)
		}
		got, ok := store.Decode(string(value), "wx1", "73_1")
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("Decode: %v (-want +got):\n%s", ok, diff)
		}
	}
}

func TestEncode_Header(t *testing.T) {
	for status, rank := range map[store.Status]string{
		store.Pending: "0", store.Failed: "1", store.Expired: "1", store.Resolved: "2",
	} {
		rec := full()
		rec.Status = status
		got, err := store.Encode("task", rec)
		if err != nil {
			t.Fatalf("Encode: %v", err)
		}
		want := regexp.MustCompile("^" + rank + `[0-9a-f]{16}0{13}\{`)
		if !want.Match(got) {
			t.Errorf("Encode of a record %s = %.40s…, want %v", status, got, want)
		}
	}
}

func TestEncode_UnreadableRecord_Refused(t *testing.T) {
	for name, spoil := range map[string]func(*store.Record){
		"no status":      func(r *store.Record) { r.Status = "" },
		"unknown status": func(r *store.Record) { r.Status = "erased" },
		"broken data":    func(r *store.Record) { r.Data = json.RawMessage(`{"a":}`) },
		"two values":     func(r *store.Record) { r.Data = json.RawMessage(`{},"status":"failed"`) },
		"appid bytes":    func(r *store.Record) { r.AppID = "wx\xff" },
		"cloudID bytes":  func(r *store.Record) { r.CloudID = "73_\xff" },
		"far future":     func(r *store.Record) { r.FinishedAt = store.At(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) },
	} {
		t.Run(name, func(t *testing.T) {
			rec := full()
			spoil(&rec)
			if got, err := store.Encode("task", rec); err == nil {
				t.Errorf("Encode = %q, want an error", got)
			}
		})
	}
}

func TestDecode_InvalidValue_Unknown(t *testing.T) {
	valid, err := store.Encode("task", full())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := store.Decode(string(valid), "wx1", "73_1"); !ok {
		t.Fatal("Decode of a valid value = unknown")
	}
	body := string(valid[store.HeaderLen:])
	for name, value := range map[string]string{
		"empty":            "",
		"header only":      string(valid[:store.HeaderLen]),
		"cut off":          string(valid[:len(valid)-1]),
		"trailing text":    string(valid) + "x",
		"JSON alone":       body,
		"unknown rank":     "3" + string(valid[1:]),
		"rank of failed":   "1" + string(valid[1:]),
		"owner not hex":    "2" + strings.Repeat("G", 16) + string(valid[17:]),
		"until not digits": string(valid[:17]) + " 123456789012" + body,
		"another type":     string(valid[:store.HeaderLen]) + `{"appid":"wx1","cloud_id":7,"status":"resolved"}`,
		"null":             string(valid[:store.HeaderLen]) + `null`,
	} {
		if rec, ok := store.Decode(value, "wx1", "73_1"); ok || !reflect.ValueOf(rec).IsZero() {
			t.Errorf("%s: Decode = %v, %v, want nothing", name, rec, ok)
		}
	}
	for _, other := range [][2]string{{"wx2", "73_1"}, {"wx1", "73_2"}} {
		if _, ok := store.Decode(string(valid), other[0], other[1]); ok {
			t.Errorf("Decode of another record's value finds %v", other)
		}
	}
}

func FuzzDecode(f *testing.F) {
	valid, err := store.Encode("task", full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(valid), "wx1", "73_1")
	f.Add(string(valid[:store.HeaderLen])+`{"appid":"","cloud_id":"","status":"resolved","data":null}`, "", "")
	f.Add("", "", "")
	f.Add(string(valid[:store.HeaderLen])+`{"appid":"","cloud_id":"","status":"resolved","accepted_at":"9999-12-31T23:59:59-01:00"}`, "", "")
	f.Fuzz(func(t *testing.T, value, appID, cloudID string) {
		rec, ok := store.Decode(value, appID, cloudID)
		if !ok {
			return
		}
		again, err := store.Encode("task", rec)
		if err != nil {
			// A time is written in UTC, where the last hours of 9999 may belong to the next year.
			if rec.AcceptedAt.UTC().Year() > 9999 || rec.FinishedAt.UTC().Year() > 9999 {
				return
			}
			t.Fatalf("Encode of the decoded record: %v", err)
		}
		got, ok := store.Decode(string(again), appID, cloudID)
		rec.AcceptedAt, rec.FinishedAt = store.At(rec.AcceptedAt.Time), store.At(rec.FinishedAt.Time)
		if diff := cmp.Diff(rec, got); !ok || diff != "" {
			t.Fatalf("a second round changes the record: %v (-first +second):\n%s", ok, diff)
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add("wx1", "73_1", "o1", "text", `{"a":1}`, -1, int64(1763798400123))
	f.Add("", "", "\xff", "\"\\\x00\u2028", ` [ "<" ] `, math.MinInt, int64(-1))
	f.Fuzz(func(t *testing.T, appID, cloudID, openID, text, data string, n int, ms int64) {
		rec := store.Record{
			AppID: appID, CloudID: cloudID, OpenID: openID, Status: store.Failed, Kind: text, Reference: text,
			Error: &store.Error{Code: n, Message: text, RID: text}, Attempts: n,
			AcceptedAt: store.At(time.UnixMilli(ms)),
		}
		if data != "" {
			rec.Data = json.RawMessage(data)
		}
		value, err := store.Encode("task", rec)
		if err != nil {
			return
		}
		got, ok := store.Decode(string(value), appID, cloudID)
		if !ok {
			t.Fatalf("Decode cannot read %q", value)
		}
		// Insignificant whitespace is removed. Everything else stays.
		var want bytes.Buffer
		if data != "" {
			if err := json.Compact(&want, []byte(data)); err != nil {
				t.Fatalf("Encode accepted invalid JSON: %q", data)
			}
		}
		if string(got.Data) != want.String() {
			t.Errorf("Data = %q, want %q", got.Data, want.String())
		}
		if got.Attempts != n || got.Error.Code != n || !got.AcceptedAt.Equal(rec.AcceptedAt.Time) {
			t.Errorf("numbers = %d, %d, %v", got.Attempts, got.Error.Code, got.AcceptedAt)
		}
		// A byte that is not UTF-8 becomes U+FFFD, as in a conversion to runes.
		if got.Kind != string([]rune(text)) || got.OpenID != string([]rune(openID)) {
			t.Errorf("texts = %q, %q, want %q, %q", got.Kind, got.OpenID, text, openID)
		}
	})
}
