package store

import (
	"bytes"
	"encoding/json"
)

// Origin is what a pending record needs to end without its task: whose it is, and where its end goes. It is kept with the
// record while that is pending, and no reader is shown it.
type Origin struct {
	TaskID   string `json:"task"`
	Endpoint string `json:"endpoint,omitempty"` // empty = nowhere
	Thin     bool   `json:"thin,omitempty"`
}

// stored is a record as its value has it.
type stored struct {
	*Record
	Origin *Origin `json:"origin,omitempty"`
}

// storedJSON is the JSON of a record, with its origin while it is pending. Versions before it overlook that.
func storedJSON(b *bytes.Buffer, rec *Record) error {
	if rec.Status != Pending || rec.Origin == nil {
		return writeJSON(b, rec)
	}
	b.Reset()
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(stored{rec, rec.Origin}); err != nil {
		return errJSON
	}
	b.Truncate(b.Len() - 1)
	return nil
}

// readStored reads what storedJSON has written.
func readStored(text []byte, rec *Record) error {
	into := stored{Record: rec}
	if err := json.Unmarshal(text, &into); err != nil {
		return err
	}
	rec.Origin = into.Origin
	return nil
}
