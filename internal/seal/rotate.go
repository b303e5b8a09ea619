package seal

import (
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"

	"cloudidq/internal/secret"
)

// New returns a document with new keys, one of each kind.
func New() (secret.Text, error) {
	sealing, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return secret.Text{}, fmt.Errorf("creating the AEAD key: %w", err)
	}
	index, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return secret.Text{}, fmt.Errorf("creating the index key: %w", err)
	}
	doc := document{Version: documentVersion}
	if doc.Index, err = writeTink(index); err != nil {
		return secret.Text{}, fmt.Errorf("writing the index key: %w", err)
	}
	return doc.with(sealing)
}

// Rotate returns the document with an additional AEAD key, which is primary. Texts that the old
// keys sealed stay readable. A process with the old document cannot open texts that are sealed
// with the new document.
func Rotate(text secret.Text) (secret.Text, error) {
	doc, err := parse(text)
	if err != nil {
		return secret.Text{}, err
	}
	m := keyset.NewManagerFromHandle(doc.aead)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return secret.Text{}, fmt.Errorf("adding an AEAD key: %w", err)
	}
	if err := m.SetPrimary(id); err != nil {
		return secret.Text{}, fmt.Errorf("making the new AEAD key primary: %w", err)
	}
	next, err := m.Handle()
	if err != nil {
		return secret.Text{}, fmt.Errorf("rotating the AEAD keys: %w", err)
	}
	return doc.raw.with(next)
}

// Prune returns the document with only the primary AEAD key, and the number of removed keys.
// Once all copies of the old document are deleted, nobody can read texts that the removed keys
// sealed, not even in backups.
func Prune(text secret.Text) (next secret.Text, removed int, err error) {
	doc, err := parse(text)
	if err != nil {
		return secret.Text{}, 0, err
	}
	m := keyset.NewManagerFromHandle(doc.aead)
	for i := range doc.aead.Len() {
		entry, err := doc.aead.Entry(i)
		if err != nil {
			return secret.Text{}, 0, fmt.Errorf("pruning the AEAD keys: %w", err)
		}
		if entry.IsPrimary() {
			continue
		}
		if err := m.Delete(entry.KeyID()); err != nil {
			return secret.Text{}, 0, fmt.Errorf("pruning the AEAD keys: %w", err)
		}
		removed++
	}
	kept, err := m.Handle()
	if err != nil {
		return secret.Text{}, 0, fmt.Errorf("pruning the AEAD keys: %w", err)
	}
	next, err = doc.raw.with(kept)
	return next, removed, err
}

// with returns the document with other AEAD keys. The index stays the same, byte for byte.
func (d document) with(sealing *keyset.Handle) (secret.Text, error) {
	var err error
	if d.AEAD, err = writeTink(sealing); err != nil {
		return secret.Text{}, fmt.Errorf("writing the AEAD keys: %w", err)
	}
	return d.text()
}
