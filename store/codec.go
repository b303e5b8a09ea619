package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"cloudidq/internal/seal"
)

// Faults of a record that could not be read back, and so would be lost. They are our own words: encoding/json's errors
// quote the data.
var (
	errStatus = errors.New("a record's status is unknown")
	errID     = errors.New("a record's appid or cloudID is not UTF-8")
	errJSON   = errors.New("a record's data is not JSON, or its time has a year beyond 9999")
	errSeal   = errors.New("a record cannot be sealed")
)

// errForeign is for a value that nobody of this package wrote.
var errForeign = errors.New("not a record")

// ErrUnreadable says that a record is sealed, and not under a key of the keyset at hand.
var ErrUnreadable = errors.New("sealed under a key that the keyset does not hold")

// codec turns records into their stored form (see keys.go) and back. It is the one place where data is sealed.
//
// Its JSON differs from json.Marshal's in one thing: "<", U+2028 and their like are not escaped, since Data is to stay
// as WeChat wrote it.
type codec struct {
	keyset *seal.Keyset // nil: nothing is sealed
}

// fieldRecord binds what is sealed to its place: a value copied to another key cannot be opened there.
const fieldRecord = "record"

// encode returns each record's stored form, not claimed; persons are how Redis names theirs, nil for another store. They
// lie in one buffer, one behind the other, so that they cost few allocations; a buffer that grows moves on and leaves what
// it has handed out alone.
func (c codec) encode(records []Record, owner string, persons []string) ([][]byte, error) {
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
		if persons != nil {
			out.WriteByte(markPerson)
			out.WriteString(persons[i])
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

// writeJSON replaces what is in b by the JSON of a record that can be read back.
func writeJSON(b *bytes.Buffer, rec *Record) error {
	switch {
	case rankOf(rec.Status) == 0:
		return errStatus
	case !utf8.ValidString(rec.AppID) || !utf8.ValidString(rec.CloudID):
		return errID
	}
	b.Reset()
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(rec); err != nil {
		return errJSON
	}
	b.Truncate(b.Len() - 1) // the newline that Encode ends with
	return nil
}

// close seals the JSON of a record, if there is a keyset.
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

// decode reads a stored value. Its error is errForeign for anything that encode did not write for this very cloudID, and
// ErrUnreadable for what is sealed under a key that is not at hand.
func (c codec) decode(value, appID, cloudID string) (Record, error) {
	if !validHeader(value) || value[0] == rankErased {
		return Record{}, errForeign
	}
	return c.decodeBody(value[0], []byte(bodyOf(value)), appID, cloudID)
}

// bodyOf is what stands behind the header of a value, and behind its person where it names one.
func bodyOf(value string) string {
	body := value[headerLen:]
	if len(body) >= markLen && body[0] == markPerson {
		return body[markLen:]
	}
	return body
}

// decodeBody is decode for what stands behind the header; rank is the rank in it.
func (c codec) decodeBody(rank byte, text []byte, appID, cloudID string) (Record, error) {
	if len(text) > 0 && text[0] != '{' {
		var err error
		if text, err = c.open(text, appID, cloudID); err != nil {
			return Record{}, err
		}
	}
	var rec Record
	err := readStored(text, &rec)
	if err != nil || rec.AppID != appID || rec.CloudID != cloudID || rankOf(rec.Status) != rank {
		return Record{}, errForeign
	}
	return rec, nil
}

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

// validHeader reports whether value starts with a header, by the same rule as the scripts.
func validHeader(value string) bool {
	if len(value) < headerLen || value[0] < rankPending || value[0] > rankErased {
		return false
	}
	hex, digits := value[1:1+ownerLen], value[1+ownerLen:headerLen]
	return strings.Trim(hex, "0123456789abcdef") == "" && strings.Trim(digits, "0123456789") == ""
}
