package seal

import (
	"encoding/hex"
	"fmt"
)

const (
	personHashBytes = 16
	logHashBytes    = 4
)

// PersonHash stands for a person in keys of the store, where it finds what there is to erase. The store does not tell
// whose it is: without the keyset the hash cannot be computed from an openid. It is the same before and after
// [Rotate] and [Prune]. Two apps have different hashes for one openid.
func (k *Keyset) PersonHash(appID, openID string) [personHashBytes]byte {
	return [personHashBytes]byte(k.hash(personHashBytes, "person", appID, openID))
}

// LogHash stands for an id in logs: 8 hexadecimal digits, the same for the same id, from which the id cannot be had
// without the keyset. Among 10,000 ids two share one with a probability of 1 %.
func (k *Keyset) LogHash(id string) string {
	return hex.EncodeToString(k.hash(logHashBytes, "log", id))
}

// hash is HMAC-SHA256 under the index key, cut to n bytes. The use is hashed too, so that no two uses share a hash.
func (k *Keyset) hash(n uint32, use string, parts ...string) []byte {
	sum, err := k.index.ComputePrimaryPRF(encode(append([]string{"v1", use}, parts...)...), n)
	if err != nil {
		panic(fmt.Sprintf("seal: %d bytes of HMAC-SHA256: %v", n, err)) // impossible: there are 32, and parse has seen the key
	}
	return sum
}
