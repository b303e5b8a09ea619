package store

import (
	"fmt"

	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
)

// Keyset seals records. `cloudidq keys new` makes one; see there how it is rotated.
type Keyset = seal.Keyset

// ParseKeyset reads the JSON that `cloudidq keys` prints. Its error does not quote it.
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

// Sealed seals records under a keyset, and opens them. Records that lie there unsealed stay readable. nil seals nothing.
func Sealed(keyset *Keyset) Option {
	return func(s *settings) { s.keyset = keyset }
}

// WithOutbox is where a store that is not in Redis leaves what is to be delivered. Without it nothing is.
func WithOutbox(d *Deliveries) Option {
	return func(s *settings) { s.outbox = d }
}
