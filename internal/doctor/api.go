package doctor

import (
	"context"
	"fmt"
	"time"
)

// APIKey describes a key of the API, without its secret.
type APIKey struct {
	Name     string
	NotAfter time.Time // zero = does not expire
}

// endsSoon is how long before the expiry of a key or a certificate a warning is due.
const endsSoon = 14 * 24 * time.Hour

// API checks the keys of the API, and its certificate if it has one. certEnd is the
// certificate's expiry; zero means that there is no certificate.
func API(keys []APIKey, certEnd time.Time) Check {
	return Check{Name: "api", Run: func(context.Context) []Finding {
		now := time.Now()
		var found []Finding
		for _, key := range keys {
			if key.NotAfter.IsZero() {
				continue
			}
			const remedy = "give the client a new one beside it, and take it out of api.keys once nobody sends it"
			switch left := key.NotAfter.Sub(now); {
			case left < 0:
				found = append(found, warn(remedy, "the key %s has ended on %s: it is refused", key.Name, day(key.NotAfter)))
			case left < endsSoon:
				found = append(found, warn(remedy, "the key %s ends on %s", key.Name, day(key.NotAfter)))
			}
		}
		// An expired certificate locks out all clients, so it is a failure.
		if !certEnd.IsZero() {
			const remedy = "put a new certificate and its key in the place of the files of api.tls; the API takes them without a restart"
			switch left := certEnd.Sub(now); {
			case left < 0:
				found = append(found, fail(remedy, "the certificate has ended on %s: no client goes on", day(certEnd)))
			case left < endsSoon:
				found = append(found, warn(remedy, "the certificate ends on %s", day(certEnd)))
			}
		}
		return orOK(found, "%s", describeAPI(keys, certEnd))
	}}
}

// describeAPI summarizes the keys and the certificate.
func describeAPI(keys []APIKey, certEnd time.Time) string {
	text := fmt.Sprintf("keys: %d", len(keys))
	if len(keys) == 0 {
		text = "no keys: whoever reaches the loopback address may use it"
	}
	if certEnd.IsZero() {
		return text + "; plain HTTP"
	}
	return text + "; TLS, with a certificate until " + day(certEnd)
}

// day formats a time as its date in UTC.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
