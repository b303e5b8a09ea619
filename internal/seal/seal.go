// Package seal closes records before they are stored, so that whoever reads the store, its backups or its replication
// sees neither personal data nor openids.
//
// An operator makes one JSON document with `cloudidq keys new` and gives it to every process; [ParseKeyset] turns it
// into a [Keyset]. That seals with the newest key, opens with every key it holds, and makes the keyed hashes by which
// records of a person are found ([Keyset.PersonHash]) and ids are told apart in logs ([Keyset.LogHash]).
//
//	doc, err := seal.New()                    // once; keep it like a password
//	keys, err := seal.ParseKeyset(doc)        // in every process
//	ad := seal.AD{Field: "data", AppID: appID, CloudID: cloudID}
//	sealed, err := keys.Seal(nil, data, ad)
//	data, err = keys.Open(nil, sealed, ad)    // ErrUnreadable under any other ad
//
// The keys are Tink's (https://developers.google.com/tink); this package never writes one anywhere but into the
// document, and no error of it quotes one.
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

// Overhead is how many bytes a sealed text is longer than the text: 1 of version and 4 of key id, by which the key is
// found, 12 of nonce, 16 of tag (https://developers.google.com/tink/wire-format).
const Overhead = 33

// ErrUnreadable is returned by [Keyset.Open]: the key has been pruned, the text has been changed, or it was sealed for
// another field, app or cloudID. Which of these cannot be told.
var ErrUnreadable = errors.New("no key of the keyset opens the sealed text")

// Keyset seals, opens and hashes. It is safe for concurrent use and does not change: a rotated document is parsed into
// a new one.
type Keyset struct {
	aead  tink.AEAD
	index *prf.Set
}

// ParseKeyset reads a document that [New], [Rotate] or [Prune] made. Its errors name the member that is wrong, and
// never quote the document.
func ParseKeyset(json secret.Text) (*Keyset, error) {
	doc, err := parse(json)
	if err != nil {
		return nil, err
	}
	k := &Keyset{}
	if k.aead, err = aead.New(doc.aead); err != nil {
		return nil, errors.New("keyset: aead: Tink makes no cipher of it")
	}
	if k.index, err = prf.NewPRFSet(doc.index); err != nil {
		return nil, errors.New("keyset: index: Tink makes no hash of it")
	}
	return k, nil
}

// AD says what a sealed text is and whose. It is authenticated and not stored: a text that is moved to another place
// does not open there.
type AD struct {
	Field   string // what of the record, such as "data"
	AppID   string
	CloudID string
}

// Seal appends the sealed plaintext to dst, under the primary key: AES256-GCM with a random nonce, so the same text
// never looks the same twice. One key is good for 2^32 texts (NIST SP 800-38D, section 8.3); rotate before.
// It fails for more than 64 GiB only.
func (k *Keyset) Seal(dst, plaintext []byte, ad AD) ([]byte, error) {
	sealed, err := k.aead.Encrypt(plaintext, ad.encode())
	if err != nil {
		return nil, fmt.Errorf("sealing %d bytes: %w", len(plaintext), err)
	}
	return appendTo(dst, sealed), nil
}

// Open appends the text to dst that [Keyset.Seal] was given, under whichever key of the keyset sealed it. Its error is
// [ErrUnreadable].
func (k *Keyset) Open(dst, sealed []byte, ad AD) ([]byte, error) {
	plaintext, err := k.aead.Decrypt(sealed, ad.encode())
	if err != nil {
		return nil, ErrUnreadable
	}
	return appendTo(dst, plaintext), nil
}

// appendTo spares the copy where there is nothing to append to.
func appendTo(dst, text []byte) []byte {
	if dst == nil {
		return text
	}
	return append(dst, text...)
}

func (ad AD) encode() []byte { return encode("v1", ad.Field, ad.AppID, ad.CloudID) }

// encode joins parts so that different parts never give the same bytes, each behind its length: a cloudID may hold
// every printable character, so there is no separator.
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
