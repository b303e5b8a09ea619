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
	// Thin says that the endpoint receives the short form of results; see [NewTimely].
	Thin bool `json:"thin,omitempty"`
}

// stored is the stored form of a record: its JSON has the origin too. Its times are text, which
// shadows the times of the record: encoding/json checks and copies once more what
// [Time.MarshalJSON] returns, which is half the work for a record.
type stored struct {
	*Record
	AcceptedAt string  `json:"accepted_at,omitempty"`
	FinishedAt string  `json:"finished_at,omitempty"`
	Origin     *Origin `json:"origin,omitempty"`
}

// storedJSON replaces the content of b with the JSON of a record, including the origin while
// the record is pending. Older versions ignore the origin.
func storedJSON(b *bytes.Buffer, rec *Record) error {
	accepted, err := rec.AcceptedAt.text()
	if err != nil {
		return errJSON
	}
	finished, err := rec.FinishedAt.text()
	if err != nil {
		return errJSON
	}
	form := stored{Record: rec, AcceptedAt: accepted, FinishedAt: finished}
	if rec.Status == Pending {
		form.Origin = rec.Origin
	}
	return encodeRecord(b, rec, &form)
}

// readStored reads JSON that storedJSON has written.
func readStored(text []byte, rec *Record) error {
	var into struct {
		*Record
		Origin *Origin `json:"origin"`
	}
	into.Record = rec
	if err := json.Unmarshal(text, &into); err != nil {
		return err
	}
	rec.Origin = into.Origin
	return nil
}
