package httpapi_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloudidq/internal/httpapi"
	"cloudidq/internal/secret"
)

// A key ends after the moment that it names, and is then one that nobody knows.
func TestAuth_KeyThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mortal, twin = "key-that-ends-in-an-hour", "key-that-stands-there-twice"
		keys := []httpapi.Key{
			httpapi.NewKey("mortal", secret.New(mortal), httpapi.Scopes, nil),
			httpapi.NewKey("new", secret.New(twin), httpapi.Scopes, nil),
			httpapi.NewKey("old", secret.New(twin), httpapi.Scopes, nil),
		}
		keys[0].NotAfter = time.Now().Add(time.Hour)
		keys[2].NotAfter = keys[0].NotAfter
		o := observe(t, keys...)
		want := func(key string, status int) {
			t.Helper()
			if got := o.call(t, "POST", "/v1/resolutions", plantedRequest, "Authorization", "Bearer "+key); got != status {
				t.Errorf("with %s: %d, want %d", key, got, status)
			}
		}
		want(mortal, 202)
		time.Sleep(time.Hour)
		want(mortal, 202) // its last moment
		time.Sleep(time.Nanosecond)
		for range 20 { // which is no guessing
			want(mortal, 401)
		}
		want(twin, 202)
		if log := o.log.String(); strings.Count(log, "a key has ended") != 20 || !strings.Contains(log, "key=mortal") || strings.Contains(log, mortal) {
			t.Errorf("log = %s", log)
		}
	})
}
