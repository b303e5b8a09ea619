// Package webhook makes single delivery attempts. It signs a body according to Standard
// Webhooks 1.0.0 (https://github.com/standard-webhooks/standard-webhooks,
// spec/standard-webhooks.md), and posts it to a URL that an operator has configured. It dials
// only public addresses and ranges that the operator allows, so a URL cannot reach into the
// network of cloudidq.
//
// The package defines the retry schedule (schedule.go). The caller decides what is delivered,
// when a delivery is retried, and how a failing endpoint is handled.
package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloudidq/internal/secret"
)

// Headers of Standard Webhooks.
const (
	HeaderID        = "Webhook-Id"        // the same on every attempt; lets receivers detect duplicates
	HeaderTimestamp = "Webhook-Timestamp" // time of the attempt, Unix seconds
	HeaderSignature = "Webhook-Signature" // one or more, separated by spaces
)

// Key is a signing key of an endpoint. Exactly one of its fields is set. Make one with ParseKey.
type Key struct {
	shared  secret.Text // v1: HMAC-SHA256
	private secret.Text // v1a: ed25519
}

// The forms of keys. The spec requires 24 to 64 bytes for a shared secret. The official Go
// library accepts even an empty one.
const (
	prefixShared  = "whsec_"
	prefixPrivate = "whsk_"
	minShared     = 24
	maxShared     = 64
)

// ParseKey parses a signing key. The key is whsec_ and the Base64 of 24 to 64 bytes, for
// HMAC-SHA256, or whsk_ and the Base64 of an ed25519 private key (a seed of 32 bytes, or 64
// bytes). The error does not quote the key.
func ParseKey(text secret.Text) (Key, error) {
	value := text.Reveal()
	encoded, shared := strings.CutPrefix(value, prefixShared)
	encodedPrivate, private := strings.CutPrefix(value, prefixPrivate)
	switch {
	case shared:
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(raw) < minShared || len(raw) > maxShared {
			return Key{}, fmt.Errorf("whsec_ must be followed by the Base64 of %d to %d bytes", minShared, maxShared)
		}
		return Key{shared: secret.New(string(raw))}, nil
	case private:
		raw, err := base64.StdEncoding.DecodeString(encodedPrivate)
		if err == nil && len(raw) == ed25519.SeedSize {
			raw = ed25519.NewKeyFromSeed(raw)
		}
		if err != nil || len(raw) != ed25519.PrivateKeySize {
			return Key{}, errors.New("whsk_ must be followed by the Base64 of an ed25519 private key, 32 or 64 bytes")
		}
		return Key{private: secret.New(string(raw))}, nil
	default:
		return Key{}, errors.New("must begin with whsec_ or whsk_")
	}
}

// Sign returns the Standard Webhooks headers of an attempt at time at. It makes one signature
// per key, so a receiver may use the old key or the new one during a key rotation.
func Sign(keys []Key, id string, at time.Time, body []byte) http.Header {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	content := append([]byte(id+"."+timestamp+"."), body...)
	signatures := make([]string, len(keys))
	for i, key := range keys {
		signatures[i] = key.sign(content)
	}
	return http.Header{
		HeaderID: {id}, HeaderTimestamp: {timestamp}, HeaderSignature: {strings.Join(signatures, " ")},
	}
}

func (k Key) sign(content []byte) string {
	if !k.private.Empty() {
		signature := ed25519.Sign(ed25519.PrivateKey(k.private.Reveal()), content)
		return "v1a," + base64.StdEncoding.EncodeToString(signature)
	}
	mac := hmac.New(sha256.New, []byte(k.shared.Reveal()))
	mac.Write(content)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
