package seal_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	"github.com/tink-crypto/tink-go/v2/prf"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
)

// planted marks the parts of a broken document that no error may quote.
const planted = "plantedKEYbytes0123456789"

// object is a document, or a part of one, that a test breaks.
type object = map[string]any

// aeadKey returns a key of the member "aead".
func aeadKey(doc object, i int) object {
	return doc["aead"].(object)["key"].([]any)[i].(object)
}

// brokenDocuments are ways to break a document that was rotated once. Its aead has an old key
// and a primary key.
var brokenDocuments = map[string]struct {
	breakIt func(doc object)
	want    string
}{
	"version missing":  {func(d object) { delete(d, "version") }, "version is 0, must be 1"},
	"version later":    {func(d object) { d["version"] = 2; d["new"] = planted }, "version is 2, must be 1"},
	"version text":     {func(d object) { d["version"] = planted }, "version must be a whole number"},
	"version fraction": {func(d object) { d["version"] = 1.5 }, "version must be a whole number"},
	"unknown member":   {func(d object) { d[planted] = planted }, "has unknown members; only version, aead and index are allowed"},
	"aead missing":     {func(d object) { delete(d, "aead") }, "aead: is missing"},
	"aead null":        {func(d object) { d["aead"] = nil }, "aead: is missing"},
	"aead text":        {func(d object) { d["aead"] = planted }, "aead: is not a Tink keyset in JSON"},
	"aead empty":       {func(d object) { d["aead"] = object{} }, "aead: is rejected by Tink: empty keyset"},
	"aead encrypted": {func(d object) { d["aead"] = object{"encryptedKeyset": planted} },
		"aead: is not a Tink keyset in JSON"},
	"aead not base64": {func(d object) { aeadKey(d, 0)["keyData"].(object)["value"] = planted + "!" },
		"aead: is not a Tink keyset in JSON"},
	"primary disabled": {func(d object) { aeadKey(d, 1)["status"] = "DISABLED" }, "aead: is rejected by Tink: keyset contains a non-ENABLED primary key"},
	"primary missing":  {func(d object) { d["aead"].(object)["primaryKeyId"] = 1 }, "aead: is rejected by Tink: keyset does not contain a valid primary key"},
	"no key data":      {func(d object) { delete(aeadKey(d, 0), "keyData") }, "has no key data"},
	"id twice": {func(d object) { aeadKey(d, 0)["keyId"] = aeadKey(d, 1)["keyId"] },
		"aead: is rejected by Tink: keyset contains duplicate key ID"},
	"unknown type": {func(d object) { aeadKey(d, 0)["keyData"].(object)["typeUrl"] = planted },
		"aead: key 1 of 2 has the wrong type; must be an AES256-GCM key with prefix TINK"},
	"type of another key": {func(d object) {
		aeadKey(d, 0)["keyData"].(object)["typeUrl"] = "type.googleapis.com/google.crypto.tink.HmacPrfKey"
	}, "aead: contains a key that is damaged or of the wrong type; must be an AES256-GCM key"},
	"key damaged": {func(d object) { aeadKey(d, 1)["keyData"].(object)["value"] = "cGxhbnRlZEtFWWJ5dGVz" },
		"aead: contains a key that is damaged or of the wrong type"},
	"key short": {func(d object) { d["aead"] = tinkKeyset(aead.AES128GCMKeyTemplate()) },
		"aead: key 1 of 1 has the wrong type; must be an AES256-GCM key"},
	"key without prefix": {func(d object) { d["aead"] = tinkKeyset(aead.AES256GCMNoPrefixKeyTemplate()) },
		"aead: key 1 of 1 has the wrong type; must be an AES256-GCM key with prefix TINK"},
	"other cipher": {func(d object) { d["aead"] = tinkKeyset(aead.ChaCha20Poly1305KeyTemplate()) },
		"aead: key 1 of 1 has the wrong type"},
	"keyset of a MAC": {func(d object) { d["aead"] = tinkKeyset(mac.HMACSHA256Tag256KeyTemplate()) },
		"aead: key 1 of 1 has the wrong type"},
	"keysets exchanged": {func(d object) { d["aead"], d["index"] = d["index"], d["aead"] },
		"aead: key 1 of 1 has the wrong type"},
	"index missing": {func(d object) { delete(d, "index") }, "index: is missing"},
	"index of a cipher": {func(d object) { d["index"] = tinkKeyset(aead.AES256GCMKeyTemplate()) },
		"index: key 1 of 1 has the wrong type; must be a 32-byte HmacPrfKey with SHA256"},
	"index of another hash": {func(d object) { d["index"] = tinkKeyset(prf.HMACSHA512PRFKeyTemplate()) },
		"index: key 1 of 1 has the wrong type"},
	"index of another PRF": {func(d object) { d["index"] = tinkKeyset(prf.HKDFSHA256PRFKeyTemplate()) },
		"index: key 1 of 1 has the wrong type"},
	"index rotated": {func(d object) {
		d["index"] = tinkKeyset(prf.HMACSHA256PRFKeyTemplate(), prf.HMACSHA256PRFKeyTemplate())
	}, "index: has 2 keys, must have one"},
}

func TestParseKeyset_BrokenDocument_DescribesFaultWithoutQuoting(t *testing.T) {
	good := rotate(t, newDocument(t)).Reveal()
	for name, tc := range brokenDocuments {
		t.Run(name, func(t *testing.T) {
			var doc object
			if err := json.Unmarshal([]byte(good), &doc); err != nil {
				t.Fatal(err)
			}
			tc.breakIt(doc)
			broken, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			wantRejected(t, string(broken), tc.want)
		})
	}
}

func TestParseKeyset_NotADocument_DescribesFaultWithoutQuoting(t *testing.T) {
	good := newDocument(t).Reveal()
	var doc struct{ AEAD json.RawMessage }
	if err := json.Unmarshal([]byte(good), &doc); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"empty":            {"", "keyset: is empty"},
		"blank":            {" \n", "keyset: is empty"},
		"not JSON":         {planted, "keyset: is not JSON at byte 1"},
		"a list":           {`["` + planted + `"]`, "keyset: is not a JSON object"},
		"a text":           {`"` + planted + `"`, "keyset: is not a JSON object"},
		"two documents":    {good + good, "keyset: is not JSON at byte "},
		"a keyset of Tink": {string(doc.AEAD), "keyset: version is 0, must be 1"},
	} {
		t.Run(name, func(t *testing.T) { wantRejected(t, tc.text, tc.want) })
	}
	for n := 1; n < len(good); n++ {
		wantRejected(t, good[:n], fmt.Sprintf("keyset: is truncated after %d bytes", n))
	}
}

// wantRejected checks that ParseKeyset rejects text with an error that contains want and does not
// quote text.
func wantRejected(t *testing.T, text, want string) {
	t.Helper()
	k, err := seal.ParseKeyset(secret.New(text))
	if err == nil || k != nil || !strings.Contains(err.Error(), want) {
		t.Errorf("ParseKeyset = %v, %v, want an error that contains %q", k, err, want)
		return
	}
	quotesNothing(t, err)
	if strings.Contains(err.Error(), "planted") {
		t.Errorf("the error quotes the document: %v", err)
	}
}

// long matches a key in base64 or hexadecimal. No word of an error is as long.
var long = regexp.MustCompile(`[A-Za-z0-9+/_]{16,}`)

func quotesNothing(t *testing.T, err error) {
	t.Helper()
	if found := long.FindString(err.Error()); found != "" {
		t.Errorf("the error may quote a key: %v", err)
	}
}

// tinkKeyset returns a Tink keyset as in a document. Its last key is primary.
func tinkKeyset(templates ...*tinkpb.KeyTemplate) json.RawMessage {
	m := keyset.NewManager()
	for _, template := range templates {
		id, err := m.Add(template)
		if err != nil {
			panic(err)
		}
		if err := m.SetPrimary(id); err != nil {
			panic(err)
		}
	}
	handle, err := m.Handle()
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		panic(err)
	}
	return json.RawMessage(b.String())
}

func TestParseKeyset_DisabledOldKey_OpensNothing(t *testing.T) {
	before := newDocument(t)
	closed := sealed(t, parse(t, before), "text", someAD)
	var doc object
	if err := json.Unmarshal([]byte(rotate(t, before).Reveal()), &doc); err != nil {
		t.Fatal(err)
	}
	aeadKey(doc, 0)["status"] = "DISABLED"
	disabled, err := json.MarshalIndent(doc, "", "  ") // whitespace does not matter
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(t, secret.New(string(disabled)+"\n")).Open(nil, closed, someAD); err == nil {
		t.Error("a disabled key opened a text")
	}
}

var update = flag.Bool("update", false,
	"rewrite testdata; if this is required, records of version 1 become unreadable")

// Every later version must open what version 1 sealed, and compute the same hashes. testdata
// has a document that was made for this test, a sealed text and the hashes.
func TestKeyset_Version1_StaysReadable(t *testing.T) {
	const file = "testdata/v1.json"
	type golden struct {
		Document json.RawMessage `json:"document"`
		Sealed   []byte          `json:"sealed"`
		Person   []byte          `json:"person"`
		Log      string          `json:"log"`
	}
	if *update {
		k := newDocument(t)
		person := parse(t, k).PersonHash("wx1", "o1")
		b, err := json.MarshalIndent(golden{json.RawMessage(k.Reveal()), sealed(t, parse(t, k), "text", someAD), person[:], parse(t, k).LogHash("o1")}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want golden
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	k := parse(t, secret.New(string(want.Document)))
	if text, err := k.Open(nil, want.Sealed, someAD); err != nil || string(text) != "text" {
		t.Errorf("Open = %q, %v, want %q", text, err, "text")
	}
	if got := k.PersonHash("wx1", "o1"); string(got[:]) != string(want.Person) {
		t.Errorf("PersonHash = %x, want %x", got, want.Person)
	}
	if got := k.LogHash("o1"); got != want.Log {
		t.Errorf("LogHash = %s, want %s", got, want.Log)
	}
}

func TestKeyset_Printed_ShowsNoKey(t *testing.T) {
	doc := newDocument(t)
	k := parse(t, doc)
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		fmt.Fprintf(&out, verb, k)
		fmt.Fprintf(&out, verb, struct{ k *seal.Keyset }{k})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "k", k)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "k", k)
	for _, form := range keyForms(t, doc) {
		if strings.Contains(out.String(), form) {
			t.Errorf("a key was printed:\n%s", out.String())
		}
	}
}

// keyForms returns the forms in which the keys of a document might be printed: raw bytes,
// hexadecimal and decimal numbers.
func keyForms(t *testing.T, doc secret.Text) []string {
	t.Helper()
	var parsed map[string]json.RawMessage
	if err := json.Unmarshal([]byte(doc.Reveal()), &parsed); err != nil {
		t.Fatal(err)
	}
	var forms []string
	for _, member := range []string{"aead", "index"} {
		var ks struct {
			Key []struct{ KeyData struct{ Value []byte } }
		}
		if err := json.Unmarshal(parsed[member], &ks); err != nil {
			t.Fatal(err)
		}
		for _, key := range ks.Key {
			// The key is the last field of both kinds.
			raw := key.KeyData.Value[len(key.KeyData.Value)-32:]
			forms = append(forms, string(raw), fmt.Sprintf("%x", raw), strings.Trim(fmt.Sprintf("%d", raw), "[]"))
		}
	}
	if len(forms) != 6 {
		t.Fatalf("%d forms, want 6", len(forms))
	}
	return forms
}
