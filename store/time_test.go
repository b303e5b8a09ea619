package store_test

import (
	"encoding/json"
	"testing"
	"time"

	"cloudidq/store"
)

func TestTime_WrittenInUTCWithThreeDecimals(t *testing.T) {
	zone := time.FixedZone("", 8*3600)
	for want, at := range map[string]time.Time{
		`"2026-11-22T08:00:00.000Z"`: time.Date(2026, 11, 22, 16, 0, 0, 0, zone),
		`"2026-11-22T08:00:00.120Z"`: time.Date(2026, 11, 22, 8, 0, 0, 120_999_999, time.UTC),
	} {
		got, err := json.Marshal(store.At(at))
		if err != nil || string(got) != want {
			t.Errorf("Marshal(%v) = %s, %v, want %s", at, got, err, want)
		}
	}
}

func TestTime_ReadBack(t *testing.T) {
	want := store.At(time.Now())
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got store.Time
	if err := json.Unmarshal(text, &got); err != nil || !got.Equal(want.Time) {
		t.Errorf("Unmarshal(%s) = %v, %v, want %v", text, got, err, want)
	}

	var inRecord store.Record
	if err := json.Unmarshal([]byte(`{"accepted_at":`+string(text)+`,"finished_at":null}`), &inRecord); err != nil {
		t.Fatal(err)
	}
	if !inRecord.AcceptedAt.Equal(want.Time) || !inRecord.FinishedAt.IsZero() {
		t.Errorf("times of a record = %v, %v, want %v and zero", inRecord.AcceptedAt, inRecord.FinishedAt, want)
	}
	if err := json.Unmarshal([]byte(`"yesterday"`), &got); err == nil {
		t.Error("Unmarshal of no time = nil error")
	}
}

func TestTime_ZeroLeftOut(t *testing.T) {
	if !store.At(time.Time{}).IsZero() {
		t.Error("At of the zero time is not zero")
	}
	got, err := json.Marshal(store.Record{Status: store.Pending})
	const want = `{"appid":"","cloud_id":"","status":"pending","attempts":0}`
	if err != nil || string(got) != want {
		t.Errorf("Marshal = %s, %v, want %s", got, err, want)
	}
}
