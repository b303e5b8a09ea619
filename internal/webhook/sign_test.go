package webhook_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"cloudidq/internal/secret"
	"cloudidq/internal/webhook"
)

// The example in the Standard Webhooks spec.
const (
	specSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	specID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	specBody      = `{"test": 2432232314}`
	specAt        = 1614265330
	specSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func key(t testing.TB, text string) webhook.Key {
	t.Helper()
	k, err := webhook.ParseKey(secret.New(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSign_SpecExample(t *testing.T) {
	header := webhook.Sign([]webhook.Key{key(t, specSecret)}, specID, time.Unix(specAt, 0), []byte(specBody))
	if got := header.Get("webhook-signature"); got != specSignature {
		t.Errorf("signature = %s, want %s", got, specSignature)
	}
	if header.Get("webhook-id") != specID || header.Get("webhook-timestamp") != fmt.Sprint(specAt) {
		t.Errorf("header = %v", header)
	}
}

// The official library accepts a message that Sign has signed with several keys, with each of
// the keys. It computes the same signatures.
func TestSign_MatchesTheOfficialLibrary(t *testing.T) {
	other := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 64)))
	body := []byte(`{"type":"resolutions.finished"}`)
	now := time.Now()
	header := webhook.Sign([]webhook.Key{key(t, other), key(t, specSecret)}, "msg_1", now, body)
	for _, text := range []string{specSecret, other} {
		theirs, err := standardwebhooks.NewWebhook(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.Verify(body, header); err != nil {
			t.Errorf("the official library rejects the signature: %v", err)
		}
		if theirs.Verify(append(body, ' '), header) == nil {
			t.Error("the official library accepts the signature for another body")
		}
		signature, err := theirs.Sign("msg_1", now, body)
		if err != nil || !strings.Contains(header.Get("webhook-signature"), signature) {
			t.Errorf("signature = %s, %v, want one of %s", signature, err, header.Get("webhook-signature"))
		}
	}
}

// The same holds for any key, id and body.
func TestSign_MatchesTheOfficialLibrary_AnyInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := "whsec_" + base64.StdEncoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), 24, 64).Draw(t, "key"))
		id := rapid.StringMatching(`msg_[0-9a-f_]{1,60}`).Draw(t, "id")
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		ours, err := webhook.ParseKey(secret.New(text))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := standardwebhooks.NewWebhook(text)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		header := webhook.Sign([]webhook.Key{ours}, id, now, body)
		if err := theirs.Verify(body, header); err != nil {
			t.Fatalf("the official library rejects the signature: %v", err)
		}
		if signature, err := theirs.Sign(id, now, body); err != nil || header.Get("webhook-signature") != signature {
			t.Fatalf("signature = %s, %v, want %s", header.Get("webhook-signature"), err, signature)
		}
	})
}

func TestSign_Ed25519(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{private, private.Seed()} {
		k := key(t, "whsk_"+base64.StdEncoding.EncodeToString(raw))
		got := webhook.Sign([]webhook.Key{k}, "msg_1", time.Unix(1, 0), []byte("body")).Get("webhook-signature")
		signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(got, "v1a,"))
		if err != nil || !ed25519.Verify(public, []byte("msg_1.1.body"), signature) {
			t.Errorf("signature %s, %v, does not match the key", got, err)
		}
	}
}

func TestParseKey_Errors(t *testing.T) {
	of := func(n int) string { return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("p", n))) }
	for _, text := range []string{
		"", "planted", "whsec_", "whsec_planted!", "whsec_" + of(23), "whsec_" + of(65), "whsk_", "whsk_" + of(31), "whsk_" + of(65),
		"whpk_" + of(32),
	} {
		_, err := webhook.ParseKey(secret.New(text))
		if err == nil || strings.Contains(err.Error(), "planted") || len(text) > 6 && strings.Contains(err.Error(), text) {
			t.Errorf("ParseKey(%q) = %v, want an error that does not quote it", text, err)
		}
	}
	for _, n := range []int{24, 64} {
		key(t, "whsec_"+of(n))
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(specSecret)
	f.Add("whsk_")
	f.Fuzz(func(_ *testing.T, text string) {
		k, err := webhook.ParseKey(secret.New(text))
		if err == nil {
			webhook.Sign([]webhook.Key{k}, "id", time.Unix(0, 0), nil)
		}
	})
}
