package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cloudidq/config"
)

// healthTimeout is shorter than the default timeouts of Docker and Kubernetes.
const healthTimeout = 2 * time.Second

// newHealthcheck returns the command healthcheck.
func newHealthcheck(s streams) *cobra.Command {
	var ready bool
	cmd := &cobra.Command{
		Use:   "healthcheck --config FILE",
		Short: "Ask the process of this machine whether it is well",
		Long: "healthcheck asks /healthz of ops.listen, which an API or worker of the same configuration serves, and exits 0 or 1:\n" +
			"for containers, whose image has no shell. With --ready it asks /readyz: whether the process can work.",
		Example: "  cloudidq healthcheck --config cloudidq.yaml --ready",
		Args:    takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it can work, not only whether it is there")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		address, err := healthAddress(cfg.Ops.Listen)
		if err != nil {
			return cfg.Refuse("ops.listen", err)
		}
		asked := "/healthz"
		if ready {
			asked = "/readyz"
		}
		return askHealth(cmd.Context(), "http://"+address+asked)
	}
	return cmd
}

// healthAddress returns the address at which a listener of this machine can be reached.
func healthAddress(listen string) (string, error) {
	if listen == config.OpsOff {
		return "", errors.New("is off: there is nobody to ask")
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", errors.New("has port 0: which port the process took is not known here")
	}
	// A listener on all addresses can be reached through localhost.
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// askHealth returns nil for status 200, and otherwise an error with the answer of the process.
func askHealth(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("asking for the health: %w", err)
	}
	transport := &http.Transport{Proxy: nil, DisableKeepAlives: true} // no proxy: ask the process itself
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("asking for the health: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	switch {
	case err != nil:
		return fmt.Errorf("asking for the health: %w", err)
	case response.StatusCode != http.StatusOK:
		// The answer has one problem per line. Print it as one line.
		said := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "\n", ", ")), " ")
		return errors.New("not well: " + strings.TrimSuffix(said, ","))
	default:
		return nil
	}
}
