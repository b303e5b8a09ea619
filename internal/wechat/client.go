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

// Client calls WeChat's HTTP API. It is safe for concurrent use. One Client serves all apps of a
// process.
type Client struct {
	base        *url.URL
	openDataURL url.URL
	header      http.Header // of the JSON requests; never modified
	timeout     time.Duration
	tokens      TokenCache
	metrics     *Metrics
	tracer      trace.Tracer // nil disables spans

	transport http.RoundTripper
	closeIdle func()

	// A token fetch may outlive the call that started it, but not the client.
	running context.Context // canceled by Close
	cancel  context.CancelFunc
	fetches sync.WaitGroup
}

const (
	userAgent    = "cloudidq"
	pathOpenData = "/wxa/getopendata"
)

// New returns a client. It opens no connection and starts no goroutine. The caller closes it
// with [Client.Close].
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

// GetOpenData exchanges the cloudIDs of a request. It returns exactly one outcome per item, in
// the order of req.Items. If the call as a whole fails, its error is the Err of every item that
// was still open.
//
// GetOpenData repeats a request that may succeed on repetition: up to three attempts within
// about 3 seconds. Each repetition carries only the items that are still open and whose SendBy
// and LeaseUntil have not passed. A refused token is replaced once. If an answer is lost, the
// cloudIDs are sent again; WeChat does not say whether it allows a second exchange.
func (c *Client) GetOpenData(ctx context.Context, tokens TokenSource, req Request) []Outcome {
	ctx = within(ctx, req.Origins)
	x := newExchange(c, tokens, req)
	// The slot must be held again when GetOpenData returns, see Slot.
	defer func() { _ = x.acquireSlot() }()
	// The error is that of the last attempt or of the context. The outcomes have more detail.
	_ = retry.Do(ctx, x.backoff(), x.attempt)
	if ctx.Err() != nil {
		x.fail(transient(interrupted))
	}
	return x.outcomes
}

// Close cancels the token fetches in flight, waits for them and closes idle connections. Call it
// after the last GetOpenData has returned.
func (c *Client) Close() {
	c.cancel()
	c.fetches.Wait()
	c.closeIdle()
}

// fetchTimeout bounds every token fetch.
const fetchTimeout = 15 * time.Second

// detach runs f in the background, independently of the caller's cancellation. Close cancels f
// and waits for it.
func (c *Client) detach(ctx context.Context, f func(context.Context)) {
	c.fetches.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		stop := context.AfterFunc(c.running, cancel)
		defer stop()
		f(ctx)
	})
}
