package doctor

import "context"

// Sealing judges how results are kept from those who get at the store. parse reads the keyset.
func Sealing(on bool, parse func() error) Check {
	return Check{Name: "sealing", Run: func(context.Context) []Finding {
		if !on {
			return []Finding{warn("give store.keyset what cloudidq keys new prints",
				"store.encryption is off: results lie legible in the store")}
		}
		if err := parse(); err != nil {
			return []Finding{fail("give store.keyset what cloudidq keys new prints", "the keyset cannot be used: %v", err)}
		}
		return []Finding{ok("results are sealed")}
	}}
}
