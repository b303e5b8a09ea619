package browsertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// params holds the parameters of a command.
type params map[string]any

// command is a command of the DevTools protocol.
type command struct {
	method string
	params params
}

// Page is a tab. Call its methods only from the goroutine of the test. They fail the test on
// errors.
type Page struct {
	tb      testing.TB
	conn    *conn
	session string
	key     string

	replies sync.WaitGroup

	mu     sync.Mutex
	faults []string                 // guarded by mu
	urls   []string                 // URLs of requests; guarded by mu
	loads  map[string]chan struct{} // by loader; closed when its document is loaded; guarded by mu
}

// Option configures a [Page].
type Option func(p *Page) command

// Key answers the browser's password prompt with key.
func Key(key string) Option {
	return func(p *Page) command {
		p.key = key
		return command{"Fetch.enable", params{"handleAuthRequests": true}}
	}
}

// Dark selects the dark color scheme.
func Dark() Option {
	return func(*Page) command {
		return command{"Emulation.setEmulatedMedia", params{"features": []params{{"name": "prefers-color-scheme", "value": "dark"}}}}
	}
}

// Size sets the size of the window in CSS pixels. scale is the number of device pixels per CSS
// pixel.
func Size(width, height int64, scale float64) Option {
	return func(*Page) command {
		return command{"Emulation.setDeviceMetricsOverride", params{
			"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600,
		}}
	}
}

// Language sets the preferred language, for example zh-CN.
func Language(tag string) Option {
	return func(*Page) command {
		return command{"Network.setExtraHTTPHeaders", params{"headers": params{"Accept-Language": tag}}}
	}
}

// NoScript disables JavaScript.
func NoScript() Option {
	return func(*Page) command {
		return command{"Emulation.setScriptExecutionDisabled", params{"value": true}}
	}
}

// Page opens an empty tab. The tab closes at the end of tb.
func (b *Browser) Page(tb testing.TB, options ...Option) *Page {
	tb.Helper()
	p := &Page{tb: tb, conn: b.conn, loads: make(map[string]chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := p.open(ctx, options); err != nil {
		tb.Fatalf("opening a tab: %v", err)
	}
	return p
}

// open creates the tab, subscribes to its events, and applies the options.
func (p *Page) open(ctx context.Context, options []Option) error {
	var browserContext, target, session struct {
		Context string `json:"browserContextId"`
		Target  string `json:"targetId"`
		Session string `json:"sessionId"`
	}
	if err := p.conn.call(ctx, "", "Target.createBrowserContext", params{"disposeOnDetach": true}, &browserContext); err != nil {
		return err
	}
	p.tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
		defer cancel()
		_ = p.conn.call(ctx, "", "Target.disposeBrowserContext", params{"browserContextId": browserContext.Context}, nil)
		p.replies.Wait()
	})
	in := params{"url": "about:blank", "browserContextId": browserContext.Context}
	if err := p.conn.call(ctx, "", "Target.createTarget", in, &target); err != nil {
		return err
	}
	if err := p.conn.call(ctx, "", "Target.attachToTarget", params{"targetId": target.Target, "flatten": true}, &session); err != nil {
		return err
	}
	// Handle events from the start, then configure the tab.
	p.session = session.Session
	p.conn.setHandler(p.session, p.handle)
	// Default settings come first, so that options override them.
	commands := []command{
		{"Page.enable", nil}, {"Page.setLifecycleEventsEnabled", params{"enabled": true}}, {"Runtime.enable", nil},
		{"Log.enable", nil}, {"Network.enable", nil}, Size(1280, 900, 1)(p),
	}
	for _, option := range options {
		commands = append(commands, option(p))
	}
	for _, c := range commands {
		if err := p.call(ctx, c.method, c.params, nil); err != nil {
			return err
		}
	}
	return nil
}

// call sends a command to the tab.
func (p *Page) call(ctx context.Context, method string, in params, result any) error {
	if in == nil {
		return p.conn.call(ctx, p.session, method, nil, result)
	}
	return p.conn.call(ctx, p.session, method, in, result)
}

// reply sends a command from another goroutine, because handle must not block.
func (p *Page) reply(method string, in params) {
	p.replies.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
		defer cancel()
		_ = p.call(ctx, method, in, nil) // ignore errors: the tab may be closed
	})
}

// fault records an error of the page.
func (p *Page) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// Open loads a URL and waits until it is loaded.
func (p *Page) Open(url string) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	if err := p.navigate(ctx, url); err != nil {
		p.tb.Fatalf("opening %s: %v; errors of the page: %q", url, err, p.faultsSoFar())
	}
}

// navigate loads a URL and waits for the load event.
func (p *Page) navigate(ctx context.Context, url string) error {
	var to struct {
		Loader string `json:"loaderId"` // empty if the document stays the same
		Error  string `json:"errorText"`
	}
	if err := p.call(ctx, "Page.navigate", params{"url": url}, &to); err != nil {
		return err
	}
	if to.Error != "" {
		return errors.New(to.Error)
	}
	if to.Loader == "" {
		return nil
	}
	select {
	case <-p.load(to.Loader):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("Page.lifecycleEvent: the page is not loaded: %w", ctx.Err())
	}
}

// load returns a channel that is closed when a loader has loaded its document.
func (p *Page) load(loader string) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loads[loader] == nil {
		p.loads[loader] = make(chan struct{})
	}
	return p.loads[loader]
}

// Eval returns the value of a JavaScript expression as a string.
func (p *Page) Eval(expression string) string {
	p.tb.Helper()
	text, err := p.evaluate(expression)
	if err != nil {
		p.tb.Fatalf("evaluating %s: %v", expression, err)
	}
	return text
}

// evaluate returns the value of an expression as a string, or the exception as an error.
func (p *Page) evaluate(expression string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	var got struct {
		Result    object
		Exception *exception `json:"exceptionDetails"`
	}
	if err := p.call(ctx, "Runtime.evaluate", params{"expression": "String(" + expression + ")", "returnByValue": true}, &got); err != nil {
		return "", err
	}
	if got.Exception != nil {
		return "", errors.New(got.Exception.String())
	}
	var text string
	return text, json.Unmarshal(got.Result.Value, &text)
}

// WaitFor waits until a JavaScript expression is true. While a new page loads, it counts as false.
func (p *Page) WaitFor(expression string) {
	p.tb.Helper()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for deadline := time.Now().Add(stepTimeout); ; <-tick.C {
		text, err := p.evaluate("Boolean(" + expression + ")")
		if err == nil && text == "true" {
			return
		}
		if time.Now().After(deadline) {
			shown, _ := p.evaluate("document.body.innerText.slice(0, 2000)")
			p.tb.Fatalf("waited for %s (%v); errors of the page: %q; the page shows: %s",
				expression, err, p.faultsSoFar(), shown)
		}
	}
}

// Press waits for the first enabled button or link with this text, title or label, and clicks it.
func (p *Page) Press(text string) {
	p.tb.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll("button, a, [role=button]")].find((e) =>
		(e.getAttribute("aria-label") === %[1]q || e.title === %[1]q || e.textContent.trim() === %[1]q) && !e.disabled)`, text)
	p.WaitFor(find)
	p.Eval(find + ".click()")
}

// URLs returns the URLs of all requests so far.
func (p *Page) URLs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.urls...)
}

// faultsSoFar returns a copy of the recorded errors.
func (p *Page) faultsSoFar() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.faults...)
}

// WantNoErrors fails the test for each recorded error.
func (p *Page) WantNoErrors() {
	p.tb.Helper()
	for _, fault := range p.faultsSoFar() {
		p.tb.Errorf("error of the page: %s", fault)
	}
}

// Shot writes a screenshot of the whole page to a PNG file.
func (p *Page) Shot(file string) {
	p.tb.Helper()
	picture, err := p.picture()
	if err != nil {
		p.tb.Fatalf("taking a screenshot: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // screenshots are not secret
		p.tb.Fatal(err)
	}
	if err := os.WriteFile(file, picture, 0o644); err != nil { //nolint:gosec // screenshots are not secret
		p.tb.Fatal(err)
	}
}

// picture returns a screenshot of the whole page as PNG.
func (p *Page) picture() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	var layout struct {
		Size struct{ Width, Height float64 } `json:"cssContentSize"`
	}
	if err := p.call(ctx, "Page.getLayoutMetrics", nil, &layout); err != nil {
		return nil, err
	}
	var shot struct{ Data []byte }
	err := p.call(ctx, "Page.captureScreenshot", params{
		"format": "png", "captureBeyondViewport": true,
		"clip": params{"x": 0, "y": 0, "width": layout.Size.Width, "height": layout.Size.Height, "scale": 1},
	}, &shot)
	return shot.Data, err
}
