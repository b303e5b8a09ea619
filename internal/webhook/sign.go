// Package webhook makes one delivery attempt: it signs a body as Standard Webhooks 1.0.0 has it
// (https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md), and posts it to an address that an
// operator has configured, without letting that reach into the network cloudidq runs in. What is delivered, when it is
// tried again and what becomes of an endpoint that fails is decided elsewhere; schedule.go has the times.
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
	HeaderID        = "Webhook-Id"        // the same on every attempt: receivers use it against repetition
	HeaderTimestamp = "Webhook-Timestamp" // of the attempt, in Unix seconds
	HeaderSignature = "Webhook-Signature" // one or more, parted by blanks
)

// Key signs for one endpoint.
type Key struct {
	shared  secret.Text // v1: HMAC-SHA256
	private secret.Text // v1a: ed25519
}

// Key forms. The spec demands 24 to 64 bytes of a shared secret; the official Go library takes an empty one.
const (
	prefixShared  = "whsec_"
	prefixPrivate = "whsk_"
	minShared     = 24
	maxShared     = 64
)

// ParseKey reads whsec_ and the Base64 of 24 to 64 bytes, for HMAC-SHA256, or whsk_ and the Base64 of an ed25519 private
// key. Its error does not quote it.
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

// Sign returns the headers of an attempt: one signature for each key, so that a receiver may hold the old one or the new
// one while keys are changed.
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
