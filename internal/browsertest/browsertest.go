// Package browsertest gives a test a headless Chromium.
//
//	page := browsertest.Start(t).Page(t, browsertest.Key("key"))
//	page.Open(url)
//	page.WaitFor(`document.querySelector("h1").textContent === "Status"`)
//	page.WantNoErrors()
//
// Each page has its own browser context without cookies. It records errors: exceptions, console
// errors, blocked loads and failed requests. If Chromium is not installed, the test is skipped
// with a message. Under CI it fails.
//
// The package speaks the DevTools protocol itself, over two pipes. The few commands that the
// tests need compile faster than a driver with all commands.
// https://chromedevtools.github.io/devtools-protocol/.
package browsertest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// startTimeout bounds the start of the browser. stepTimeout bounds each operation of a page.
// Both are long, because test machines are shared.
const (
	startTimeout = 2 * time.Minute
	stepTimeout  = time.Minute
	pollInterval = 20 * time.Millisecond
)

// names lists the names of the program. The first one found is used.
var names = [...]string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"}

// flags stop the browser from doing anything on its own: no first-run dialogs, no calls home.
var flags = []string{
	"--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-default-browser-check",
	"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
	"--disable-extensions", "--disable-default-apps", "--disable-client-side-phishing-detection", "--disable-popup-blocking",
	"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
	"--password-store=basic", "--use-mock-keychain", "--mute-audio", "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US",
}

// Browser is a running Chromium. It stops at the end of the test that started it.
type Browser struct{ conn *conn }

// Start starts a browser for tb.
func Start(tb testing.TB) *Browser {
	tb.Helper()
	path := find(tb)
	profile, err := os.MkdirTemp("", "browsertest")
	if err != nil {
		tb.Fatal(err)
	}
	// Ignore errors. The folder is empty at this point, but a child process of the browser may
	// still write to it.
	tb.Cleanup(func() { _ = os.RemoveAll(profile) })
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

// find returns the path of the program. If there is none, it skips the test, or fails it under CI.
func find(tb testing.TB) string {
	tb.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const why = "Chromium is not installed; run apt-get install chromium " +
		"or make test-browser, which installs it"
	if os.Getenv("CI") != "" {
		tb.Fatal(why)
	}
	tb.Skip(why)
	return ""
}
