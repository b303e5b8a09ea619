package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudidq/config"
	"cloudidq/internal/tlstest"
)

// The API uses the certificate that the files hold at the time of the handshake.
func TestAPITLS_ReloadsFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cloudidq.yaml")
	text := "redis: {url: 'redis://127.0.0.1:1/0'}\nstore: {encryption: 'off'}\n" +
		"apps: [{appid: wx0000000000000001, token: {mode: static, access_token: t}}]\n" +
		"api: {tls: {cert: file:tls.crt, key: file:tls.key}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tlstest.WriteCertificate(t, filepath.Dir(path), 1, time.Now())
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
	tlstest.WriteCertificate(t, filepath.Dir(path), 2, time.Now())
	second, err := read()
	if err != nil || second.Cert.Equal(first.Cert) || second.Key.Equal(first.Key) {
		t.Errorf("read() = the old certificate, or %v", err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "tls.key"), []byte("planted"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "api.tls.key: must contain a private key in PEM") || strings.Contains(err.Error(), "planted") {
		t.Errorf("read() = %v", err)
	}
	if plain := apiTLS(&config.Config{}); plain != nil {
		t.Error("there is TLS without a certificate")
	}
}
