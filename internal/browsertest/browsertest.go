// Package browsertest gives a test a headless Chromium.
//
//	page := browsertest.Start(t).Page(t, browsertest.Key("key"))
//	page.Open(url)
//	page.WaitFor(`document.querySelector("h1").textContent === "Status"`)
//	page.WantNoErrors()
//
// A page has an identity of its own, with no cookies, and notes what goes wrong in it: exceptions, console errors, refused
// loads, requests that fail. A machine without Chromium skips the test and says why; under CI it fails.
package browsertest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// startTimeout bounds the start of the browser, and stepTimeout each thing that a page is asked for: machines are shared.
const (
	startTimeout = time.Minute
	stepTimeout  = 30 * time.Second
	pollEvery    = 20 * time.Millisecond
)

// names are those of the program, the first that is found.
var names = [...]string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"}

// Browser is a running Chromium. It ends with the test that started it.
type Browser struct {
	ctx context.Context // of the browser; pages are made of it
}

// Start starts a browser.
func Start(tb testing.TB) *Browser {
	tb.Helper()
	path := ""
	for _, name := range names {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		const why = "Chromium is not installed: apt-get install chromium, or make test-browser does it"
		if os.Getenv("CI") != "" {
			tb.Fatal(why)
		}
		tb.Skip(why)
	}
	// Nothing but what the test says: no first run, no calls home; the profile is empty and removed afterwards.
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck, chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("lang", "en-US"),
	)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	tb.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // asks the browser to end and waits for it
		closeBrowser()
		stop()
	})
	// The first use starts it, and must not have a time limit of its own: the browser would end with it.
	started := make(chan error, 1)
	go func() { started <- chromedp.Do(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			tb.Fatalf("starting Chromium: %v", err)
		}
	case <-time.After(startTimeout):
		tb.Fatalf("Chromium has not started within %s", startTimeout)
	}
	return &Browser{ctx}
}
