package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudidq/config"
	"cloudidq/internal/redistest"
)

// writeCertificate writes a certificate for 127.0.0.1 and its key to tls.crt and tls.key in a
// folder.
func writeCertificate(t *testing.T, folder string, serial int64, ends time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: ends, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

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
	cert := writeCertificate(t, filepath.Dir(s.config), 1, time.Now().Add(time.Hour))
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

// The API uses the certificate that the files hold at the time of the handshake.
func TestAPITLS_ReadsTheFilesAnew(t *testing.T) {
	t.Parallel()
	path := tlsConfig(t, "127.0.0.1:1", "tls: {cert: file:tls.crt, key: file:tls.key}")
	writeCertificate(t, filepath.Dir(path), 1, time.Now())
	cfg, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.ResolveSecrets(); err != nil {
		t.Fatal(err)
	}
	read := apiTLS(cfg)
	first, err := read()
	if err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, filepath.Dir(path), 2, time.Now())
	second, err := read()
	if err != nil || second.Cert.Equal(first.Cert) || second.Key.Equal(first.Key) {
		t.Errorf("read() = the old certificate, or %v", err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "tls.key"), []byte("planted"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "api.tls.key: must hold a private key in PEM") || strings.Contains(err.Error(), "planted") {
		t.Errorf("read() = %v", err)
	}
	if plain := apiTLS(&config.Config{}); plain != nil {
		t.Error("there is TLS without a certificate")
	}
}

// config check reports what is wrong with a certificate, without showing its content.
func TestConfigCheck_TLS(t *testing.T) {
	t.Parallel()
	path := tlsConfig(t, "127.0.0.1:1", "listen: '0.0.0.0:8443', tls: {cert: file:tls.crt, key: file:tls.key}")
	writeCertificate(t, filepath.Dir(path), 1, time.Now())
	status, _, stderr := invoke(t, "config", "check", "--config", path)
	if status != exitUsage || !strings.Contains(stderr, ":4: api.listen: must be a loopback address") {
		t.Errorf("exit %d, %s", status, stderr)
	}
	good := tlsConfig(t, "127.0.0.1:1", "tls: {cert: file:tls.crt, key: file:tls.key, client_ca: file:tls.crt}")
	writeCertificate(t, filepath.Dir(good), 1, time.Now())
	if status, _, stderr := invoke(t, "config", "check", "--config", good); status != 0 {
		t.Errorf("exit %d, %s", status, stderr)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(good), "tls.crt"), []byte("planted"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr = invoke(t, "config", "check", "--config", good)
	if status != exitUsage || !strings.Contains(stderr, ":4: api.tls.cert: must hold a certificate") ||
		!strings.Contains(stderr, ":4: api.tls.client_ca: must hold a certificate") || strings.Contains(stderr, "planted") {
		t.Errorf("exit %d, %s", status, stderr)
	}
}
