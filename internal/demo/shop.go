package demo

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"cloudidq/internal/secret"
	"cloudidq/internal/webhook"
	"cloudidq/worker"
)

// hookName is the webhook endpoint of a demo that stays up.
const hookName = "orders"

// refuseEvery is the interval of refusals: the shop refuses every 40th delivery.
const refuseEvery = 40

// shop is the back end that receives the results.
type shop struct {
	listener net.Listener
	sender   *webhook.Sender
	hook     worker.Webhook
	asked    atomic.Int64
}

// newShop starts to listen. The caller closes the shop.
func newShop(ctx context.Context) (*shop, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for webhooks: %w", err)
	}
	key, err := webhook.ParseKey(secret.New("whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of the demo, known to all"))))
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	sender, err := webhook.NewSender(webhook.Endpoint{
		Name: hookName, URL: "http://" + ln.Addr().String() + "/", Keys: []webhook.Key{key},
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &shop{listener: ln, sender: sender, hook: worker.Webhook{Name: hookName, Sender: sender, BatchMax: 100}}, nil
}

func (s *shop) close() {
	s.sender.Close()
	_ = s.listener.Close() // an error if run has already closed it
}

// run receives deliveries until ctx ends.
func (s *shop) run(ctx context.Context) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("taking webhooks: %w", err)
	case <-ctx.Done():
	}
	err := server.Close()
	<-served //nolint:errcheck // http.ErrServerClosed, after Close
	return err
}

// ServeHTTP implements [http.Handler].
func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if s.asked.Add(1)%refuseEvery == 0 {
		http.Error(w, "later", http.StatusServiceUnavailable)
	}
}
