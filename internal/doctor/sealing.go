package doctor

import (
	"context"

	"cloudidq/store"
)

// Sealing checks whether results are encrypted in the store. on says whether encryption is
// enabled. parse reads the keyset. look examines stored records and counts those that are not
// encrypted.
func Sealing(on bool, parse func() error, look func(context.Context) (store.Sealing, error)) Check {
	return Check{Name: "sealing", Run: func(ctx context.Context) []Finding {
		if !on {
			return []Finding{warn("give store.keyset what cloudidq keys new prints",
				"store.encryption is off: results lie legible in the store")}
		}
		// An unusable keyset is an error. Anything else is at most a warning.
		if err := parse(); err != nil {
			return []Finding{fail("give store.keyset what cloudidq keys new prints", "the keyset cannot be used: %v", err)}
		}
		found, err := look(ctx)
		if err != nil {
			return []Finding{warn("see the lines about Redis and the store", "results are sealed; whether older ones are was not found out: %v", err)}
		}
		if found.Unsealed > 0 {
			return []Finding{warn("wait until store.result_ttl is over since the keyset was configured everywhere, then look again; "+
				"until then treat the store and its copies as legible",
				"new results are sealed, but %d of %d records that were looked at are not", found.Unsealed, found.Seen)}
		}
		return []Finding{ok("results are sealed")}
	}}
}
