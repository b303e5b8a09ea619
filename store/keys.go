package store

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// What the Redis store keeps, all of it on this page. One record is one string:
//
//	key    cloudidq:{AAAAAAAA}:CCCCCCCCCCCCCCCCCCCCCC
//	         A  8 hex characters of sha256(appid). The braces make them the cluster's hash tag: the records of one
//	            app lie in one slot, so one script reaches all of a call.
//	         C  22 base64url characters: the first 16 bytes of sha256(appid NUL cloud_id). No id stands in a key's
//	            name, since names show up in SLOWLOG, MONITOR and on dashboards.
//	value  R OOOOOOOOOOOOOOOO UUUUUUUUUUUUU @ PPPPPPPPPPPPPPPPPPPPPP body, without the blanks
//	         R  rank: 0 pending, 1 failed or expired, 2 resolved, 3 erased: a tombstone without a body
//	         O  owner: 16 hex characters of sha256(task id), the task that claimed or finished it last; zeros: nobody
//	         U  until: when the claim lapses, in Unix milliseconds of this Redis's clock; zeros: not claimed
//	         P  whose it is, as in the person's key below; 22 times "-" for nobody. A value that was written before
//	            there was a P has neither that nor the "@"
//	            then the record's JSON, sealed if it does not begin with "{"; the scripts never look into it
//
// Beside the records lies, for each person of whom there are any, a hash by which they are found for erasure:
//
//	key    cloudidq:{AAAAAAAA}:p:PPPPPPPPPPPPPPPPPPPPPP
//	         P  22 base64url characters: the first 16 bytes of HMAC(keyset, appid, openid), or of sha256(appid NUL openid)
//	            where nothing is sealed
//	field  CCCCCCCCCCCCCCCCCCCCCC of each record, and "erased", the moment of the last erasure in Unix milliseconds, with
//	       decimals, of the store's clock: what was accepted up to then is not claimed any more; and d:ID of each delivery
//	       that holds one of them, see outbox.go. What has ended leaves its field behind for a while, see person.lua
//
// What a call does to the record that is there, "none" being also a value that is not of this layout. The first row that
// fits counts. A record is a stranger's if it is under another person than the one that the call carries, nobody being one
// as well. "Erased since" is what carries a person who was erased after it was accepted. storetest holds its model against
// this table, and the stores against the model.
//
//	there                                     claim by task T                        save final            save pending
//	3                                         Erased                                 nothing               nothing
//	2                                         Done                                   nothing               nothing
//	none, erased since                        write a tombstone; Erased              nothing               nothing
//	T's claim, erased since                   Erased                                 owner and until := 0  owner and until := 0
//	erased since                              Erased                                 nothing               nothing
//	none                                      write; Claimed                         write                 write
//	0, held by another, a stranger's          Busy                                   write                 nothing
//	0, another's, a stranger's                write; Claimed                         write                 nothing
//	0, a stranger's                           write; Claimed                         write                 write
//	0, held by another                        Busy                                   write                 write, owner and until stay
//	0, another's                              owner and until; full TTL; Claimed     write                 write, owner and until stay
//	0                                         owner and until; full TTL; Claimed     write                 write
//	1, ended by T                             Done                                   write                 nothing
//	1, held by another                        Busy                                   write                 nothing
//	1, T's claim, a stranger's                write; Claimed                         write                 owner and until := 0
//	1, a stranger's                           write; Claimed                         write                 nothing
//	1, T's claim                              owner and until; TTL goes on; Claimed  write                 owner and until := 0
//	1                                         owner and until; TTL goes on; Claimed  write                 nothing
//
// To write sets the full TTL, the person, the task as owner, and until, which is zero but for a claim; it takes the record
// from the person that it was under. A claim writes the pending record that it brings: of a stranger's, nothing is left, so
// that whose the record is, and whose data stands in it, is always the same. A task that gives back its claim on a record of
// rank 1 must not stay its owner: it would take the failure of a former ask for its own.
const (
	keyPrefix = "cloudidq:{"
	appLen    = 8
	cloudLen  = 22
	keyLen    = len(keyPrefix) + appLen + len("}:") + cloudLen

	rankPending  = '0'
	rankFailed   = '1'
	rankResolved = '2'
	rankErased   = '3'

	ownerLen  = 16
	untilLen  = 13
	headerLen = 1 + ownerLen + untilLen

	unclaimed = "0000000000000" // until of a record nobody holds

	markPerson = '@'
	markLen    = 1 + cloudLen
	markNobody = "----------------------"
)

// keys returns the key of each of n cloudIDs of one app. All lie in one string, so that they cost one allocation.
func keys(appID string, n int, cloudID func(int) string) []string {
	prefix := appPrefix(appID)
	id := append(make([]byte, 0, 256), appID...)
	id = append(id, 0)
	all := make([]byte, 0, n*keyLen)
	for i := range n {
		sum := cloudHash(id, cloudID(i))
		all = append(all, prefix...)
		all = base64.RawURLEncoding.AppendEncode(all, sum[:])
	}

	joined, out := string(all), make([]string, n)
	for i := range out {
		out[i] = joined[i*keyLen : (i+1)*keyLen]
	}
	return out
}

// cloudHash stands for a cloudID. app is the appid and a NUL; what lies behind it in its array is overwritten.
func cloudHash(app []byte, cloudID string) [16]byte {
	sum := sha256.Sum256(append(app, cloudID...))
	return [16]byte(sum[:16])
}

// appHash stands for an appid.
func appHash(appID string) [appLen / 2]byte {
	sum := sha256.Sum256([]byte(appID))
	return [appLen / 2]byte(sum[:appLen/2])
}

// appPrefix begins the keys of an app.
func appPrefix(appID string) string {
	app := appHash(appID)
	return keyPrefix + hex.EncodeToString(app[:]) + "}:"
}

// ownerHash stands for a task.
func ownerHash(taskID string) [ownerLen / 2]byte {
	sum := sha256.Sum256([]byte(taskID))
	return [ownerLen / 2]byte(sum[:ownerLen/2])
}

// owner is how a value names a task.
func owner(taskID string) string {
	sum := ownerHash(taskID)
	return hex.EncodeToString(sum[:])
}

// rankOf returns the rank of a record of status s, or 0 for a status that does not exist.
func rankOf(s Status) byte {
	switch s {
	case Pending:
		return rankPending
	case Failed, Expired:
		return rankFailed
	case Resolved:
		return rankResolved
	}
	return 0
}

// personPart tells the key of a person from that of a record.
const personPart = "p:"

// personKey is where the records of a person are found.
func (c codec) personKey(appID, openID string) string {
	hash := c.personHash(appID, openID)
	return appPrefix(appID) + personPart + base64.RawURLEncoding.EncodeToString(hash[:])
}

// personKeys are where all records of a person are found, the first being that of [codec.personKey].
func (c codec) personKeys(appID, openID string) []string {
	hashes := c.personHashes(appID, openID)
	keys := make([]string, len(hashes))
	for i, hash := range hashes {
		keys[i] = appPrefix(appID) + personPart + base64.RawURLEncoding.EncodeToString(hash[:])
	}
	return keys
}

// personHash stands for a person in what is written.
func (c codec) personHash(appID, openID string) [16]byte {
	if c.keyset != nil {
		return c.keyset.PersonHash(appID, openID)
	}
	return plainPersonHash(appID, openID)
}

// personHashes stand for a person in what was written with the keyset, and in what was written while there was none. The
// hash under a keyset is the same before and after a rotation.
func (c codec) personHashes(appID, openID string) [][16]byte {
	if c.keyset == nil {
		return [][16]byte{plainPersonHash(appID, openID)}
	}
	return [][16]byte{c.keyset.PersonHash(appID, openID), plainPersonHash(appID, openID)}
}

func plainPersonHash(appID, openID string) [16]byte {
	sum := sha256.Sum256([]byte(appID + "\x00" + openID))
	return [16]byte(sum[:16])
}
