package httpapi_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudidq/internal/httpapi"
	"cloudidq/internal/secret"
)

// authority is a certificate authority.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = sign(t, template, nil, nil)
	a.pem = certPEM(a.cert)
	a.pool.AddCert(a.cert)
	return a
}

// sign creates a certificate and its key. Without an issuer, the certificate is self-signed.
func sign(t *testing.T, template, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if issuer == nil {
		issuer, issuerKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func certPEM(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

// issue returns a certificate for 127.0.0.1 with this serial number, for servers and clients,
// and its key, in PEM.
func (a *authority) issue(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	leaf, private := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return certPEM(leaf), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (a *authority) pair(t *testing.T, serial int64) tls.Certificate {
	t.Helper()
	cert, key := a.issue(t, serial)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// files holds what a server reads its certificate from.
type files struct {
	mu  sync.Mutex
	now httpapi.TLS
	err error
}

func (f *files) put(cert, key, ca string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now, f.err = httpapi.TLS{Cert: secret.New(cert), Key: secret.New(key), ClientCA: secret.New(ca)}, nil
}

func (f *files) read() (httpapi.TLS, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, f.err
}

// serveTLS starts an API with the certificate in files, which the server reads at every handshake.
func serveTLS(t *testing.T, f *files) *api {
	t.Helper()
	log := &lockedBuffer{}
	s, err := httpapi.New(
		httpapi.Config{Listen: "127.0.0.1:0", Keys: allKeys(), TLS: f.read},
		httpapi.Parts{Log: slog.New(slog.NewTextHandler(log, nil))},
	)
	if err != nil {
		t.Fatal(err)
	}
	s.RereadEvery(0)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return &api{url: "https://" + s.Addr(), log: log}
}

// send sends a request on a new connection. It returns the response and the state of the TLS
// connection.
func send(t *testing.T, a *api, client *tls.Config) (reply, *tls.ConnectionState, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: client, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", a.url+"/no-such-route", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+admin)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return reply{}, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text)}, resp.TLS, err
}

func TestTLS_Handshakes(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	cert, key := ours.issue(t, 7)
	f := &files{}
	f.put(cert, key, "")
	a := serveTLS(t, f)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		got, state, err := send(t, a, &tls.Config{RootCAs: ours.pool, MinVersion: version, MaxVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		wantProblem(t, got, 404)
		if state.Version != version || state.NegotiatedProtocol == "h2" || state.PeerCertificates[0].SerialNumber.Int64() != 7 {
			t.Errorf("version %x, protocol %q, certificate %v", state.Version, state.NegotiatedProtocol, state.PeerCertificates[0].SerialNumber)
		}
	}
	_, _, err := send(t, a, &tls.Config{RootCAs: ours.pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}) //nolint:gosec // the server must reject it
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("a client with TLS 1.1 was accepted: %v", err)
	}
	if _, _, err := send(t, a, &tls.Config{RootCAs: newAuthority(t).pool}); err == nil {
		t.Error("a client that trusts another authority connected")
	}
	plain := *a
	plain.url = strings.Replace(a.url, "https", "http", 1)
	if got, _, err := send(t, &plain, nil); err != nil || got.status != 400 {
		t.Errorf("a client without TLS = %+v, %v", got, err)
	}
}

func TestTLS_ClientCertificates(t *testing.T) {
	t.Parallel()
	ours, clients, other := newAuthority(t), newAuthority(t), newAuthority(t)
	cert, key := ours.issue(t, 1)
	f := &files{}
	f.put(cert, key, clients.pem)
	a := serveTLS(t, f)
	with := func(pairs ...tls.Certificate) error {
		// GetClientCertificate sends the certificate even if the server does not accept its
		// authority.
		client := &tls.Config{RootCAs: ours.pool, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(pairs) == 0 {
				return &tls.Certificate{}, nil
			}
			return &pairs[0], nil
		}}
		got, _, err := send(t, a, client)
		if err == nil {
			wantProblem(t, got, 404)
		}
		return err
	}
	if err := with(); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("a client without certificate = %v", err)
	}
	if err := with(other.pair(t, 2)); err == nil ||
		!strings.Contains(err.Error(), "unknown certificate authority") {
		t.Errorf("a client with a certificate of another authority = %v", err)
	}
	mine := clients.pair(t, 3)
	if err := with(mine); err != nil {
		t.Errorf("a client with a valid certificate = %v", err)
	}
	// From now on, the server trusts another authority.
	f.put(cert, key, other.pem)
	if err := with(mine); err == nil {
		t.Error("a client of an authority that is no longer trusted was accepted")
	}
	if err := with(other.pair(t, 4)); err != nil {
		t.Errorf("a client of the new authority = %v", err)
	}
}

// A new certificate needs no restart. If it is invalid, the server keeps the old one.
func TestTLS_Rotation(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	cert, key := ours.issue(t, 1)
	f := &files{}
	f.put(cert, key, "")
	a := serveTLS(t, f)
	wantSerial := func(want int64) {
		t.Helper()
		_, state, err := send(t, a, &tls.Config{RootCAs: ours.pool})
		if err != nil {
			t.Fatal(err)
		}
		if got := state.PeerCertificates[0].SerialNumber.Int64(); got != want {
			t.Errorf("certificate %d, want %d", got, want)
		}
	}
	wantSerial(1)
	cert2, key2 := ours.issue(t, 2)
	f.put(cert2, key, "") // only the certificate is new, the key does not match
	wantSerial(1)
	wantSerial(1)
	f.put(cert2, key2, "")
	wantSerial(2)
	f.put("planted", "planted", "")
	wantSerial(2)
	f.put(cert2, key2, "planted")
	wantSerial(2)
	f.mu.Lock()
	f.err = errors.New("no such file")
	f.mu.Unlock()
	wantSerial(2)
	f.put(cert, key, "")
	wantSerial(1)
	said := a.log.String()
	for text, want := range map[string]int{
		"cert and key must be": 2, "client_ca must contain": 1, "no such file": 1,
		"API certificate replaced": 2,
		"planted":                  0, "BEGIN": 0,
	} {
		if got := strings.Count(said, text); got != want {
			t.Errorf("%q is %d times in the log, want %d:\n%s", text, got, want, said)
		}
	}
}

// Many handshakes do not read the files more often than configured.
func TestTLS_LimitsReads(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	cert, key := ours.issue(t, 1)
	f := &files{}
	f.put(cert, key, "")
	reads := 0
	s, err := httpapi.New(httpapi.Config{Listen: "127.0.0.1:0", TLS: func() (httpapi.TLS, error) { reads++; return f.read() }},
		httpapi.Parts{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.RereadEvery(time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	for range 5 {
		if _, _, err := send(t, &api{url: "https://" + s.Addr()}, &tls.Config{RootCAs: ours.pool}); err != nil {
			t.Error(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if reads != 1 {
		t.Errorf("%d handshakes read the files %d times, want once, at the start", 5, reads)
	}
}

func TestTLS_InvalidAtStart(t *testing.T) {
	t.Parallel()
	cert, key := newAuthority(t).issue(t, 1)
	for name, f := range map[string]*files{
		"NoPEM": {now: httpapi.TLS{Cert: secret.New("planted"), Key: secret.New("planted")}},
		"CA":    {now: httpapi.TLS{Cert: secret.New(cert), Key: secret.New(key), ClientCA: secret.New("planted")}},
		"Read":  {err: errors.New("no such file")},
	} {
		_, err := httpapi.New(httpapi.Config{Listen: "127.0.0.1:0", TLS: f.read}, httpapi.Parts{Log: slog.New(slog.DiscardHandler)})
		if err == nil || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: New = %v", name, err)
		}
	}
}
