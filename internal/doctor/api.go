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

// expiresSoon is how long before the expiry of a key or a certificate a warning is due.
const expiresSoon = 14 * 24 * time.Hour

// API checks the keys of the API, and its certificate if it has one. certExpiry is the
// certificate's expiry; zero means that there is no certificate.
func API(keys []APIKey, certExpiry time.Time) Check {
	return Check{Name: "api", Run: func(context.Context) []Finding {
		now := time.Now()
		var found []Finding
		for _, key := range keys {
			if key.NotAfter.IsZero() {
				continue
			}
			const remedy = "give the client a new key, then remove this one from api.keys"
			switch left := key.NotAfter.Sub(now); {
			case left < 0:
				found = append(found, warn(remedy, "the key %s expired on %s and is rejected", key.Name,
					day(key.NotAfter)))
			case left < expiresSoon:
				found = append(found, warn(remedy, "the key %s expires on %s", key.Name, day(key.NotAfter)))
			}
		}
		// An expired certificate locks out all clients, so it is a failure.
		if !certExpiry.IsZero() {
			const remedy = "replace the files of api.tls with a new certificate and key; " +
				"the API loads them without a restart"
			switch left := certExpiry.Sub(now); {
			case left < 0:
				found = append(found, fail(remedy, "the certificate expired on %s: clients cannot connect",
					day(certExpiry)))
			case left < expiresSoon:
				found = append(found, warn(remedy, "the certificate expires on %s", day(certExpiry)))
			}
		}
		return orOK(found, "%s", describeAPI(keys, certExpiry))
	}}
}

// describeAPI summarizes the keys and the certificate.
func describeAPI(keys []APIKey, certExpiry time.Time) string {
	text := fmt.Sprintf("keys: %d", len(keys))
	if len(keys) == 0 {
		text = "no keys: anyone who can reach the loopback address may use the API"
	}
	if certExpiry.IsZero() {
		return text + "; plain HTTP"
	}
	return text + "; TLS, certificate valid until " + day(certExpiry)
}

// day formats a time as its date in UTC.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
