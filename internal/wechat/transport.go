package wechat

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Config holds the settings of a Client.
type Config struct {
	BaseURL  string               // such as https://api.weixin.qq.com; http:// for the side-car of cloud hosting
	Timeout  time.Duration        // timeout of one HTTP attempt; default 5s
	MaxConns int                  // maximum number of connections to the host; default 512
	Tokens   TokenCache           // shares access tokens with other processes; nil means that this process fetches its own
	Metrics  *Metrics             // nil disables metrics
	Tracers  trace.TracerProvider // nil disables tracing
}

const (
	defaultTimeout  = 5 * time.Second
	defaultMaxConns = 512
)

func (c Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return defaultTimeout
	}
	return c.Timeout
}

func (c Config) maxConns() int {
	if c.MaxConns == 0 {
		return defaultMaxConns
	}
	return c.MaxConns
}

// parse returns the base URL, or an error that lists every problem of the configuration. The
// error does not repeat the URL, so that a password in it does not appear in the log.
func (c Config) parse() (*url.URL, error) {
	var problems []error
	base, err := url.Parse(strings.TrimRight(c.BaseURL, "/") + "/") // without the slash JoinPath returns a relative path
	switch {
	case err != nil:
		problems = append(problems, errors.New("base URL: not a URL"))
	case base.Scheme != "https" && base.Scheme != "http", base.Host == "":
		problems = append(problems, errors.New("base URL: want http:// or https:// and a host"))
	case base.User != nil, base.RawQuery != "", base.ForceQuery, base.Fragment != "":
		problems = append(problems, errors.New("base URL: want neither user, query nor fragment"))
	}
	if c.Timeout < 0 {
		problems = append(problems, fmt.Errorf("timeout: want more than 0, not %v", c.Timeout))
	}
	if c.MaxConns < 0 {
		problems = append(problems, fmt.Errorf("max conns: want more than 0, not %d", c.MaxConns))
	}
	return base, errors.Join(problems...)
}

// newTransport returns a new transport, which other packages cannot modify.
func newTransport(maxConns int) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true) // HTTP/1 uses one connection per request, so a request that hangs blocks no other
	return &http.Transport{
		Proxy:       nil, // tokens must go only to the configured host
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(0), // saves new connections most of the handshake
		},
		TLSHandshakeTimeout:    5 * time.Second,
		MaxConnsPerHost:        maxConns,
		MaxIdleConns:           maxConns,
		MaxIdleConnsPerHost:    maxConns,
		IdleConnTimeout:        30 * time.Second, // shorter than the other side's timeout: common front ends wait 60 s or longer
		DisableCompression:     true,             // prevents a small answer from unpacking into a huge one
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              &protocols,
	}
}
