package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// What the external tests see of the codec.
const HeaderLen = headerLen

// Encode returns the stored form of one record that nobody holds, unsealed.
func Encode(taskID string, rec Record) ([]byte, error) {
	values, err := codec{}.encode([]Record{rec}, owner(taskID), nil)
	if err != nil {
		return nil, err
	}
	return values[0], nil
}

// Decode reads a stored form that is not sealed.
func Decode(value, appID, cloudID string) (Record, bool) {
	rec, err := codec{}.decode(value, appID, cloudID)
	return rec, err == nil
}

// Keys returns the keys of cloudIDs.
func Keys(appID string, cloudIDs ...string) []string {
	return keys(appID, len(cloudIDs), func(i int) string { return cloudIDs[i] })
}

// PersonKey returns the key of a person whose records are not sealed.
func PersonKey(appID, openID string) string { return codec{}.personKeys(appID, openID)[0] }

// Hashes stand for an app, a cloudID and a person in an unsealed PostgreSQL.
func Hashes(appID, cloudID, openID string) (app, cloud, person []byte) {
	a, p := appHash(appID), codec{}.personHash(appID, openID)
	return a[:], cloudHashes(appID, 1, func(int) string { return cloudID })[0], p[:]
}

// SaveWritten is Save that tells which records were written.
func (p *Postgres) SaveWritten(ctx context.Context, taskID string, records []Record) ([]bool, error) {
	return p.save(ctx, taskID, records)
}

// QueryRow asks over a connection of the store.
func (p *Postgres) QueryRow(ctx context.Context, query string) pgx.Row {
	return p.pool.QueryRow(ctx, query)
}

// SetTimeout gives a store's calls less time.
func (p *Postgres) SetTimeout(d time.Duration) { p.timeout = d }

// Append puts one end into the outbox as if it came from another store.
func (d *Deliveries) Append(ctx context.Context, n int64, rec Record, saved time.Time) error {
	app, person := appHash(rec.AppID), d.codec.personHash(rec.AppID, rec.OpenID)
	cloud := cloudHash(append([]byte(rec.AppID), 0), rec.CloudID)
	return d.append(ctx, []unrelayed{{
		ID: n, App: app[:], Cloud: cloud[:], Person: person[:], Accepted: milli(rec.AcceptedAt), Endpoint: rec.Deliver.Endpoint,
		Item: []byte("{}"), Expires: saved.Add(DeliverFor),
	}})
}

// Looked says that nothing was found in the outboxes of apps, each followed by its moment in the index.
func (d *Deliveries) Looked(ctx context.Context, appsAndMoments ...string) error {
	var apps []*indexed
	for i := 0; i+1 < len(appsAndMoments); i += 2 {
		apps = append(apps, &indexed{app: appsAndMoments[i], fresh: appsAndMoments[i+1], again: -time.Millisecond})
	}
	return d.looked(ctx, apps)
}

// Skew is skew.
func Skew(now func() time.Time, ask func() (time.Time, error)) (time.Duration, error) {
	return skew(now, ask)
}
