package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"cloudidq/internal/status"
	"cloudidq/internal/wechat/wechattest"
)

const statusKey = "planted-key-of-the-status-page"

// page loads a URL like a browser that has the key.
func page(t *testing.T, url string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("anybody", statusKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// An API process shows the activity of two workers that use the same Redis, without any user's
// data.
func TestStatus_ShowsAllProcesses(t *testing.T) {
	t.Parallel()
	const n = 400
	s := newSite(t, wechattest.Config{Seed: 21, Faults: wechattest.Faults{"foreign": 0.1, "busy": 0.1}})
	s.configure(t, "api: {listen: '127.0.0.1:0', keys: [{name: ops, secret: "+statusKey+", scopes: [read]}]}\n")
	s.planted = append(s.planted, statusKey)
	s.api(t)
	twin := s.twin(t)
	s.worker(t)
	s.worker(t)
	taps := s.enqueueMany(t, twin, n, 150)
	want := map[string]int64{}
	for _, tap := range taps {
		want[twin.Truth(tap.AppID, tap.OpenID, tap.CloudID).Status]++
	}
	var now status.Status
	waitFor(t, "the status of all", func() bool {
		code, body := page(t, s.apiURL+"/v1/status")
		now = status.Status{}
		if err := json.Unmarshal([]byte(body), &now); err != nil || code != http.StatusOK {
			t.Fatalf("status = %d %s", code, body)
		}
		return now.Total.Finished() >= n && now.Workers == 2
	})
	if now.Total.Resolved != want["resolved"] || now.Total.Failed != want["failed"] || now.Total.Requests == 0 || now.Total.Sent < n {
		t.Errorf("total = %+v, want %v", now.Total, want)
	}
	if requests := s.stats(t).Requests; now.Total.Requests != requests {
		t.Errorf("%d requests are reported, WeChat has received %d", now.Total.Requests, requests)
	}
	// A task that WeChat refused is archived, and the pages show it without its values.
	var shown strings.Builder
	for _, path := range []string{
		"/", "/?lang=zh", "/monitoring/", "/monitoring/api/queues", "/monitoring/api/queues/events/archived_tasks", "/monitoring/api/queues/events/retry_tasks",
		"/monitoring/api/queues/events/pending_tasks", "/monitoring/api/servers", "/monitoring/api/redis_info",
	} {
		code, body := page(t, s.apiURL+path)
		if code != http.StatusOK {
			t.Errorf("GET %s = %d %s", path, code, body)
		}
		shown.WriteString(body)
	}
	for _, tap := range taps {
		for _, id := range []string{tap.CloudID, tap.OpenID} {
			if strings.Contains(shown.String(), id) {
				t.Fatalf("the pages contain %s", id)
			}
		}
	}
	s.checkPrivate(t, taps)
}

// demo --serve prints its addresses and stops on SIGINT.
func TestDemo_Serve(t *testing.T) {
	t.Parallel()
	s := &site{}
	p := s.start(t, "demo", "--ids", "50", "--users", "20", "--serve", "--json")
	waitFor(t, "the addresses", func() bool { return strings.Contains(p.err.String(), "Ctrl-C") })
	for _, line := range strings.Split(p.err.String(), "\n")[:4] {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			t.Fatalf("stderr = %s", p.err.String())
		}
		waitFor(t, fields[1], func() bool { // on a busy machine a timeout may lead to 503
			code, body := page(t, fields[1])
			if code != http.StatusOK && code != http.StatusServiceUnavailable {
				t.Errorf("%s = %d %s", line, code, body)
			}
			return code == http.StatusOK
		})
	}
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.status(t); code != 0 {
		t.Errorf("exit %d: %s", code, p.err.String())
	}
	if !json.Valid(p.out.Bytes()) {
		t.Errorf("stdout = %s, want only the report", p.out.String())
	}
}
