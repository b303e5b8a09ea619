package webhook_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(behindProxy{m}) }

// proxied counts requests that have come to the proxy that the environment of these tests names.
var proxied atomic.Int64

// behindProxy are tests in an environment with a proxy. net/http reads it once per process.
type behindProxy struct{ m *testing.M }

// Run runs them.
func (b behindProxy) Run() int {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		_ = os.Setenv(name, proxy.URL)
	}
	return b.m.Run()
}
