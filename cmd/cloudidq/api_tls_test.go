package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/redistest"
	"cloudidq/internal/tlstest"
)

// tlsConfig writes a configuration with the given settings of the API.
func tlsConfig(t *testing.T, redisAddr, api string) string {
	t.Helper()
	return writeConfig(t, fmt.Sprintf("redis: {url: 'redis://%s/0'}\nstore: {encryption: 'off'}\n"+
		"apps: [{appid: %s, token: {mode: static, access_token: t}}]\napi: {%s}\n", redisAddr, appA, api))
}

func TestAPI_TLS(t *testing.T) {
	t.Parallel()
	s := &site{redis: redistest.Start(t)}
	s.config = tlsConfig(t, s.redis.Addr, "listen: '127.0.0.1:0', tls: {cert: file:tls.crt, key: file:tls.key}")
	cert := tlstest.WriteCertificate(t, filepath.Dir(s.config), 1, time.Now().Add(time.Hour))
	p := s.api(t)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(s.apiURL, "http", "https", 1)+"/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("answer = %d", resp.StatusCode)
	}
	p.term(t)
	if status := p.status(t); status != 0 {
		t.Errorf("exit %d: %s", status, p.err.String())
	}
}

// config check reports what is wrong with a certificate, without showing its content.
func TestConfigCheck_TLS(t *testing.T) {
	t.Parallel()
	path := tlsConfig(t, "127.0.0.1:1", "listen: '0.0.0.0:8443', tls: {cert: file:tls.crt, key: file:tls.key}")
	tlstest.WriteCertificate(t, filepath.Dir(path), 1, time.Now())
	status, _, stderr := invoke(t, "config", "check", "--config", path)
	if status != exitUsage || !strings.Contains(stderr, ":4: api.listen: must be a loopback address") {
		t.Errorf("exit %d, %s", status, stderr)
	}
	good := tlsConfig(t, "127.0.0.1:1", "tls: {cert: file:tls.crt, key: file:tls.key, client_ca: file:tls.crt}")
	tlstest.WriteCertificate(t, filepath.Dir(good), 1, time.Now())
	if status, _, stderr := invoke(t, "config", "check", "--config", good); status != 0 {
		t.Errorf("exit %d, %s", status, stderr)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(good), "tls.crt"), []byte("planted"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr = invoke(t, "config", "check", "--config", good)
	if status != exitUsage || !strings.Contains(stderr, ":4: api.tls.cert: must contain a certificate") ||
		!strings.Contains(stderr, ":4: api.tls.client_ca: must contain a certificate") || strings.Contains(stderr, "planted") {
		t.Errorf("exit %d, %s", status, stderr)
	}
}
