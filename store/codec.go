package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// Faults of a record that could not be read back, and so would be lost. They are our own words: encoding/json's errors
// quote the data.
var (
	errStatus = errors.New("a record's status is unknown")
	errID     = errors.New("a record's appid or cloudID is not UTF-8")
	errJSON   = errors.New("a record's data is not JSON, or its time has a year beyond 9999")
)

// encoder writes records in their stored form (see keys.go), one behind the other: a call's records lie in one
// buffer, so that they cost few allocations.
//
// Its JSON differs from json.Marshal's in one thing: "<", U+2028 and their like are not escaped, since Data is to stay
// as WeChat wrote it.
type encoder struct {
	buf  bytes.Buffer
	json *json.Encoder
}

func newEncoder(size int) *encoder {
	e := &encoder{}
	e.buf.Grow(size)
	e.json = json.NewEncoder(&e.buf)
	e.json.SetEscapeHTML(false)
	return e
}

// value returns rec's stored form, which stays good.
func (e *encoder) value(owner, until string, rec *Record) ([]byte, error) {
	rank := rankOf(rec.Status)
	switch {
	case rank == 0:
		return nil, errStatus
	case !utf8.ValidString(rec.AppID) || !utf8.ValidString(rec.CloudID):
		return nil, errID
	}
	start := e.buf.Len()
	e.buf.WriteByte(rank)
	e.buf.WriteString(owner)
	e.buf.WriteString(until)
	if err := e.json.Encode(rec); err != nil {
		return nil, errJSON
	}
	// Without the newline that Encode ends with. A buffer that grows moves on and leaves these bytes alone.
	return e.buf.Bytes()[start : e.buf.Len()-1], nil
}

// encode returns each record's stored form.
func encode(records []Record, owner, until string) ([][]byte, error) {
	size := 0
	for i := range records {
		size += headerLen + 384 + len(records[i].Data)
	}
	e := newEncoder(size)
	values := make([][]byte, len(records))
	for i := range records {
		var err error
		if values[i], err = e.value(owner, until, &records[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// decode reads a stored value. It reports false for anything that encode did not write for this very cloudID: such a
// value counts as missing, whoever wrote it.
func decode(value, appID, cloudID string) (Record, bool) {
	if !validHeader(value) {
		return Record{}, false
	}
	var rec Record
	err := json.Unmarshal([]byte(value[headerLen:]), &rec)
	if err != nil || rec.AppID != appID || rec.CloudID != cloudID || rankOf(rec.Status) != value[0] {
		return Record{}, false
	}
	return rec, true
}

// validHeader reports whether value starts with a header, by the same rule as the scripts.
func validHeader(value string) bool {
	if len(value) < headerLen || value[0] < rankPending || value[0] > rankResolved {
		return false
	}
	hex, digits := value[1:1+ownerLen], value[1+ownerLen:headerLen]
	return strings.Trim(hex, "0123456789abcdef") == "" && strings.Trim(digits, "0123456789") == ""
}
