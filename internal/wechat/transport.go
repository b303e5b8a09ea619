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

// Config is what a Client needs to know.
type Config struct {
	BaseURL  string               // such as https://api.weixin.qq.com; http:// serves the side-car of cloud hosting
	Timeout  time.Duration        // of one HTTP attempt; default 5s
	MaxConns int                  // connections to the host at once; default 512
	Tokens   TokenCache           // shares access tokens with other processes; nil = this one fetches its own
	Metrics  *Metrics             // nil = nothing is counted
	Tracers  trace.TracerProvider // nil = nothing is traced
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

// parse returns the base URL, or all that is wrong with the configuration. The URL is not repeated in the errors: who
// writes a password into it should not find it in the log.
func (c Config) parse() (*url.URL, error) {
	var faults []error
	base, err := url.Parse(strings.TrimRight(c.BaseURL, "/") + "/") // without its slash JoinPath leaves the path relative
	switch {
	case err != nil:
		faults = append(faults, errors.New("base URL: not a URL"))
	case base.Scheme != "https" && base.Scheme != "http", base.Host == "":
		faults = append(faults, errors.New("base URL: want http:// or https:// and a host"))
	case base.User != nil, base.RawQuery != "", base.ForceQuery, base.Fragment != "":
		faults = append(faults, errors.New("base URL: want neither user, query nor fragment"))
	}
	if c.Timeout < 0 {
		faults = append(faults, fmt.Errorf("timeout: want more than 0, not %v", c.Timeout))
	}
	if c.MaxConns < 0 {
		faults = append(faults, fmt.Errorf("max conns: want more than 0, not %d", c.MaxConns))
	}
	return base, errors.Join(faults...)
}

// newTransport returns a transport of our own, so that no setting of another package changes it.
func newTransport(maxConns int) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true) // a connection per request in flight: one that hangs holds up no other
	return &http.Transport{
		Proxy:       nil, // tokens go nowhere but to the host in the configuration
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(0), // spares a new connection most of its handshake
		},
		TLSHandshakeTimeout:    5 * time.Second,
		MaxConnsPerHost:        maxConns,
		MaxIdleConns:           maxConns,
		MaxIdleConnsPerHost:    maxConns,
		IdleConnTimeout:        30 * time.Second, // before the other side does it: usual front ends wait 60 s or longer
		DisableCompression:     true,             // a small answer cannot unpack into a huge one
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              &protocols,
	}
}
