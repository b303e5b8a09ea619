// Package seal encrypts records before they are stored. The store, its backups and its
// replication then contain neither personal data nor openids in readable form.
//
// An operator creates one JSON document with `cloudidq keys new` and gives it to every process.
// [ParseKeyset] parses it into a [Keyset]. A Keyset seals with the primary key and opens with
// every key that it contains. It also makes two keyed hashes: [Keyset.PersonHash] finds the
// records of a user, and [Keyset.LogHash] identifies ids in logs.
//
//	doc, err := seal.New()                    // once; store it like a password
//	keys, err := seal.ParseKeyset(doc)        // in every process
//	ad := seal.AD{Field: "data", AppID: appID, CloudID: cloudID}
//	sealed, err := keys.Seal(nil, data, ad)
//	data, err = keys.Open(nil, sealed, ad)    // ErrUnreadable under any other ad
//
// The keys are Tink keys (https://developers.google.com/tink). This package writes a key only
// into the document, and its errors never quote a key.
package seal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"

	"cloudidq/internal/secret"
)

// Overhead is the number of bytes that sealing adds to a text: 1 for the version, 4 for the id
// of the key, by which Open finds the key, 12 for the nonce and 16 for the tag
// (https://developers.google.com/tink/wire-format).
const Overhead = 33

// ErrUnreadable is the error of [Keyset.Open]. The key was pruned, the text was changed, or the
// text was sealed for another field, app or cloudID. Open cannot distinguish these causes.
var ErrUnreadable = errors.New("the sealed text cannot be opened with the keyset")

// Keyset seals, opens and hashes. It is safe for concurrent use. It never changes: after a
// rotation, parse the new document into a new Keyset.
type Keyset struct {
	aead  tink.AEAD
	index *prf.Set
}

// ParseKeyset parses a document that [New], [Rotate] or [Prune] returned. Its errors name the
// faulty member and never quote the document.
func ParseKeyset(json secret.Text) (*Keyset, error) {
	doc, err := parse(json)
	if err != nil {
		return nil, err
	}
	k := &Keyset{}
	if k.aead, err = aead.New(doc.aead); err != nil {
		return nil, errors.New("keyset: aead: Tink cannot create a cipher")
	}
	if k.index, err = prf.NewPRFSet(doc.index); err != nil {
		return nil, errors.New("keyset: index: Tink cannot create a hash")
	}
	return k, nil
}

// AD is the associated data of a sealed text: its field and its record. It is authenticated and
// not stored. A sealed text that is moved to another field or record cannot be opened there.
type AD struct {
	Field   string // the field of the record, such as "data"
	AppID   string
	CloudID string
}

// Seal seals plaintext with the primary key, appends the result to dst and returns it. It uses
// AES256-GCM with a random nonce, so the same text gives different bytes each time. One key may
// seal at most 2^32 texts (NIST SP 800-38D, section 8.3), so rotate before that. Seal fails
// only for a text of more than 64 GiB.
func (k *Keyset) Seal(dst, plaintext []byte, ad AD) ([]byte, error) {
	sealed, err := k.aead.Encrypt(plaintext, ad.encode())
	if err != nil {
		return nil, fmt.Errorf("sealing %d bytes: %w", len(plaintext), err)
	}
	return appendTo(dst, sealed), nil
}

// Open opens a text that [Keyset.Seal] returned, appends the plaintext to dst and returns it.
// It works with every key of the keyset. Its only error is [ErrUnreadable].
func (k *Keyset) Open(dst, sealed []byte, ad AD) ([]byte, error) {
	plaintext, err := k.aead.Decrypt(sealed, ad.encode())
	if err != nil {
		return nil, ErrUnreadable
	}
	return appendTo(dst, plaintext), nil
}

// appendTo appends text to dst. If dst is nil, it returns text without a copy.
func appendTo(dst, text []byte) []byte {
	if dst == nil {
		return text
	}
	return append(dst, text...)
}

func (ad AD) encode() []byte { return encode("v1", ad.Field, ad.AppID, ad.CloudID) }

// encode joins parts so that different parts never give the same bytes. Each part follows its
// length. A separator would not work, because a cloudID may contain every printable character.
func encode(parts ...string) []byte {
	size := 0
	for _, part := range parts {
		size += binary.MaxVarintLen32 + len(part)
	}
	b := make([]byte, 0, size)
	for _, part := range parts {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}
