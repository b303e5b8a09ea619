package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// HeaderLen is headerLen.
const HeaderLen = headerLen

// Encode returns the stored form of one unclaimed record, unsealed.
func Encode(taskID string, rec Record) ([]byte, error) {
	values, err := codec{}.encode([]Record{rec}, owner(taskID), nil)
	if err != nil {
		return nil, err
	}
	return values[0], nil
}

// Decode reads an unsealed stored form.
func Decode(value, appID, cloudID string) (Record, bool) {
	rec, err := codec{}.decode(value, appID, cloudID)
	return rec, err == nil
}

// Keys returns the keys of cloudIDs.
func Keys(appID string, cloudIDs ...string) []string {
	return keys(appID, len(cloudIDs), func(i int) string { return cloudIDs[i] })
}

// UserKey returns the key of a user whose records are not sealed.
func UserKey(appID, openID string) string { return codec{}.userKeys(appID, openID)[0] }

// Hashes returns the hashes of an app, a cloudID and a user in an unsealed PostgreSQL store.
func Hashes(appID, cloudID, openID string) (app, cloud, user []byte) {
	a, p := appHash(appID), codec{}.userHash(appID, openID)
	return a[:], cloudHashes(appID, 1, func(int) string { return cloudID })[0], p[:]
}

// SaveWritten is Save. It also reports which records were written.
func (p *Postgres) SaveWritten(ctx context.Context, taskID string, records []Record) ([]bool, error) {
	return p.save(ctx, taskID, records)
}

// QueryRow runs a query on a connection of the store.
func (p *Postgres) QueryRow(ctx context.Context, query string) pgx.Row {
	return p.pool.QueryRow(ctx, query)
}

// SetTimeout sets the timeout of the store's calls.
func (p *Postgres) SetTimeout(d time.Duration) { p.timeout = d }

// Append adds one result to the outbox as if it had been relayed from another store.
func (d *Deliveries) Append(ctx context.Context, n int64, rec Record, saved time.Time) error {
	app, user := appHash(rec.AppID), d.codec.userHash(rec.AppID, rec.OpenID)
	cloud := cloudHash(append([]byte(rec.AppID), 0), rec.CloudID)
	return d.append(ctx, []unrelayed{{
		ID: n, App: app[:], Cloud: cloud[:], User: user[:], Accepted: milli(rec.AcceptedAt),
		Endpoint: rec.Deliver.Endpoint, Item: []byte("{}"), Expires: saved.Add(deliverFor),
	}})
}

// Looked records that the outboxes of apps are empty. Each app is followed by its time in the
// index.
func (d *Deliveries) Looked(ctx context.Context, appsAndTimes ...string) error {
	var apps []*indexed
	for i := 0; i+1 < len(appsAndTimes); i += 2 {
		apps = append(apps, &indexed{app: appsAndTimes[i], fresh: appsAndTimes[i+1], again: -time.Millisecond})
	}
	return d.looked(ctx, apps)
}

// Skew is skew.
func Skew(now func() time.Time, read func() (time.Time, error)) (time.Duration, error) {
	return skew(now, read)
}

// Sweep is sweep.
func (p *Postgres) Sweep(ctx context.Context) (int, error) { return p.sweep(ctx) }

// Outlets returns the endpoints for which results of an app wait to become deliveries.
func (d *Deliveries) Outlets(ctx context.Context, appID string) ([]string, error) {
	return d.rdb.SMembers(ctx, appPrefix(appID)+outletsPart).Result()
}
