package wechattest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// A cloudID is "73_" and 44 bytes in base64url: 23 masked bytes of facts, and 21 bytes that
// authenticate them under the seed. An openid is "o" and 20 bytes in base64url: the masked user,
// and 16 bytes that authenticate user and app. Both have the form of real ids. Seven cloudIDs
// seen from 2019 to 2023 match ^[0-9]{2}_[A-Za-z0-9_-]{59}$. Their prefix grows over the years
// and has no known meaning.
const (
	cloudIDPrefix = "73_"
	cloudIDLen    = 62
	factsLen      = 23
	tagLen        = 44 - factsLen

	openIDLen    = 28
	openIDTagLen = 16
)

// Tap is what the front end sends after one tap of a user. In JSON it is a line that `cloudidq
// backfill` reads.
type Tap struct {
	AppID      string    `json:"-"`
	OpenID     string    `json:"openid"`
	CloudID    string    `json:"cloud_id"`
	ObtainedAt time.Time `json:"obtained_at"` // UTC, in whole milliseconds
}

// CloudID returns the n-th cloudID of a user of an app, obtained at issuedAt. The same arguments
// return the same cloudID. user and n must be between 0 and 2^32-1.
func (s *Simulator) CloudID(appID string, user, n int, issuedAt time.Time) Tap {
	app := s.codec.appHash(appID)
	f := facts{
		app:      app,
		user:     uint32(user),
		n:        uint32(n),
		issuedMs: issuedAt.UnixMilli(),
	}
	f.kind = kindOf(mix(s.cfg.Seed^uint64(f.user)), f.n)
	return Tap{
		AppID:      appID,
		OpenID:     s.codec.openID(app, f.user),
		CloudID:    s.codec.cloudID(f),
		ObtainedAt: time.UnixMilli(f.issuedMs).UTC(),
	}
}

// facts is the information in a cloudID.
type facts struct {
	app      appHash
	user     uint32
	n        uint32 // the n-th cloudID of this user
	issuedMs int64  // milliseconds since 1970, 48 bits
	kind     kind
}

// appHash represents an appid in cloudIDs and openids.
type appHash [8]byte

// codec encodes and decodes cloudIDs, openids and tokens of one seed. It is immutable.
type codec struct {
	key    [16]byte
	strict *base64.Encoding // accepts only the canonical encoding
}

func newCodec(seed uint64) codec {
	var c codec
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("wechattest"), seed))
	copy(c.key[:], sum[:])
	c.strict = base64.RawURLEncoding.Strict()
	return c
}

// Labels of sum. They separate the uses of the one key.
const (
	hashApp byte = iota + 1
	hashCloudID
	hashCloudIDMask
	hashOpenID
	hashOpenIDMask
	hashToken
	hashTokenTail
)

// sum hashes data under the key. Up to 38 bytes of data fit into one block of SHA-256.
func (c *codec) sum(label byte, data []byte) [sha256.Size]byte {
	var buf [128]byte
	in := append(buf[:0], c.key[:]...)
	in = append(in, label)
	in = append(in, data...)
	return sha256.Sum256(in)
}

func (c *codec) appHash(appID string) appHash {
	sum := c.sum(hashApp, []byte(appID))
	return appHash(sum[:8])
}

// cloudID encodes f.
func (c *codec) cloudID(f facts) string {
	var raw [factsLen + tagLen]byte
	copy(raw[:8], f.app[:])
	binary.BigEndian.PutUint32(raw[8:], f.user)
	binary.BigEndian.PutUint32(raw[12:], f.n)
	raw[16] = byte(f.kind)
	for i := range 6 {
		raw[17+i] = byte(f.issuedMs >> (40 - 8*i))
	}
	tag := c.sum(hashCloudID, raw[:factsLen])
	copy(raw[factsLen:], tag[:])
	c.mask(hashCloudIDMask, raw[:factsLen], raw[factsLen:])

	var text [cloudIDLen]byte
	copy(text[:], cloudIDPrefix)
	base64.RawURLEncoding.Encode(text[len(cloudIDPrefix):], raw[:])
	return string(text[:])
}

// readCloudID decodes a cloudID. It returns false if the cloudID was not encoded with this seed.
func (c *codec) readCloudID(id string) (facts, bool) {
	if len(id) != cloudIDLen || id[:len(cloudIDPrefix)] != cloudIDPrefix {
		return facts{}, false
	}
	var text [cloudIDLen - len(cloudIDPrefix)]byte
	copy(text[:], id[len(cloudIDPrefix):])
	var raw [factsLen + tagLen]byte
	if n, err := c.strict.Decode(raw[:], text[:]); err != nil || n != len(raw) {
		return facts{}, false
	}
	c.mask(hashCloudIDMask, raw[:factsLen], raw[factsLen:])
	tag := c.sum(hashCloudID, raw[:factsLen])
	if [tagLen]byte(tag[:tagLen]) != [tagLen]byte(raw[factsLen:]) {
		return facts{}, false
	}
	f := facts{
		app:  appHash(raw[:8]),
		user: binary.BigEndian.Uint32(raw[8:]),
		n:    binary.BigEndian.Uint32(raw[12:]),
		kind: kind(raw[16]),
	}
	for _, b := range raw[17:factsLen] {
		f.issuedMs = f.issuedMs<<8 | int64(b)
	}
	return f, f.kind < numKinds
}

// openID returns the openid of a user of an app.
func (c *codec) openID(app appHash, user uint32) string {
	var raw [4 + openIDTagLen]byte
	c.putOpenID(&raw, app, user)
	c.mask(hashOpenIDMask, raw[:4], raw[4:])

	var text [openIDLen]byte
	text[0] = 'o'
	base64.RawURLEncoding.Encode(text[1:], raw[:])
	return string(text[:])
}

// readOpenID decodes an openid. It returns false for an openid of another app or seed.
func (c *codec) readOpenID(app appHash, openID string) (uint32, bool) {
	if len(openID) != openIDLen || openID[0] != 'o' {
		return 0, false
	}
	var text [openIDLen - 1]byte
	copy(text[:], openID[1:])
	var raw, want [4 + openIDTagLen]byte
	if n, err := c.strict.Decode(raw[:], text[:]); err != nil || n != len(raw) {
		return 0, false
	}
	c.mask(hashOpenIDMask, raw[:4], raw[4:])
	user := binary.BigEndian.Uint32(raw[:])
	c.putOpenID(&want, app, user)
	return user, raw == want
}

// putOpenID writes user and tag to raw, unmasked.
func (c *codec) putOpenID(raw *[4 + openIDTagLen]byte, app appHash, user uint32) {
	var in [12]byte
	copy(in[:], app[:])
	binary.BigEndian.PutUint32(in[8:], user)
	tag := c.sum(hashOpenID, in[:])
	binary.BigEndian.PutUint32(raw[:], user)
	copy(raw[4:], tag[:])
}

// mask masks or unmasks facts: it XORs them with a key stream derived from their tag.
func (c *codec) mask(label byte, facts, tag []byte) {
	stream := c.sum(label, tag)
	for i := range facts {
		facts[i] ^= stream[i]
	}
}
