package store

import (
	"context"
	_ "embed" // the script
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

//go:embed erase.lua
var eraseLua string

// personMargin is how much longer than its records a user's hash is stored. The TTL of a record
// starts again when the record is saved; that of the user's hash starts when the record is
// claimed.
const personMargin = 10 * time.Minute

// personKeys returns the key of each record's user. The record's own key stands for no user. All
// records are of one app, so their keys give the prefix of the users' keys.
func (r *Redis) personKeys(records []Record, recordKeys []string) []string {
	persons := make([]string, len(records))
	for i := range records {
		key := recordKeys[i]
		persons[i] = key
		if rec := &records[i]; rec.OpenID != "" {
			hash := r.codec.personHash(rec.AppID, rec.OpenID)
			persons[i] = key[:keyLen-cloudLen] + personPart + base64.RawURLEncoding.EncodeToString(hash[:])
		}
	}
	return persons
}

// marks returns the user hashes that the values of the records contain, for the keys from
// personKeys.
func marks(persons []string) []string {
	marks := make([]string, len(persons))
	for i, key := range persons {
		marks[i] = markNobody
		if hash := len(key) - cloudLen; strings.HasSuffix(key[:hash], personPart) {
			marks[i] = key[hash:]
		}
	}
	return marks
}

// Erase implements [Results].
func (r *Redis) Erase(ctx context.Context, appID, openID string) (int, error) {
	const now = "" // the script uses the server's clock
	n, err := r.erase.Run(ctx, r.rdb, r.codec.personKeys(appID, openID),
		now, r.ttl, personMargin.Milliseconds(), appPrefix(appID)).Int()
	if err != nil {
		return 0, fmt.Errorf("erasing a person's records: %w", err)
	}
	return n, nil
}
