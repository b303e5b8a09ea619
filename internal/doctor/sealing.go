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
			return []Finding{warn("set store.keyset to the output of cloudidq keys new",
				"store.encryption is off: results are stored unencrypted")}
		}
		// An unusable keyset is an error. Anything else is at most a warning.
		if err := parse(); err != nil {
			return []Finding{fail("set store.keyset to the output of cloudidq keys new",
				"the keyset cannot be used: %v", err)}
		}
		found, err := look(ctx)
		if err != nil {
			return []Finding{warn("see the findings for redis and the store",
				"results are sealed; older records could not be checked: %v", err)}
		}
		if found.Unsealed > 0 {
			return []Finding{warn("after the keyset is configured everywhere, wait for store.result_ttl "+
				"and check again; until then treat the store and its copies as unencrypted",
				"new results are sealed, but %d of %d sampled records are not", found.Unsealed, found.Seen)}
		}
		return []Finding{ok("results are sealed")}
	}}
}
