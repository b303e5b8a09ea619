package browsertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

type action = chromedp.Action[chromedp.Void]

// send is the action of one command of the DevTools protocol.
func send[P, R any](command cdp.Command[P, R], params P) action {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// Page is a tab. Its methods are for the test's own goroutine, and fail the test.
type Page struct {
	tb  testing.TB
	ctx context.Context
	key string

	replies sync.WaitGroup

	mu     sync.Mutex
	faults []string // guarded by mu
	urls   []string // of requests; guarded by mu
}

// Option is how a page looks.
type Option func(p *Page) action

// Key is the password that is typed in when the browser asks for one.
func Key(key string) Option {
	return func(p *Page) action {
		p.key = key
		return send(fetch.Enable, fetch.EnableParams{HandleAuthRequests: new(true)})
	}
}

// Dark is the scheme of those who like it dark.
func Dark() Option {
	return func(*Page) action {
		return send(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
		})
	}
}

// Size is the window's, in CSS pixels, each of scale device pixels.
func Size(width, height int64, scale float64) Option {
	return func(*Page) action {
		return send(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: width, Height: height, DeviceScaleFactor: scale, Mobile: width < 600,
		})
	}
}

// Language is what the browser prefers, such as zh-CN.
func Language(tag string) Option {
	return func(*Page) action {
		return send(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": tag}})
	}
}

// NoScript switches JavaScript off.
func NoScript() Option {
	return func(*Page) action {
		return send(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	}
}

// Page opens an empty tab.
func (b *Browser) Page(tb testing.TB, options ...Option) *Page {
	tb.Helper()
	ctx, closeTab := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	p := &Page{tb: tb, ctx: ctx}
	tb.Cleanup(func() {
		closeTab()
		p.replies.Wait()
	})
	actions := []action{send(log.Enable, cdp.Empty{}), send(network.Enable, network.EnableParams{})}
	for _, option := range append([]Option{Size(1280, 900, 1)}, options...) {
		actions = append(actions, option(p))
	}
	if err := errors.Join(chromedp.Listen(ctx, p.hear), chromedp.Do(ctx, actions...)); err != nil {
		tb.Fatalf("opening a tab: %v", err)
	}
	return p
}

// reply answers the browser from another goroutine: hear must not wait.
func (p *Page) reply(a action) {
	p.replies.Go(func() { _ = chromedp.Do(p.ctx, a) }) // the tab may be gone
}

// hear takes the browser's events. It must not wait for anything.
func (p *Page) hear(event any) {
	switch e := event.(type) {
	case *fetch.EventRequestPaused:
		p.reply(send(fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID}))
	case *fetch.EventAuthRequired:
		p.reply(send(fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{
			RequestID: e.RequestID,
			AuthChallengeResponse: &fetch.AuthChallengeResponse{
				Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: "anybody", Password: p.key,
			},
		}))
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		p.fault("exception: %s", text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var said []string
			for _, arg := range e.Args {
				said = append(said, string(arg.Value)+arg.Description)
			}
			p.fault("console: %s", strings.Join(said, " "))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			p.fault("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		p.mu.Lock()
		p.urls = append(p.urls, e.Request.URL)
		p.mu.Unlock()
	}
}

func (p *Page) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// do runs actions.
func (p *Page) do(what string, actions ...action) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.tb.Fatalf("%s: %v; the page has met: %q", what, err, p.faultsSoFar())
	}
}

// Open loads an address, and waits for it.
func (p *Page) Open(url string) {
	p.tb.Helper()
	p.do("opening "+url, chromedp.Navigate(url))
}

// Eval returns the text that a JavaScript expression comes to.
func (p *Page) Eval(expression string) string {
	p.tb.Helper()
	text, err := p.evaluate(expression)
	if err != nil {
		p.tb.Fatalf("asking for %s: %v", expression, err)
	}
	return text
}

func (p *Page) evaluate(expression string) (string, error) {
	ctx, cancel := context.WithTimeout(p.ctx, stepTimeout)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[string]("String("+expression+")"))
}

// WaitFor waits until a JavaScript expression is true. While the page is being replaced it is not.
func (p *Page) WaitFor(expression string) {
	p.tb.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for late := time.Now().Add(stepTimeout); ; <-tick.C {
		text, err := p.evaluate("Boolean(" + expression + ")")
		if err == nil && text == "true" {
			return
		}
		if time.Now().After(late) {
			shown, _ := p.evaluate("document.body.innerText.slice(0, 2000)")
			p.tb.Fatalf("waited for %s (%v); the page has met %q and shows: %s", expression, err, p.faultsSoFar(), shown)
		}
	}
}

// Press clicks at the first button or link of this text or label.
func (p *Page) Press(text string) {
	p.tb.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll("button, a, [role=button]")].find((e) =>
		(e.getAttribute("aria-label") === %[1]q || e.title === %[1]q || e.textContent.trim() === %[1]q) && !e.disabled)`, text)
	p.WaitFor(find)
	p.Eval(find + ".click()")
}

// URLs are the addresses of all requests so far.
func (p *Page) URLs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.urls...)
}

func (p *Page) faultsSoFar() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.faults...)
}

// WantNoErrors fails the test for each error that the page has met.
func (p *Page) WantNoErrors() {
	p.tb.Helper()
	for _, fault := range p.faultsSoFar() {
		p.tb.Errorf("the page has met: %s", fault)
	}
}

// Shot writes a picture of the whole page to a PNG file.
func (p *Page) Shot(file string) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepTimeout)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.tb.Fatalf("taking a picture: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // pictures are no secret
		p.tb.Fatal(err)
	}
	if err := os.WriteFile(file, picture, 0o644); err != nil { //nolint:gosec // pictures are no secret
		p.tb.Fatal(err)
	}
}
