package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf/hmacprf"

	"cloudidq/internal/secret"
)

const documentVersion = 1

// document is the JSON document that an operator stores. Each half is a Tink keyset in cleartext
// JSON (https://developers.google.com/tink/wire-format), so that tinkey can read it too.
type document struct {
	Version int             `json:"version"`
	AEAD    json.RawMessage `json:"aead"` // AES256-GCM keys, one of them primary
	// Index has one HMAC-SHA256 key. It never changes, because keys in the store are
	// derived with it.
	Index json.RawMessage `json:"index"`
}

// parsed is a document that parse has checked.
type parsed struct {
	raw   document
	aead  *keyset.Handle
	index *keyset.Handle
}

// parse parses and checks a document. Errors of Tink and encoding/json may quote the input, so
// parse uses its own error texts.
func parse(text secret.Text) (*parsed, error) {
	doc := &parsed{}
	err := doc.raw.decode([]byte(text.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	if doc.aead, err = readTink(doc.raw.AEAD, isSealingKey, "an AES256-GCM key with prefix TINK"); err != nil {
		return nil, fmt.Errorf("keyset: aead: %w", err)
	}
	if doc.index, err = readTink(doc.raw.Index, isIndexKey, "a 32-byte HmacPrfKey with SHA256"); err != nil {
		return nil, fmt.Errorf("keyset: index: %w", err)
	}
	if n := doc.index.Len(); n != 1 {
		return nil,
			fmt.Errorf("keyset: index: has %d keys, must have one; the index key cannot be rotated", n)
	}
	return doc, nil
}

// decode parses the outer members. It checks the version before the other members, because a
// later version may have different members.
func (d *document) decode(text []byte) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return errors.New("is empty")
	}
	if err := json.Unmarshal(text, d); err != nil {
		return decodeFault(err, len(text))
	}
	if d.Version != documentVersion {
		return fmt.Errorf("version is %d, must be %d", d.Version, documentVersion)
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if strict.Decode(&document{}) != nil {
		return errors.New("has unknown members; only version, aead and index are allowed")
	}
	return nil
}

// decodeFault translates an error of encoding/json into one that does not quote the input. size
// is the length of the input in bytes.
func decodeFault(err error, size int) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		if syntax.Offset >= int64(size) {
			return fmt.Errorf("is truncated after %d bytes", size)
		}
		return fmt.Errorf("is not JSON at byte %d", syntax.Offset)
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && kind.Field == "version" {
		return errors.New("version must be a whole number")
	}
	return errors.New("is not a JSON object")
}

// readTink parses one of the two keysets. It rejects a keyset with a key that wanted does not
// accept. kind describes the accepted keys in errors.
func readTink(text json.RawMessage, wanted func(key.Key) bool, kind string) (*keyset.Handle, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, errors.New("is missing")
	}
	ks, err := keyset.NewJSONReader(bytes.NewReader(text)).Read()
	if err != nil {
		return nil, errors.New("is not a Tink keyset in JSON")
	}
	if err := keyset.Validate(ks); err != nil {
		return nil, fmt.Errorf("is rejected by Tink: %w",
			err) // these texts contain at most key ids
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, errors.New("contains a key that is damaged or of the wrong type; must be " + kind)
	}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil || !wanted(entry.Key()) {
			return nil, fmt.Errorf("key %d of %d has the wrong type; must be %s", i+1, handle.Len(),
				kind)
		}
	}
	return handle, nil
}

// isSealingKey reports whether k is an AES256-GCM key with the TINK prefix. The prefix puts the
// key id into each sealed text, so Open uses only that key.
func isSealingKey(k key.Key) bool {
	p, ok := k.Parameters().(*aesgcm.Parameters)
	return ok && p.KeySizeInBytes() == 32 && p.Variant() == aesgcm.VariantTink
}

// isIndexKey reports whether k is a 32-byte HMAC-SHA256 PRF key.
func isIndexKey(k key.Key) bool {
	p, ok := k.Parameters().(*hmacprf.Parameters)
	return ok && p.KeySizeInBytes() == 32 && p.HashType() == hmacprf.SHA256
}

// writeTink is the reverse of readTink.
func writeTink(handle *keyset.Handle) (json.RawMessage, error) {
	var b bytes.Buffer
	err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b))
	return b.Bytes(), err
}

// text encodes a document as one line without whitespace, so that it fits into an
// environment variable.
func (d document) text() (secret.Text, error) {
	text, err := json.Marshal(d)
	return secret.New(string(text)), err
}
