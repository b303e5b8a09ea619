package wechat

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Config is what a Client needs to know.
type Config struct {
	BaseURL  string        // such as https://api.weixin.qq.com; http:// serves the side-car of cloud hosting
	Timeout  time.Duration // of one HTTP attempt; default 5s
	MaxConns int           // connections to the host at once; default 512
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

// Client calls WeChat's HTTP API. It is safe for concurrent use; one serves all apps of a process.
type Client struct {
	openDataURL    url.URL
	stableTokenURL url.URL
	header         http.Header // of every request; nobody changes it
	timeout        time.Duration

	transport http.RoundTripper
	closeIdle func()

	// Token fetches outlive the caller that began them, but not the client.
	running context.Context // ends with Close
	cancel  context.CancelFunc
	fetches sync.WaitGroup
}

// New returns a client. It connects to nothing and starts nothing.
func New(cfg Config) (*Client, error) {
	base, err := cfg.parse()
	if err != nil {
		return nil, fmt.Errorf("configuring the WeChat client: %w", err)
	}
	transport := newTransport(cfg.maxConns())
	running, cancel := context.WithCancel(context.Background())
	return &Client{
		openDataURL:    *base.JoinPath("/wxa/getopendata"),
		stableTokenURL: *base.JoinPath("/cgi-bin/stable_token"),
		header: http.Header{
			"Content-Type": {"application/json"},
			"User-Agent":   {"cloudidq"},
		},
		timeout:   cfg.timeout(),
		transport: transport,
		closeIdle: transport.CloseIdleConnections,
		running:   running,
		cancel:    cancel,
	}, nil
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

// Close ends token fetches that are under way, waits for them and closes idle connections. Call it after the last
// GetOpenData has returned.
func (c *Client) Close() {
	c.cancel()
	c.fetches.Wait()
	c.closeIdle()
}

// fetchTimeout ends a token fetch whatever happens.
const fetchTimeout = 15 * time.Second

// detach runs f beside the caller, whose end is not f's. Close ends it and waits for it.
func (c *Client) detach(ctx context.Context, f func(context.Context)) {
	c.fetches.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		stop := context.AfterFunc(c.running, cancel)
		defer stop()
		f(ctx)
	})
}
