package store

import (
	"bytes"
	"reflect"
	"testing"
)

// The stored form of a record has the JSON of the record, and the origin.
func TestStoredRecord(t *testing.T) {
	public, stored := reflect.TypeFor[Record](), reflect.TypeFor[storedRecord]()
	for i := range public.NumField() {
		want := public.Field(i).Tag
		if public.Field(i).Name == "Origin" {
			want = `json:"origin,omitempty"`
		}
		if got := stored.Field(i); got.Tag != want {
			t.Errorf("%s has the tag %s, want %s", got.Name, got.Tag, want)
		}
	}
}

// A pending record with an id that JSON would change is refused, as any other record is.
func TestStoredJSON_BadID_Refused(t *testing.T) {
	rec := Record{AppID: "wx1", CloudID: "73_\xff", Status: Pending, Origin: &Origin{TaskID: "t"}}
	if err := storedJSON(new(bytes.Buffer), &rec); err == nil {
		t.Error("storedJSON takes an id that is not UTF-8")
	}
}
