package seal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
)

func TestNew_OneLineWithoutWhitespace(t *testing.T) {
	doc := prune(t, rotate(t, newDocument(t)), 1)
	if strings.ContainsFunc(doc.Reveal(), unicode.IsSpace) {
		t.Error("the document contains whitespace, which a secret of the configuration must not contain")
	}
	if newDocument(t).Equal(newDocument(t)) {
		t.Error("two documents are equal")
	}
}

// generations is a model of the lifetime of a keyset. The key that sealed a text determines
// whether the text must be readable.
type generations struct {
	t      testing.TB
	doc    secret.Text
	newest int // generation of the primary key
	oldest int // generation of the oldest key that was not pruned
	texts  []generation
}

type generation struct {
	key    int
	sealed []byte
}

func (g *generations) seal() {
	closed := sealed(g.t, parse(g.t, g.doc), fmt.Sprint("text ", len(g.texts)), someAD)
	g.texts = append(g.texts, generation{g.newest, closed})
}

func (g *generations) check(rt *rapid.T) {
	k := parse(g.t, g.doc)
	for i, text := range g.texts {
		opened, err := k.Open(nil, text.sealed, someAD)
		if text.key < g.oldest {
			if !errors.Is(err, seal.ErrUnreadable) {
				rt.Fatalf("key %d was pruned, Open = %v, want ErrUnreadable", text.key, err)
			}
		} else if want := fmt.Sprint("text ", i); err != nil || string(opened) != want {
			rt.Fatalf("key %d was not pruned, Open = %q, %v, want %q", text.key, opened, err, want)
		}
	}
}

func TestRotateAndPrune_Readability(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := &generations{t: t, doc: newDocument(t)}
		rt.Repeat(map[string]func(*rapid.T){
			"seal": func(*rapid.T) { g.seal() },
			"rotate": func(*rapid.T) {
				g.doc = rotate(t, g.doc)
				g.newest++
			},
			"prune": func(*rapid.T) {
				g.doc = prune(t, g.doc, g.newest-g.oldest)
				g.oldest = g.newest
			},
			"": g.check,
		})
	})
}

func TestRotate_NewKeySeals(t *testing.T) {
	before := newDocument(t)
	old, now := parse(t, before), parse(t, rotate(t, before))
	if _, err := old.Open(nil, sealed(t, now, "text", someAD), someAD); !errors.Is(err, seal.ErrUnreadable) {
		t.Errorf("the old document opens a text that the new one sealed: %v", err)
	}
	if _, err := now.Open(nil, sealed(t, old, "text", someAD), someAD); err != nil {
		t.Errorf("the new document does not open a text that the old one sealed: %v", err)
	}
}

func TestRotateAndPrune_BrokenDocument_ErrorOfParse(t *testing.T) {
	broken := secret.New(`{"version":2}`)
	_, want := seal.ParseKeyset(broken)
	if _, err := seal.Rotate(broken); err == nil || err.Error() != want.Error() {
		t.Errorf("Rotate = %v, want %v", err, want)
	}
	if _, _, err := seal.Prune(broken); err == nil || err.Error() != want.Error() {
		t.Errorf("Prune = %v, want %v", err, want)
	}
}
