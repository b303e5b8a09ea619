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

// proxied counts the requests to the proxy that the environment of these tests configures.
var proxied atomic.Int64

// behindProxy runs the tests in an environment with a proxy. net/http reads the environment
// once per process, so a single test cannot set it.
type behindProxy struct{ m *testing.M }

// Run runs the tests.
func (b behindProxy) Run() int {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		_ = os.Setenv(name, proxy.URL)
	}
	return b.m.Run()
}
