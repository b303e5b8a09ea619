package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudidq/config"
)

// selfSigned returns a self-signed certificate and its key in PEM.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: planted}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", der8)
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestLoad_APITLS(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		"api: {tls: {cert: file:c}}":                           "cloudidq.yaml:1: api.tls.key: missing; api.tls.cert requires its key",
		"api: {tls: {key: file:k}}":                            "cloudidq.yaml:1: api.tls.cert: missing; api.tls.key requires its certificate",
		"api: {tls: {client_ca: file:k}}":                      "cloudidq.yaml:1: api.tls.cert: missing; api.tls.client_ca requires a certificate",
		"api: {tls: {cert: file:c, key: file:k, clientca: x}}": "cloudidq.yaml:1: api.tls.clientca: unknown key; did you mean client_ca?",
		"api: {listen: '0.0.0.0:1', tls: {cert: file:c, key: file:k}}": `cloudidq.yaml:1: api.listen: must be a loopback address, is "0.0.0.0": ` +
			"without api.keys, everyone could use the API",
	} {
		if got := faults(t, with(lines+"\n"), nil); got != want {
			t.Errorf("Load(%s) = %s, want %s", lines, got, want)
		}
	}
	cfg := load(t, minimal, map[string]string{"CLOUDIDQ_API_TLS_CERT": "file:c", "CLOUDIDQ_API_TLS_KEY": "file:k"})
	if got := cfg.API.TLS; got.Cert.String() != "file:c" || got.Key.String() != "file:k" || !got.ClientCA.IsZero() {
		t.Errorf("api.tls of the environment = %v", got)
	}
}

func TestResolveSecrets_APITLS(t *testing.T) {
	t.Parallel()
	cert, key := selfSigned(t)
	other, otherKey := selfSigned(t)
	for name, tt := range map[string]struct{ cert, key, ca, want string }{
		"Good":          {cert, key, "", ""},
		"WithClientCA":  {cert + other, key, other + cert, ""},
		"NoPEM":         {planted, planted, planted, "api.tls.cert: must contain a certificate in PEM (BEGIN CERTIFICATE)\napi.tls.key: must contain a private key in PEM (BEGIN PRIVATE KEY)\napi.tls.client_ca: must contain a certificate in PEM (BEGIN CERTIFICATE)"},
		"Swapped":       {key, cert, "", "api.tls.cert: must contain a certificate in PEM (BEGIN CERTIFICATE)\napi.tls.key: must contain a private key in PEM (BEGIN PRIVATE KEY)"},
		"AnotherKey":    {cert, otherKey, "", "api.tls.key: is not the key of the first certificate in api.tls.cert"},
		"WrongOrder":    {other + cert, key, "", "api.tls.key: is not the key of the first certificate in api.tls.cert"},
		"BrokenKey":     {cert, pemOf("PRIVATE KEY", []byte(planted)), "", "api.tls.key: is not the key of the first certificate in api.tls.cert"},
		"BrokenCert":    {cert + pemOf("CERTIFICATE", []byte(planted)), key, "", "api.tls.cert: contains a certificate that cannot be parsed"},
		"EncryptedKey":  {cert, pemOf("ENCRYPTED PRIVATE KEY", []byte(planted)), "", "api.tls.key: is encrypted; the key must not have a passphrase"},
		"KeyAsClientCA": {cert, key, key, "api.tls.client_ca: must contain a certificate in PEM (BEGIN CERTIFICATE)"},
		"NoFile":        {cert, "", "", "api.tls.key: reading the secret from key: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := "api: {tls: {cert: file:cert, key: file:key"
			if tt.ca != "" {
				lines += ", client_ca: file:ca"
			}
			path := write(t, with(lines+"}}\n"))
			put := func(name, text string) {
				if text == "" {
					return
				}
				if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			put("cert", tt.cert)
			put("key", tt.key)
			put("ca", tt.ca)
			cfg, err := config.Load(path, environment(map[string]string{"WX_SECRET": planted}))
			if err != nil {
				t.Fatal(err)
			}
			if err = cfg.ResolveSecrets(); tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				put("cert", other)
				put("key", otherKey)
				now, err := cfg.ReadAPITLS()
				if err != nil || now.Cert.Text().Reveal() != strings.TrimSpace(other) || cfg.API.TLS.Cert.Text().Equal(now.Cert.Text()) {
					t.Errorf("ReadAPITLS() = %v, or it modified the configuration", err)
				}
				return
			}
			want := "cloudidq.yaml:1: " + strings.ReplaceAll(tt.want, "\n", "\ncloudidq.yaml:1: ")
			if got := short(t, nil, err, path); got != want || strings.Contains(got, planted) {
				t.Errorf("ResolveSecrets() = %s\nwant %s", got, want)
			}
		})
	}
}
