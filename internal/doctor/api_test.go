package doctor_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/doctor"
)

func TestAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // a bubble's clock starts at 2000-01-01
		at := func(days int) time.Time { return time.Now().AddDate(0, 0, days) }
		for name, tt := range map[string]struct {
			keys []doctor.APIKey
			cert time.Time
			want string
		}{
			"NoKeys":  {nil, time.Time{}, "ok api: no keys: whoever reaches the loopback address may use it; plain HTTP"},
			"Endless": {[]doctor.APIKey{{Name: "a"}, {"b", at(15)}}, at(15), "ok api: keys: 2; TLS, with a certificate until 2000-01-16"},
			"Ended": {[]doctor.APIKey{{"a", at(-1)}, {"b", at(13)}, {Name: "c"}}, time.Time{},
				"warn api: the key a has ended on 1999-12-31: it is refused\nwarn api: the key b ends on 2000-01-14"},
			"CertSoon":  {nil, at(13), "warn api: the certificate ends on 2000-01-14"},
			"CertEnded": {nil, at(-1), "FAIL api: the certificate has ended on 1999-12-31: no client goes on"},
		} {
			if diff := cmp.Diff(tt.want, levels(t, doctor.API(tt.keys, tt.cert))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}
