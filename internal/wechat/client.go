package wechat

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/sethvargo/go-retry"
	"go.opentelemetry.io/otel/trace"
)

// Client calls WeChat's HTTP API. It is safe for concurrent use; one serves all apps of a process.
type Client struct {
	base        *url.URL
	openDataURL url.URL
	header      http.Header // of the requests with JSON; nobody changes it
	timeout     time.Duration
	tokens      TokenCache
	metrics     *Metrics
	tracer      trace.Tracer // nil = no spans

	transport http.RoundTripper
	closeIdle func()

	// Token fetches outlive the caller that began them, but not the client.
	running context.Context // ends with Close
	cancel  context.CancelFunc
	fetches sync.WaitGroup
}

const (
	userAgent    = "cloudidq"
	pathOpenData = "/wxa/getopendata"
)

// New returns a client. It connects to nothing and starts nothing.
func New(cfg Config) (*Client, error) {
	base, err := cfg.parse()
	if err != nil {
		return nil, fmt.Errorf("configuring the WeChat client: %w", err)
	}
	transport := newTransport(cfg.maxConns())
	running, cancel := context.WithCancel(context.Background())
	c := &Client{
		base:        base,
		openDataURL: *base.JoinPath(pathOpenData),
		header: http.Header{
			"Content-Type": {"application/json"},
			"User-Agent":   {userAgent},
		},
		timeout:   cfg.timeout(),
		tokens:    cfg.Tokens,
		metrics:   cfg.Metrics,
		transport: transport,
		closeIdle: transport.CloseIdleConnections,
		running:   running,
		cancel:    cancel,
	}
	if cfg.Tracers != nil {
		c.tracer = cfg.Tracers.Tracer("cloudidq/internal/wechat")
	}
	return c, nil
}

// GetOpenData exchanges the cloudIDs of a request and returns exactly one outcome per item, in the order of req.Items.
// An error of the call as a whole is the Err of every item that was still open.
//
// It repeats what may pass on repetition, three tries in about 3 seconds, and asks again only for what is still open and
// whose SendBy has not passed. A refused token is replaced once. Whether an exchange may be asked for twice, should the
// first answer have been lost, WeChat does not say.
func (c *Client) GetOpenData(ctx context.Context, tokens TokenSource, req Request) []Outcome {
	ctx = within(ctx, req.Origins)
	x := newExchange(c, tokens, req)
	defer func() { _ = x.resume() }()
	// The error is that of the last try, or the context's; the outcomes tell more.
	_ = retry.Do(ctx, x.backoff(), x.try)
	if ctx.Err() != nil {
		x.fail(transient(interrupted))
	}
	return x.outcomes
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
