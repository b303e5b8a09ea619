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
		Short: "Check the health of the local process (for container health checks)",
		Long: "healthcheck requests /healthz from ops.listen, the address of an API or worker\n" +
			"with the same configuration. The exit status is 0 if the process is healthy,\n" +
			"otherwise 1. It is meant for containers without a shell. With --ready, it requests\n" +
			"/readyz, which reports whether the process can do work.",
		Example: "  cloudidq healthcheck --config cloudidq.yaml --ready",
		Args:    takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	cmd.Flags().BoolVar(&ready, "ready", false,
		"check whether the process can do work, not only whether it runs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		address, err := healthAddress(cfg.Ops.Listen)
		if err != nil {
			return cfg.Refuse("ops.listen", err)
		}
		endpoint := "/healthz"
		if ready {
			endpoint = "/readyz"
		}
		return checkHealth(cmd.Context(), "http://"+address+endpoint)
	}
	return cmd
}

// healthAddress returns the address at which a listener of this machine can be reached.
func healthAddress(listen string) (string, error) {
	if listen == config.OpsOff {
		return "", errors.New("is off, so there is no address to check")
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", errors.New("has port 0, so the port of the process is unknown")
	}
	// A listener on all addresses can be reached through localhost.
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// checkHealth returns nil for status 200, and otherwise an error with the answer of the process.
func checkHealth(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("requesting the health: %w", err)
	}
	// Do not use a proxy: the request must reach the local process.
	transport := &http.Transport{Proxy: nil, DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("requesting the health: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	switch {
	case err != nil:
		return fmt.Errorf("requesting the health: %w", err)
	case response.StatusCode != http.StatusOK:
		// The answer has one problem per line. Print it as one line.
		problems := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "\n", ", ")), " ")
		return errors.New("unhealthy: " + strings.TrimSuffix(problems, ","))
	default:
		return nil
	}
}
