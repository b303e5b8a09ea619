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

// Config holds the settings that the platform's console and cloudidq must agree on.
type Config struct {
	AppID       string      // the platform's appid
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

// keyChars is the length of an EncodingAESKey: 32 bytes in Base64 without padding.
const keyChars = 43

// NewCodec returns the codec of a platform, or an error that lists every problem of the
// configuration.
func NewCodec(cfg Config) (*Codec, error) {
	var problems []error
	if cfg.AppID == "" {
		problems = append(problems, errors.New("push: AppID is missing"))
	}
	if cfg.VerifyToken.Empty() {
		problems = append(problems, errors.New("push: VerifyToken is missing"))
	}
	// The last of the 43 characters has 2 unused bits. WeChat's own code does not require them
	// to be zero, and neither does this code: base64 ignores them by default.
	key, err := base64.StdEncoding.DecodeString(cfg.AESKey.Reveal() + "=")
	if err != nil || len(cfg.AESKey.Reveal()) != keyChars {
		problems = append(problems, fmt.Errorf("push: AESKey must be %d characters of Base64", keyChars))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errors.New("push: AESKey is not a key of 32 bytes")
	}
	return &Codec{appID: cfg.AppID, token: cfg.VerifyToken, block: block, iv: key[:aes.BlockSize]}, nil
}

// signed reports whether the query holds the correct signature of the encrypted text.
func (c *Codec) signed(query url.Values, encrypted string) bool {
	got, err := hex.DecodeString(query.Get("msg_signature"))
	if err != nil || encrypted == "" {
		return false
	}
	want := sign(c.token.Reveal(), query.Get("timestamp"), query.Get("nonce"), encrypted)
	return subtle.ConstantTimeCompare(got, want[:]) == 1
}

// sign returns the SHA-1 of the parts in byte order.
func sign(parts ...string) [sha1.Size]byte {
	slices.Sort(parts)
	return sha1.Sum([]byte(strings.Join(parts, ""))) // WeChat signs with SHA-1
}

const (
	// padTo is the block size of WeChat's padding, twice the block size of AES.
	padTo = 32
	// The document follows 16 random bytes and its length. The platform's appid follows the
	// document.
	randomLen = 16
	lengthLen = 4
)

// errDecrypt is the only error of decrypt, so that the error does not show what is wrong with
// the encrypted text.
var errDecrypt = fmt.Errorf("%w: it cannot be decrypted", ErrMalformed)

// decrypt returns the document inside. The encryption is AES-256 in CBC mode, with the first 16
// bytes of the key as IV, over
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

// unpad removes PKCS#7 padding: n bytes of value n, with n from 1 to 32.
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
