package store

import (
	"bytes"
	"testing"
)

// A pending record with an id that JSON would change is refused, as any other record is.
func TestStoredJSON_BadID_Refused(t *testing.T) {
	rec := Record{AppID: "wx1", CloudID: "73_\xff", Status: Pending, Origin: &Origin{TaskID: "t"}}
	if err := storedJSON(new(bytes.Buffer), &rec); err == nil {
		t.Error("storedJSON accepts an id that is not UTF-8")
	}
}
