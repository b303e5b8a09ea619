package push

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/url"
)

// Encrypt encrypts a document for appID, as WeChat does.
func (c *Codec) Encrypt(document, appID string) string {
	text := append([]byte("0123456789abcdef"), binary.BigEndian.AppendUint32(nil, uint32(len(document)))...)
	text = append(append(text, document...), appID...)
	pad := padTo - len(text)%padTo
	for range pad {
		text = append(text, byte(pad))
	}
	return c.EncryptRaw(text)
}

// EncryptRaw encrypts text without adding anything. An incomplete last block is dropped.
func (c *Codec) EncryptRaw(text []byte) string {
	out := make([]byte, len(text)/aes.BlockSize*aes.BlockSize)
	cipher.NewCBCEncrypter(c.block, c.iv).CryptBlocks(out, text[:len(out)])
	return base64.StdEncoding.EncodeToString(out)
}

// Sign returns the query of a push with the given encrypted text.
func (c *Codec) Sign(encrypted, timestamp, nonce string) url.Values {
	sum := sign(c.token.Reveal(), timestamp, nonce, encrypted)
	return url.Values{
		"timestamp": {timestamp}, "nonce": {nonce}, "encrypt_type": {"aes"}, "msg_signature": {hex.EncodeToString(sum[:])},
	}
}
