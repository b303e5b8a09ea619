// Package monitoring is asynqmon, the web pages of asynq's queues, as cloudidq shows it: task payloads and results
// are left out, and nothing is loaded from elsewhere. Who may come in is decided before it, in internal/httpapi.
package monitoring

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
)

// Path is where the pages are.
const Path = "/monitoring"

// Pages are asynqmon over one Redis, once for those who may only look and once for those who may change something. They own
// nothing that would have to be closed.
type Pages struct{ looking, changing *pages }

// New returns the pages over rdb, which stays the caller's to close. ender ends what is open of tasks that are deleted. New
// asks Redis for nothing.
func New(rdb redis.UniversalClient, ender Ender) (*Pages, error) {
	looking, err := newPages(rdb, nil)
	if err != nil {
		return nil, err
	}
	changing, err := newPages(rdb, ender)
	if err != nil {
		return nil, err
	}
	return &Pages{looking, changing}, nil
}

// Handler serves everything below [Path]. Without mayChange, it refuses every change.
func (p *Pages) Handler(mayChange bool) http.Handler {
	if mayChange {
		return p.changing
	}
	return p.looking
}

// shared gives asynqmon the client that is there, with its Sentinel, cluster and TLS. asynqmon's handler would close it,
// and is therefore never closed: it owns nothing else (asynqmon v0.7.2 handler.go:56-96).
type shared struct{ rdb redis.UniversalClient }

// MakeRedisClient implements [asynq.RedisConnOpt].
func (s shared) MakeRedisClient() any { return s.rdb }

var _ asynq.RedisConnOpt = shared{}

// pages are asynqmon for one kind of caller.
type pages struct {
	inner     http.Handler
	rdb       redis.UniversalClient
	inspector *asynq.Inspector
	ender     Ender // nil = nothing may be changed
	// index is the page that loads the others, and policy the Content-Security-Policy that it can bear.
	index  []byte
	policy string
}

// nowhere is a ResponseWriter of which nothing is sent.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header            { return n.header }
func (n nowhere) Write(text []byte) (int, error) { return len(text), nil }
func (n nowhere) WriteHeader(int)                {}

func newPages(rdb redis.UniversalClient, ender Ender) (*pages, error) {
	p := &pages{rdb: rdb, inspector: asynq.NewInspectorFromRedisClient(rdb), ender: ender, inner: asynqmon.New(asynqmon.Options{
		RootPath: Path, RedisConnOpt: shared{rdb}, ReadOnly: ender == nil,
		PayloadFormatter: asynqmon.PayloadFormatterFunc(describePayload),
		ResultFormatter:  asynqmon.ResultFormatterFunc(describeResult),
	})}
	first, err := http.NewRequestWithContext(context.Background(), http.MethodGet, Path+"/", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("monitoring: %w", err)
	}
	answer := &buffered{ResponseWriter: nowhere{make(http.Header)}}
	p.inner.ServeHTTP(answer, first)
	index := answer.body.Bytes()
	if answer.status > http.StatusOK || !bytes.Contains(index, []byte("</html>")) {
		return nil, fmt.Errorf("monitoring: asynqmon's first page is not there (%d)", answer.status)
	}
	p.index = elsewhere.ReplaceAll(index, nil)
	p.policy = policyFor(p.index)
	return p, nil
}

var (
	// elsewhere are links to fonts at Google, without which the pages do: their icons are drawings. And to the manifest of
	// an app to install, which a browser fetches without the key.
	elsewhere = regexp.MustCompile(`<link [^>]*(?:href="https?://|rel="manifest")[^>]*>`)
	inline    = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	file      = regexp.MustCompile(`^/(?:static/.+|[a-z0-9-]+\.[a-z]+)$`)
)

// policyFor lets in what a page brings along: its scripts by their hashes, and styles, which its library writes into the
// page while it runs.
func policyFor(page []byte) string {
	scripts := "'self'"
	for _, script := range inline.FindAllSubmatch(page, -1) {
		sum := sha256.Sum256(script[1])
		scripts += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; script-src " + scripts + "; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
		"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// ServeHTTP implements [http.Handler].
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	path := strings.TrimPrefix(r.URL.Path, Path)
	switch {
	case strings.HasPrefix(path, "/api/"):
		h.Set("Cache-Control", "no-store")
		if p.ender == nil || !p.deletes(w, r) {
			p.serveAPI(w, r)
		}
	case file.MatchString(path):
		p.inner.ServeHTTP(w, r)
	default: // asynqmon answers every other address with its first page
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "this page can only be read", http.StatusMethodNotAllowed)
			return
		}
		_, _ = w.Write(p.index)
	}
}
