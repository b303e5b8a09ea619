package seal_test

import (
	"testing"

	"go.uber.org/goleak"

	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newDocument(t testing.TB) secret.Text {
	t.Helper()
	doc, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func parse(t testing.TB, doc secret.Text) *seal.Keyset {
	t.Helper()
	k, err := seal.ParseKeyset(doc)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rotate(t testing.TB, doc secret.Text) secret.Text {
	t.Helper()
	next, err := seal.Rotate(doc)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func prune(t testing.TB, doc secret.Text, wantRemoved int) secret.Text {
	t.Helper()
	next, removed, err := seal.Prune(doc)
	if err != nil {
		t.Fatal(err)
	}
	if removed != wantRemoved {
		t.Fatalf("Prune removed %d keys, want %d", removed, wantRemoved)
	}
	return next
}

func sealed(t testing.TB, k *seal.Keyset, text string, ad seal.AD) []byte {
	t.Helper()
	b, err := k.Seal(nil, []byte(text), ad)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
