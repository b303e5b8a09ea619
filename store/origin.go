package store

import (
	"bytes"
	"encoding/json"
)

// Origin is what a pending record needs to be completed without its task: the task's id, and
// where to deliver the final record. It is stored with the record while the record is pending.
// Readers never see it.
type Origin struct {
	TaskID   string `json:"task"`
	Endpoint string `json:"endpoint,omitempty"` // empty = no delivery
	Thin     bool   `json:"thin,omitempty"`
}

// stored is the stored form of a record: its JSON has the origin.
type stored struct {
	*Record
	Origin *Origin `json:"origin,omitempty"`
}

// storedJSON replaces the content of b with the JSON of a record, including the origin while
// the record is pending. Older versions ignore the origin.
func storedJSON(b *bytes.Buffer, rec *Record) error {
	if rec.Status != Pending || rec.Origin == nil {
		return writeJSON(b, rec)
	}
	return encodeRecord(b, rec, stored{rec, rec.Origin})
}

// readStored reads JSON that storedJSON has written.
func readStored(text []byte, rec *Record) error {
	into := stored{Record: rec}
	if err := json.Unmarshal(text, &into); err != nil {
		return err
	}
	rec.Origin = into.Origin
	return nil
}
