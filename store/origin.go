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

// storedRecord is a record as the store keeps it: its JSON has the origin. It has the fields of
// Record, so a record converts to it without a copy; TestStoredRecord compares their tags.
type storedRecord struct {
	AppID      string          `json:"appid"`
	OpenID     string          `json:"openid,omitempty"`
	CloudID    string          `json:"cloud_id"`
	Status     Status          `json:"status"`
	Kind       string          `json:"kind,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`
	Error      *Error          `json:"error,omitempty"`
	Attempts   int             `json:"attempts"`
	Reference  string          `json:"reference,omitempty"`
	AcceptedAt Time            `json:"accepted_at,omitzero"`
	FinishedAt Time            `json:"finished_at,omitzero"`

	Deliver Outlet  `json:"-"`
	Origin  *Origin `json:"origin,omitempty"`
}

// storedJSON replaces the content of b with the JSON of a record, including the origin while
// the record is pending. Older versions ignore the origin.
func storedJSON(b *bytes.Buffer, rec *Record) error {
	if rec.Status != Pending || rec.Origin == nil {
		return writeJSON(b, rec)
	}
	return encodeRecord(b, rec, (*storedRecord)(rec))
}

// readStored reads JSON that storedJSON has written.
func readStored(text []byte, rec *Record) error {
	return json.Unmarshal(text, (*storedRecord)(rec))
}
