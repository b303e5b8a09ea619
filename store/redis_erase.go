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

// userMargin is how much longer than its records a user's hash is stored. The TTL of a record
// starts again when the record is saved; that of the user's hash starts when the record is
// claimed.
const userMargin = 10 * time.Minute

// userKeys returns the key of each record's user. The record's own key stands for no user. All
// records are of one app, so their keys give the prefix of the users' keys.
func (r *Redis) userKeys(records []Record, recordKeys []string) []string {
	users := make([]string, len(records))
	for i := range records {
		key := recordKeys[i]
		users[i] = key
		if rec := &records[i]; rec.OpenID != "" {
			hash := r.codec.userHash(rec.AppID, rec.OpenID)
			users[i] = key[:keyLen-cloudLen] + userPart + base64.RawURLEncoding.EncodeToString(hash[:])
		}
	}
	return users
}

// marks returns the user hashes that the values of the records contain, for the keys from
// userKeys.
func marks(users []string) []string {
	marks := make([]string, len(users))
	for i, key := range users {
		marks[i] = markNoUser
		if hash := len(key) - cloudLen; strings.HasSuffix(key[:hash], userPart) {
			marks[i] = key[hash:]
		}
	}
	return marks
}

// Erase implements [Results].
func (r *Redis) Erase(ctx context.Context, appID, openID string) (int, error) {
	const now = "" // the script uses the server's clock
	n, err := r.erase.Run(ctx, r.rdb, r.codec.userKeys(appID, openID),
		now, r.ttl, userMargin.Milliseconds(), appPrefix(appID)).Int()
	if err != nil {
		return 0, fmt.Errorf("erasing a user's records: %w", err)
	}
	return n, nil
}
