package store

import (
	"fmt"

	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
)

// Keyset seals records. `cloudidq keys new` creates one; its help says how to rotate it.
type Keyset = seal.Keyset

// ParseKeyset reads the JSON that `cloudidq keys` prints. Its errors do not quote that JSON.
func ParseKeyset(json string) (*Keyset, error) {
	keyset, err := seal.ParseKeyset(secret.New(json))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return keyset, nil
}

// Option is a setting of a store.
type Option func(*settings)

type settings struct {
	keyset *Keyset
	outbox *Deliveries
}

// Sealed makes a store seal records under a keyset when it writes them, and open them when it
// reads. Unsealed records in the store stay readable. With a nil keyset nothing is sealed.
func Sealed(keyset *Keyset) Option {
	return func(s *settings) { s.keyset = keyset }
}

// WithOutbox sets where a store that is not in Redis relays the results to be delivered.
// Without it such a store delivers nothing.
func WithOutbox(d *Deliveries) Option {
	return func(s *settings) { s.outbox = d }
}
