package seal

import (
	"encoding/hex"
	"fmt"
)

const (
	personHashBytes = 16
	logHashBytes    = 4
)

// PersonHash returns the hash that identifies a user in keys of the store. An erasure finds the
// user's records by it. The store does not reveal the user: without the keyset, nobody can
// compute the hash of an openid. [Rotate] and [Prune] do not change the hash. Two apps have
// different hashes for the same openid.
func (k *Keyset) PersonHash(appID, openID string) [personHashBytes]byte {
	return [personHashBytes]byte(k.hash(personHashBytes, "person", appID, openID))
}

// LogHash returns the hash that identifies an id in logs, as 8 hexadecimal digits. The same id
// always has the same hash. Without the keyset, the id cannot be derived from it. Among 10,000
// ids, the probability that two share a hash is 1 %.
func (k *Keyset) LogHash(id string) string {
	return hex.EncodeToString(k.hash(logHashBytes, "log", id))
}

// hash returns the HMAC-SHA256 of parts under the index key, truncated to n bytes. It includes
// use, so that different uses have different hashes of the same parts.
func (k *Keyset) hash(n uint32, use string, parts ...string) []byte {
	sum, err := k.index.ComputePrimaryPRF(encode(append([]string{"v1", use}, parts...)...), n)
	if err != nil {
		// Impossible: n is at most 32, and parse has checked the key.
		panic(fmt.Sprintf("seal: %d bytes of HMAC-SHA256: %v", n, err))
	}
	return sum
}
