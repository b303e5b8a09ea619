// Package browsertest gives a test a headless Chromium.
//
//	page := browsertest.Start(t).Page(t, browsertest.Key("key"))
//	page.Open(url)
//	page.WaitFor(`document.querySelector("h1").textContent === "Status"`)
//	page.WantNoErrors()
//
// A page has an identity of its own, with no cookies, and notes what goes wrong in it: exceptions, console errors, refused
// loads, requests that fail. A machine without Chromium skips the test and says why; under CI it fails.
//
// It speaks the DevTools protocol itself, over two pipes: the few commands that the tests use are less to compile than a
// driver with all of them. https://chromedevtools.github.io/devtools-protocol/.
package browsertest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// startTimeout bounds the start of the browser, and stepTimeout each thing that a page is asked for: machines are shared.
const (
	startTimeout = 2 * time.Minute
	stepTimeout  = time.Minute
	pollEvery    = 20 * time.Millisecond
)

// names are those of the program, the first that is found.
var names = [...]string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"}

// flags let the browser do nothing but what the test says: no first run, no calls home.
var flags = []string{
	"--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-default-browser-check",
	"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
	"--disable-extensions", "--disable-default-apps", "--disable-client-side-phishing-detection", "--disable-popup-blocking",
	"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
	"--password-store=basic", "--use-mock-keychain", "--mute-audio", "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US",
}

// Browser is a running Chromium. It ends with the test that started it.
type Browser struct{ conn *conn }

// Start starts a browser.
func Start(tb testing.TB) *Browser {
	tb.Helper()
	path := find(tb)
	profile, err := os.MkdirTemp("", "browsertest")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(profile) }) // empty at first; a straggler of the browser may still write there
	c, stop, err := launch(path, append(flags, "--user-data-dir="+profile))
	if err != nil {
		tb.Fatalf("starting Chromium: %v", err)
	}
	tb.Cleanup(stop)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := c.call(ctx, "", "Browser.getVersion", nil, nil); err != nil {
		tb.Fatalf("starting Chromium: %v", err)
	}
	return &Browser{c}
}

// find is the path of the program; without one the test is skipped, or fails under CI.
func find(tb testing.TB) string {
	tb.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const why = "Chromium is not installed: apt-get install chromium, or make test-browser does it"
	if os.Getenv("CI") != "" {
		tb.Fatal(why)
	}
	tb.Skip(why)
	return ""
}
