package store

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// This is the layout of the records in Redis. One record is one string:
//
//	key    cloudidq:{AAAAAAAA}:CCCCCCCCCCCCCCCCCCCCCC
//	         A  8 hex characters of sha256(appid). The braces make them the cluster's hash tag:
//	            the records of one app share one slot, so one script reaches all of a call.
//	         C  22 base64url characters: the first 16 bytes of sha256(appid NUL cloud_id). Keys
//	            contain no ids, because SLOWLOG, MONITOR and dashboards show keys.
//	value  R OOOOOOOOOOOOOOOO UUUUUUUUUUUUU @ PPPPPPPPPPPPPPPPPPPPPP body, without the whitespace
//	         R  rank: 0 pending, 1 failed or expired, 2 resolved, 3 erased (a tombstone, no body)
//	         O  owner: 16 hex characters of sha256(task id), for the task that last claimed or
//	            finished the record; zeros: no task
//	         U  until: when the claim lapses, in Unix milliseconds of this Redis's clock; zeros:
//	            not claimed
//	         P  the record's user, as in the user's key below; 22 times "-": no user. Values
//	            written before P existed have neither P nor the "@"
//	         body  the record's JSON; it is sealed if it does not begin with "{". The scripts
//	            never look into it
//
// Each user with records also has a hash. An erasure finds the user's records by it:
//
//	key    cloudidq:{AAAAAAAA}:p:PPPPPPPPPPPPPPPPPPPPPP
//	         P  22 base64url characters: the first 16 bytes of HMAC(keyset, appid, openid), or
//	            of sha256(appid NUL openid) if nothing is sealed
//	field  CCCCCCCCCCCCCCCCCCCCCC, one for each record
//	       d:ID, one for each delivery that holds one of the records, see outbox.go
//	       erased: the time of the last erasure in Unix milliseconds, with decimals, of the
//	            store's clock. What was accepted up to then can no longer be claimed
//
// When a record or a delivery expires, its field stays for a while, see user.lua.
//
// The table says what a call does to the existing record. The first row that fits applies. The
// conditions in the first column mean:
//
//	none             no record, or a value that does not have this layout
//	0, 1, 2, 3       the record's rank
//	erased since     the user of the call's record was erased after that record was accepted
//	another user's   the record belongs to another user than the call's record; no user counts
//	                 as a user
//	another task's   the owner is not task T
//	another's claim  the owner is not task T, and its claim has not lapsed
//	T's claim        the owner is task T, and until is not zero
//	finished by T    the owner is task T, and until is zero
//
// The effects in the other columns mean:
//
//	nothing            the record stays as it is
//	write              store the call's record with the full TTL, its user, task T as the owner,
//	                   and until, which is zero except for a claim; remove the record from its
//	                   previous user's hash
//	write, same owner  write, but owner and until stay
//	write a tombstone  store a tombstone with the full TTL
//	claim, full TTL    set owner and until, and renew the TTL; the record stays
//	claim, same TTL    set owner and until; the record and its TTL stay
//	release            set owner and until to zero
//
// The text after the semicolon is the call's answer.
//
// storetest/model_test.go reads the table from this comment and compares the model with it. The
// words of its header, conditions and cells must match that test. storetest then compares the
// stores with the model.
//
//	existing record                     claim by task T            save final  save pending
//	3                                   Erased                     nothing     nothing
//	2                                   Done                       nothing     nothing
//	none, erased since                  write a tombstone; Erased  nothing     nothing
//	T's claim, erased since             Erased                     release     release
//	erased since                        Erased                     nothing     nothing
//	none                                write; Claimed             write       write
//	0, another's claim, another user's  Busy                       write       nothing
//	0, another task's, another user's   write; Claimed             write       nothing
//	0, another user's                   write; Claimed             write       write
//	0, another's claim                  Busy                       write       write, same owner
//	0, another task's                   claim, full TTL; Claimed   write       write, same owner
//	0                                   claim, full TTL; Claimed   write       write
//	1, finished by T                    Done                       write       nothing
//	1, another's claim                  Busy                       write       nothing
//	1, T's claim, another user's        write; Claimed             write       release
//	1, another user's                   write; Claimed             write       nothing
//	1, T's claim                        claim, same TTL; Claimed   write       release
//	1                                   claim, same TTL; Claimed   write       nothing
//
// A claim writes the pending record that it carries. Nothing of another user's record remains,
// so the user of a record and the data in it always match.
//
// A user's erasure replaces every record of the user with a tombstone. So a save does not look up
// an erasure if task T still has its claim on a record of the same user.
//
// A task that releases its claim on a record of rank 1 must not remain its owner. Otherwise it
// would mistake the failure of an earlier request for its own.
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

	unclaimed = "0000000000000" // until of an unclaimed record

	markUser   = '@'
	markLen    = 1 + cloudLen
	markNoUser = "----------------------"
)

// keys returns the keys of n cloudIDs of one app. They are parts of one string, which saves
// allocations.
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

// cloudHash returns the hash that identifies a cloudID. app is the appid and a NUL. cloudHash
// overwrites what follows app in its backing array.
func cloudHash(app []byte, cloudID string) [16]byte {
	sum := sha256.Sum256(append(app, cloudID...))
	return [16]byte(sum[:16])
}

// appHash returns the hash that identifies an appid.
func appHash(appID string) [appLen / 2]byte {
	sum := sha256.Sum256([]byte(appID))
	return [appLen / 2]byte(sum[:appLen/2])
}

// appPrefix returns the prefix of an app's keys.
func appPrefix(appID string) string {
	app := appHash(appID)
	return keyPrefix + hex.EncodeToString(app[:]) + "}:"
}

// ownerHash returns the hash that identifies a task.
func ownerHash(taskID string) [ownerLen / 2]byte {
	sum := sha256.Sum256([]byte(taskID))
	return [ownerLen / 2]byte(sum[:ownerLen/2])
}

// owner returns the name of a task in a value.
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

// userPart distinguishes a user's key from a record's key.
const userPart = "p:"

// userKeys returns the keys of all hashes that may list a user's records. The first is the
// one that new records use.
func (c codec) userKeys(appID, openID string) []string {
	hashes := c.userHashes(appID, openID)
	keys := make([]string, len(hashes))
	for i, hash := range hashes {
		keys[i] = appPrefix(appID) + userPart + base64.RawURLEncoding.EncodeToString(hash[:])
	}
	return keys
}

// userHash returns the hash that identifies a user in new records.
func (c codec) userHash(appID, openID string) [16]byte {
	if c.keyset != nil {
		return c.keyset.PersonHash(appID, openID)
	}
	return plainUserHash(appID, openID)
}

// userHashes returns all hashes that may identify a user: the hash under the keyset first,
// then the hash from before there was a keyset. A rotation of the keyset does not change its
// hash.
func (c codec) userHashes(appID, openID string) [][16]byte {
	if c.keyset == nil {
		return [][16]byte{plainUserHash(appID, openID)}
	}
	return [][16]byte{c.keyset.PersonHash(appID, openID), plainUserHash(appID, openID)}
}

// plainUserHash returns the hash that identifies a user if nothing is sealed.
func plainUserHash(appID, openID string) [16]byte {
	sum := sha256.Sum256([]byte(appID + "\x00" + openID))
	return [16]byte(sum[:16])
}
