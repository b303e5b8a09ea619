package store_test

import (
	"testing"
	"time"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/internal/seal/sealtest"
	"cloudidq/store"
)

// An erasure with a keyset finds records and waiting results that were saved before there was a
// keyset, and those saved before and after a rotation.
func TestErase_SavedBeforeTheKeyset_Found(t *testing.T) {
	keyset, rotated, pruned := sealtest.Keysets(t)
	dsn := pgtest.Database(t)
	for name, open := range map[string]func(*store.Deliveries, ...store.Option) store.Results{
		"Redis": nil,
		"Postgres": func(d *store.Deliveries, options ...store.Option) store.Results {
			return openPostgres(t, dsn, time.Hour, append(options, store.WithOutbox(d))...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := redistest.Start(t).Client(t)
			with := func(options ...store.Option) *outboxFixture {
				d := store.NewDeliveries(rdb, options...)
				b := &outboxFixture{T: t, rdb: rdb, deliveries: d}
				if b.results = store.NewRedis(rdb, time.Hour, options...); open != nil {
					b.results = open(d, options...)
				}
				return b
			}
			for i, b := range []*outboxFixture{with(), with(store.Sealed(keyset)), with(store.Sealed(rotated))} {
				mine, other := outgoing(2*i, store.Resolved), outgoing(2*i+1, store.Resolved)
				b.save("t", mine, other)
			}
			b := with(store.Sealed(pruned))
			if n, err := b.results.Erase(t.Context(), "wx1", outgoing(0, store.Resolved).OpenID); n != 3 || err != nil {
				t.Errorf("Erase = %d, %v, want all three records of the user", n, err)
			}
			if n := rdb.LLen(t.Context(), keyOf(t, rdb, ":o:orders")).Val(); n != 3 {
				t.Errorf("%d results wait for delivery, want the three of the other user", n)
			}
			got, err := with(store.Sealed(rotated)).results.Lookup(t.Context(), "wx1", []string{"73_PLANTED_0", "73_PLANTED_2", "73_PLANTED_4", "73_PLANTED_1"})
			if err != nil || got[0].Status != "" || got[1].Status != "" || got[2].Status != "" || got[3].Status != store.Resolved {
				t.Errorf("Lookup = %+v, %v, want the user's records erased, and the other user's record", got, err)
			}
		})
	}
}
