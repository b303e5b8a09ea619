package push

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1" // WeChat signs with SHA-1
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"cloudidq/internal/secret"
)

// Config is what the console of a platform and cloudidq must agree on.
type Config struct {
	AppID       string      // the platform's
	VerifyToken secret.Text // 消息校验 Token
	AESKey      secret.Text // 消息加解密 Key, EncodingAESKey: 43 characters
}

// Codec opens the pushes to one platform. It is immutable.
type Codec struct {
	appID string
	token secret.Text
	block cipher.Block
	iv    []byte
}

// keyChars is the length of an EncodingAESKey: 32 bytes in Base64 without the padding.
const keyChars = 43

// NewCodec returns the codec of a platform, or all that is wrong with its configuration.
func NewCodec(cfg Config) (*Codec, error) {
	var faults []error
	if cfg.AppID == "" {
		faults = append(faults, errors.New("push: AppID is missing"))
	}
	if cfg.VerifyToken.Empty() {
		faults = append(faults, errors.New("push: VerifyToken is missing"))
	}
	// The last of 43 characters holds 2 bits too many. WeChat's own code does not ask them to be zero, so neither does
	// this one: base64's default is to let them pass.
	key, err := base64.StdEncoding.DecodeString(cfg.AESKey.Reveal() + "=")
	if err != nil || len(cfg.AESKey.Reveal()) != keyChars {
		faults = append(faults, fmt.Errorf("push: AESKey must be %d characters of Base64", keyChars))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errors.New("push: AESKey is no key of 32 bytes")
	}
	return &Codec{appID: cfg.AppID, token: cfg.VerifyToken, block: block, iv: key[:aes.BlockSize]}, nil
}

// signed reports whether the query holds the signature of what is encrypted.
func (c *Codec) signed(query url.Values, encrypted string) bool {
	given, err := hex.DecodeString(query.Get("msg_signature"))
	if err != nil || encrypted == "" {
		return false
	}
	want := sign(c.token.Reveal(), query.Get("timestamp"), query.Get("nonce"), encrypted)
	return subtle.ConstantTimeCompare(given, want[:]) == 1
}

// sign is SHA-1 over the parts in the order of their bytes.
func sign(parts ...string) [sha1.Size]byte {
	slices.Sort(parts)
	return sha1.Sum([]byte(strings.Join(parts, ""))) // WeChat signs with SHA-1
}

const (
	// padTo is the block that WeChat pads to, twice that of AES.
	padTo = 32
	// Before the document lie 16 random bytes and its length, behind it the platform's appid.
	randomLen = 16
	lengthLen = 4
)

// errDecrypt is the one error of all that can be wrong inside of what is encrypted.
var errDecrypt = fmt.Errorf("%w: it cannot be decrypted", ErrMalformed)

// decrypt returns the document inside: AES-256 in CBC mode, whose IV is the key's first half, over
//
//	16 random bytes | length of the document, 4 bytes, big-endian | document | appid | padding
func (c *Codec) decrypt(encrypted string) ([]byte, error) {
	text, err := base64.StdEncoding.DecodeString(encrypted)
	if err != nil || len(text) == 0 || len(text)%aes.BlockSize != 0 {
		return nil, errDecrypt
	}
	cipher.NewCBCDecrypter(c.block, c.iv).CryptBlocks(text, text)
	text, ok := unpad(text)
	if !ok || len(text) < randomLen+lengthLen {
		return nil, errDecrypt
	}
	length := uint64(binary.BigEndian.Uint32(text[randomLen:]))
	text = text[randomLen+lengthLen:]
	if length > uint64(len(text)) || string(text[length:]) != c.appID {
		return nil, errDecrypt
	}
	return text[:length], nil
}

// unpad takes PKCS#7 padding off: 1 to 32 bytes, each of which is their number.
func unpad(text []byte) ([]byte, bool) {
	n := int(text[len(text)-1])
	if n < 1 || n > padTo || n > len(text) {
		return nil, false
	}
	for _, b := range text[len(text)-n:] {
		if int(b) != n {
			return nil, false
		}
	}
	return text[:len(text)-n], true
}
