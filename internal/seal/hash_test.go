package seal_test

import (
	"encoding/hex"
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"cloudidq/internal/secret"
)

func TestPersonHash_SameAfterRotateAndPrune(t *testing.T) {
	doc := newDocument(t)
	want, wantLog := parse(t, doc).PersonHash("wx1", "o1"), parse(t, doc).LogHash("o1")
	rotated := rotate(t, rotate(t, doc))
	for name, next := range map[string]secret.Text{
		"rotate": rotated,
		"prune":  prune(t, rotated, 2),
	} {
		k := parse(t, next)
		if got := k.PersonHash("wx1", "o1"); got != want {
			t.Errorf("after %s PersonHash = %x, want %x", name, got, want)
		}
		if got := k.LogHash("o1"); got != wantLog {
			t.Errorf("after %s LogHash = %s, want %s", name, got, wantLog)
		}
	}
	if got := parse(t, newDocument(t)).PersonHash("wx1", "o1"); got == want {
		t.Errorf("another keyset returns the same hash: %x", got)
	}
}

func TestPersonHash_DiffersPerAppAndPerson(t *testing.T) {
	k := parse(t, newDocument(t))
	// The alphabet is small, so that different pairs often join to the same string.
	part := rapid.StringOfN(rapid.SampledFrom([]rune("ow|\x01")), 0, 4, -1)
	rapid.Check(t, func(t *rapid.T) {
		app, person := part.Draw(t, "app"), part.Draw(t, "person")
		app2, person2 := part.Draw(t, "app2"), part.Draw(t, "person2")
		same := app == app2 && person == person2
		if equal := k.PersonHash(app, person) == k.PersonHash(app2, person2); equal != same {
			t.Fatalf("(%q, %q) and (%q, %q): equal = %v", app, person, app2, person2, equal)
		}
	})
}

func TestLogHash_Shape(t *testing.T) {
	k := parse(t, newDocument(t))
	a := k.LogHash("o1")
	if !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(a) {
		t.Errorf("LogHash = %q, want 8 hexadecimal digits", a)
	}
	if a != k.LogHash("o1") || a == k.LogHash("o2") {
		t.Errorf("LogHash does not distinguish ids: %s, %s, %s", a, k.LogHash("o1"),
			k.LogHash("o2"))
	}
	// A hash in a log must not lead to a key in the store.
	if person := k.PersonHash("", "o1"); a == hex.EncodeToString(person[:4]) {
		t.Error("LogHash is a prefix of PersonHash")
	}
}
