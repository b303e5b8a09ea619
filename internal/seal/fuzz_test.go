package seal_test

import (
	"encoding/json"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"

	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
)

// For any document, ParseKeyset returns an error that quotes nothing, or a keyset that works
// and can be rotated and pruned.
func FuzzParseKeyset(f *testing.F) {
	good := rotate(f, newDocument(f))
	f.Add([]byte(good.Reveal()))
	f.Add([]byte(good.Reveal()[:100]))
	f.Add([]byte(`{"version":1,"aead":{"primaryKeyId":1,"key":[{"keyId":1}]},"index":null}`))
	f.Add([]byte(tinkKeyset(aead.AES256GCMKeyTemplate())))
	for _, tc := range brokenDocuments {
		var doc object
		if err := json.Unmarshal([]byte(good.Reveal()), &doc); err != nil {
			f.Fatal(err)
		}
		tc.breakIt(doc)
		b, err := json.Marshal(doc)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		doc := secret.New(string(text))
		k, err := seal.ParseKeyset(doc)
		if err != nil {
			quotesNothing(t, err)
			return
		}
		closed := sealed(t, k, "text", someAD)
		rotated := rotate(t, doc)
		if opened, err := parse(t, rotated).Open(nil, closed, someAD); err != nil || string(opened) != "text" {
			t.Fatalf("after rotate Open = %q, %v", opened, err)
		}
		if _, _, err := seal.Prune(rotated); err != nil {
			t.Fatal(err)
		}
		if parse(t, rotated).PersonHash("wx1", "o1") != k.PersonHash("wx1", "o1") {
			t.Fatal("rotate changed PersonHash")
		}
	})
}
