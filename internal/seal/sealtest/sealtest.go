// Package sealtest makes keysets for tests.
package sealtest

import (
	"testing"

	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
)

// Keysets returns a new keyset, its rotation, and what pruning leaves of that.
func Keysets(t testing.TB) (first, rotated, pruned *seal.Keyset) {
	t.Helper()
	one, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	two, err := seal.Rotate(one)
	if err != nil {
		t.Fatal(err)
	}
	three, _, err := seal.Prune(two)
	if err != nil {
		t.Fatal(err)
	}
	parsed := make([]*seal.Keyset, 0, 3)
	for _, text := range []secret.Text{one, two, three} {
		keyset, err := seal.ParseKeyset(text)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, keyset)
	}
	return parsed[0], parsed[1], parsed[2]
}
