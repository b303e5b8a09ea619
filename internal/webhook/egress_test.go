package webhook_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudidq/internal/webhook"
)

// Send ignores a proxy of the environment. The proxy would resolve names itself and could reach
// blocked addresses. It listens on loopback, which the endpoints of this test may reach.
func TestSend_NoProxy(t *testing.T) {
	for _, url := range []string{"http://169.254.169.254/latest", "https://169.254.169.254/latest", "http://10.0.0.1/"} {
		if got := sender(t, webhook.Endpoint{URL: url, AllowCIDRs: loopback}).Send(t.Context(), "msg_1", nil); got.Class != webhook.Forbidden {
			t.Errorf("%s: %+v, want forbidden", url, got)
		}
	}
	if n := proxied.Load(); n != 0 {
		t.Errorf("%d requests went to a proxy, want none", n)
	}
}

// Unusual spellings of 127.0.0.1 that C resolvers accept reach nothing, with any resolver.
func TestSend_UnusualSpellings(t *testing.T) {
	var hits atomic.Int64
	server := receiver(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	unrelated := []netip.Prefix{netip.MustParsePrefix("10.11.12.0/24")}
	for _, host := range []string{"127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost.", "LOCALHOST", "[::ffff:7f00:1]", "[::]"} {
		got := sender(t, webhook.Endpoint{URL: "http://" + host + ":" + port, AllowCIDRs: unrelated}).Send(t.Context(), "msg_1", nil)
		if got.Class != webhook.Forbidden && got.Class != webhook.DNS {
			t.Errorf("%s: %+v, want class forbidden or dns", host, got)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests reached the server, want none", n)
	}
}

// authority is a certificate authority.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	pair := a.issue(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue completes and signs a certificate. The first one is the certificate of the
// authority itself.
func (a *authority) issue(template *x509.Certificate) *tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) server(names ...string) *tls.Certificate {
	template := &x509.Certificate{DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	return a.issue(template)
}

func (a *authority) client() *tls.Certificate {
	return a.issue(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// secure starts a receiver with TLS. It returns its URL and its counter of requests.
func secure(t *testing.T, config *tls.Config) (string, *atomic.Int64) {
	t.Helper()
	var hits atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	server.TLS, server.Config.ErrorLog = config, quiet()
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, &hits
}

// Send sends no request to an endpoint without a valid certificate, or to one that requires a
// client certificate and gets none.
func TestSend_TLS(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	mutual := func() *tls.Config {
		return &tls.Config{
			Certificates: []tls.Certificate{*ours.server("127.0.0.1")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
			MinVersion: tls.VersionTLS12,
		}
	}
	old := &tls.Config{Certificates: []tls.Certificate{*ours.server("127.0.0.1")}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	plain := func(pair *tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{*pair}, MinVersion: tls.VersionTLS12}
	}
	older12 := mutual()
	older12.MaxVersion = tls.VersionTLS12
	for name, tt := range map[string]struct {
		config *tls.Config
		client *tls.Certificate
		want   webhook.Class
	}{
		"Valid":                        {plain(ours.server("127.0.0.1")), nil, webhook.OK},
		"TLS11":                        {old, nil, webhook.TLS},
		"AnotherName":                  {plain(ours.server("example.com")), nil, webhook.Certificate},
		"AnotherAuthority":             {plain(others.server("127.0.0.1")), nil, webhook.Certificate},
		"SelfSigned":                   {plain((&authority{t: t}).server("127.0.0.1")), nil, webhook.Certificate},
		"ClientPair":                   {mutual(), ours.client(), webhook.OK},
		"ClientPairMissing":            {mutual(), nil, webhook.TLS},
		"ClientPairOfAnotherAuthority": {mutual(), others.client(), webhook.TLS},
		"ClientPair12":                 {older12, ours.client(), webhook.OK},
		"ClientPairMissing2":           {older12, nil, webhook.TLS},
	} {
		t.Run(name, func(t *testing.T) {
			url, hits := secure(t, tt.config)
			e := webhook.Endpoint{URL: url, AllowCIDRs: loopback, ClientCert: tt.client}
			webhook.Trust(&e, ours.cert)
			got := sender(t, e).Send(t.Context(), "msg_1", []byte(`{}`))
			if got.Class != tt.want || (hits.Load() == 1) != (tt.want == webhook.OK) {
				t.Errorf("attempt = %+v after %d requests, want %s", got, hits.Load(), tt.want)
			}
			if got.Class != webhook.OK && !strings.Contains(got.Class.Explain(), "certificate") {
				t.Errorf("%s means %q, want a text that mentions certificates", got.Class, got.Class.Explain())
			}
		})
	}
}
