package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"cloudidq/internal/seal"
)

// Errors for records that could not be read back later, and so would be lost. The texts are
// ours because encoding/json's errors quote the data.
var (
	errStatus = errors.New("a record's status is unknown")
	errID     = errors.New("a record's appid or cloudID is not UTF-8")
	errJSON   = errors.New("a record's data is not JSON, or its time has a year beyond 9999")
	errSeal   = errors.New("a record cannot be sealed")
	errResult = errors.New("the result to deliver is not a JSON object")
)

// errNotRecord is returned for a value that this package did not write.
var errNotRecord = errors.New("not a record")

// ErrUnreadable is returned for a record that is sealed under a key that the keyset does not
// hold.
var ErrUnreadable = errors.New("sealed under a key that the keyset does not hold")

// codec converts records to their stored form (see keys.go) and back. Data is sealed nowhere
// else.
//
// Its JSON differs from that of json.Marshal in one way: it does not escape "<", U+2028 and the
// like, because Data must stay as WeChat wrote it.
type codec struct {
	keyset *seal.Keyset // nil = records are not sealed
}

// fieldRecord binds a sealed record to its place: a value that was copied to another key cannot
// be opened there.
const fieldRecord = "record"

// encode returns the stored form of each record, unclaimed. users holds the records' user
// hashes as Redis names them; it is nil for another store.
//
// All forms share one buffer, which saves allocations. When the buffer grows, it moves to new
// memory and leaves the forms already returned unchanged.
func (c codec) encode(records []Record, owner string, users []string) ([][]byte, error) {
	size := 0
	for i := range records {
		size += headerLen + markLen + 384 + seal.Overhead + len(records[i].Data)
	}
	var out, text bytes.Buffer
	out.Grow(size)
	values := make([][]byte, len(records))
	for i := range records {
		start, rec := out.Len(), &records[i]
		if err := storedJSON(&text, rec); err != nil {
			return nil, err
		}
		out.WriteByte(rankOf(rec.Status))
		out.WriteString(owner)
		out.WriteString(unclaimed)
		if users != nil {
			out.WriteByte(markUser)
			out.WriteString(users[i])
		}
		body, err := c.close(text.Bytes(), rec)
		if err != nil {
			return nil, err
		}
		out.Write(body)
		values[i] = out.Bytes()[start:]
	}
	return values, nil
}

// writeJSON replaces the content of b with the JSON of rec. It returns an error if the JSON
// could not be read back.
func writeJSON(b *bytes.Buffer, rec *Record) error { return encodeRecord(b, rec, rec) }

// encodeRecord replaces the content of b with the JSON of rec in the given form, which is rec
// itself or its stored form.
func encodeRecord(b *bytes.Buffer, rec *Record, form any) error {
	switch {
	case rankOf(rec.Status) == 0:
		return errStatus
	case !utf8.ValidString(rec.AppID) || !utf8.ValidString(rec.CloudID):
		return errID
	}
	b.Reset()
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(form); err != nil {
		return errJSON
	}
	b.Truncate(b.Len() - 1) // the newline that Encode ends with
	return nil
}

// close seals the JSON of a record. Without a keyset it returns text unchanged.
func (c codec) close(text []byte, rec *Record) ([]byte, error) {
	if c.keyset == nil {
		return text, nil
	}
	sealed, err := c.keyset.Seal(nil, text, seal.AD{Field: fieldRecord, AppID: rec.AppID, CloudID: rec.CloudID})
	if err != nil {
		return nil, errSeal
	}
	return sealed, nil
}

// decode reads a stored value. It returns errNotRecord for a value that encode did not write for
// this cloudID, and ErrUnreadable for one that is sealed under a key that the keyset does not
// hold.
func (c codec) decode(value, appID, cloudID string) (Record, error) {
	if !validHeader(value) || value[0] == rankErased {
		return Record{}, errNotRecord
	}
	return c.decodeBody(value[0], []byte(bodyOf(value)), appID, cloudID)
}

// bodyOf returns the part of a value after its header and, if the value names a user, after the
// user.
func bodyOf(value string) string {
	body := value[headerLen:]
	if len(body) >= markLen && body[0] == markUser {
		return body[markLen:]
	}
	return body
}

// decodeBody is decode for the part of a value after the header. rank is the rank in that
// header.
func (c codec) decodeBody(rank byte, text []byte, appID, cloudID string) (Record, error) {
	// JSON begins with "{"; any other text is sealed.
	if len(text) > 0 && text[0] != '{' {
		var err error
		if text, err = c.open(text, appID, cloudID); err != nil {
			return Record{}, err
		}
	}
	var rec Record
	// The ids and the status must match the key and the header.
	err := readStored(text, &rec)
	if err != nil || rec.AppID != appID || rec.CloudID != cloudID || rankOf(rec.Status) != rank {
		return Record{}, errNotRecord
	}
	return rec, nil
}

// open decrypts a sealed record. Every failure is ErrUnreadable.
func (c codec) open(sealed []byte, appID, cloudID string) ([]byte, error) {
	if c.keyset == nil {
		return nil, ErrUnreadable
	}
	text, err := c.keyset.Open(nil, sealed, seal.AD{Field: fieldRecord, AppID: appID, CloudID: cloudID})
	if err != nil {
		return nil, ErrUnreadable
	}
	return text, nil
}

// validHeader reports whether value starts with a header. The scripts use the same rule.
func validHeader(value string) bool {
	if len(value) < headerLen || value[0] < rankPending || value[0] > rankErased {
		return false
	}
	hex, digits := value[1:1+ownerLen], value[1+ownerLen:headerLen]
	return strings.Trim(hex, "0123456789abcdef") == "" && strings.Trim(digits, "0123456789") == ""
}
