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
			"NoKeys": {nil, time.Time{},
				"ok api: no keys: anyone who can reach the loopback address may use the API; plain HTTP"},
			"NotExpiring": {[]doctor.APIKey{{Name: "a"}, {"b", at(15)}}, at(15),
				"ok api: keys: 2; TLS, certificate valid until 2000-01-16"},
			"Expired": {[]doctor.APIKey{{"a", at(-1)}, {"b", at(13)}, {Name: "c"}}, time.Time{},
				"warn api: the key a expired on 1999-12-31 and is rejected\n" +
					"warn api: the key b expires on 2000-01-14"},
			"CertSoon": {nil, at(13), "warn api: the certificate expires on 2000-01-14"},
			"CertExpired": {nil, at(-1),
				"FAIL api: the certificate expired on 1999-12-31: clients cannot connect"},
		} {
			if diff := cmp.Diff(tt.want, levels(t, doctor.API(tt.keys, tt.cert))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}
