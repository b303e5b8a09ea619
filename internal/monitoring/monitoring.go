// Package monitoring serves asynqmon, the web pages of asynq's queues. It hides task payloads
// and results, and the pages load nothing from other sites. Package httpapi checks who may see
// them.
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

// Path is the URL path of the pages.
const Path = "/monitoring"

// Pages serves asynqmon for one Redis. It has two variants: one for callers who may only read,
// and one for callers who may also make changes. It needs no closing.
type Pages struct{ readOnly, readWrite *pages }

// New returns the pages for rdb, which the caller closes. finisher finishes the pending cloudIDs of
// tasks that are deleted. New sends nothing to Redis.
func New(rdb redis.UniversalClient, finisher Finisher) (*Pages, error) {
	readOnly, err := newPages(rdb, nil)
	if err != nil {
		return nil, err
	}
	readWrite, err := newPages(rdb, finisher)
	if err != nil {
		return nil, err
	}
	return &Pages{readOnly, readWrite}, nil
}

// Handler serves everything below [Path]. Without mayChange, it rejects every change.
func (p *Pages) Handler(mayChange bool) http.Handler {
	if mayChange {
		return p.readWrite
	}
	return p.readOnly
}

// sharedClient gives asynqmon the existing client, with its Sentinel, cluster and TLS settings.
// Closing asynqmon's handler would close this client. So the handler is never closed, and it
// owns nothing else (asynqmon v0.7.2 handler.go:56-96).
type sharedClient struct{ rdb redis.UniversalClient }

// MakeRedisClient implements [asynq.RedisConnOpt].
func (s sharedClient) MakeRedisClient() any { return s.rdb }

var _ asynq.RedisConnOpt = sharedClient{}

// pages serves asynqmon for one kind of caller.
type pages struct {
	inner     http.Handler
	rdb       redis.UniversalClient
	inspector *asynq.Inspector
	finisher  Finisher // nil = read-only
	// index is asynqmon's HTML page. policy is the strictest Content-Security-Policy that it
	// works with.
	index  []byte
	policy string
}

// discardWriter is an [http.ResponseWriter] that discards the response.
type discardWriter struct{ header http.Header }

func (n discardWriter) Header() http.Header            { return n.header }
func (n discardWriter) Write(text []byte) (int, error) { return len(text), nil }
func (n discardWriter) WriteHeader(int)                {}

// newPages returns the pages for one kind of caller. A nil finisher makes them read-only.
func newPages(rdb redis.UniversalClient, finisher Finisher) (*pages, error) {
	p := &pages{rdb: rdb, inspector: asynq.NewInspectorFromRedisClient(rdb), finisher: finisher}
	p.inner = asynqmon.New(asynqmon.Options{
		RootPath: Path, RedisConnOpt: sharedClient{rdb}, ReadOnly: finisher == nil,
		PayloadFormatter: asynqmon.PayloadFormatterFunc(describePayload),
		ResultFormatter:  asynqmon.ResultFormatterFunc(describeResult),
	})
	// Render asynqmon's page once, to remove links from it and to compute its policy.
	first, err := http.NewRequestWithContext(context.Background(), http.MethodGet, Path+"/", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("monitoring: %w", err)
	}
	answer := &buffered{ResponseWriter: discardWriter{make(http.Header)}}
	p.inner.ServeHTTP(answer, first)
	index := answer.body.Bytes()
	if answer.status > http.StatusOK || !bytes.Contains(index, []byte("</html>")) {
		return nil, fmt.Errorf("monitoring: asynqmon did not render its page (status %d)", answer.status)
	}
	p.index = externalLinks.ReplaceAll(index, nil)
	p.policy = policyFor(p.index)
	return p, nil
}

var (
	// externalLinks matches links to fonts at Google, which the pages do not need because their
	// icons are SVG. It also matches the link to the manifest of an installable app, which
	// a browser fetches without the key.
	externalLinks = regexp.MustCompile(`<link [^>]*(?:href="https?://|rel="manifest")[^>]*>`)
	// inlineScripts matches inline scripts.
	inlineScripts = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	// staticFiles matches the paths of asynqmon's static files.
	staticFiles = regexp.MustCompile(`^/(?:static/.+|[a-z0-9-]+\.[a-z]+)$`)
)

// policyFor returns a Content-Security-Policy that allows what the page contains: its own
// scripts by their hashes, and styles, which its library adds to the page at run time.
func policyFor(page []byte) string {
	scripts := "'self'"
	for _, script := range inlineScripts.FindAllSubmatch(page, -1) {
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
		if p.finisher == nil || !p.handleDelete(w, r) {
			p.serveAPI(w, r)
		}
	case staticFiles.MatchString(path):
		p.inner.ServeHTTP(w, r)
	default: // asynqmon serves its HTML page at every other path
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "this page is read-only", http.StatusMethodNotAllowed)
			return
		}
		_, _ = w.Write(p.index)
	}
}
