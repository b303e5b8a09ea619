package demo

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"cloudidq/config"
)

// hookName is the webhook endpoint of a demo that stays up.
const hookName = "orders"

// refuseEvery is the interval of refusals: the shop refuses every 40th delivery.
const refuseEvery = 40

// shop is the back end that receives the results.
type shop struct {
	listener net.Listener
	requests atomic.Int64
}

// newShop starts to listen. The caller closes the shop.
func newShop(ctx context.Context) (*shop, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for webhooks: %w", err)
	}
	return &shop{listener: ln}, nil
}

// webhook returns the settings of the endpoint at which the shop receives the results.
func (s *shop) webhook() *config.Webhook {
	key := base64.StdEncoding.EncodeToString([]byte("a secret of the demo, known to all"))
	return &config.Webhook{
		Name: hookName, URL: config.URL("http://" + s.listener.Addr().String() + "/"),
		Secrets: []config.Secret{config.NewSecret("whsec_" + key)}, Payload: config.PayloadFull, BatchMax: 100,
		AllowCIDRs: []string{"127.0.0.0/8"},
	}
}

func (s *shop) close() {
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
	if s.requests.Add(1)%refuseEvery == 0 {
		http.Error(w, "later", http.StatusServiceUnavailable)
	}
}
