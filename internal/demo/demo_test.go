package demo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cloudidq/internal/backfill"
	"cloudidq/internal/demo"
	"cloudidq/internal/status"
	"cloudidq/internal/wechat/wechattest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun_EveryRecordIsTheTruth(t *testing.T) {
	t.Parallel()
	faults, err := wechattest.ParseFaults("busy=0.2,missing=0.05,reset=0.02,expired=0.02,foreign=0.02,poison=0.005,token=0.01,truncated=0.02")
	if err != nil {
		t.Fatal(err)
	}
	report, err := demo.Run(t.Context(), demo.Config{
		IDs: 1500, Users: 600, Faults: faults, Latency: 5 * time.Millisecond, Seed: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", report)
	if report.Wrong != 0 || report.Resolved+report.Failed+report.Expired != 1500 {
		t.Errorf("report = %+v, want 1500 ends and none of them wrong", report)
	}
	if report.Failed == 0 || report.Expired == 0 || report.Retries == 0 {
		t.Errorf("report = %+v, want failures, expiries and retries: the faults ask for them", report)
	}
}

// A demo that stays up serves its pages while its users keep tapping, and stops with its context.
func TestServe_StaysUp(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	looked := make(chan error, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- demo.Serve(ctx, demo.Config{
			IDs: 100, Users: 50, Latency: time.Millisecond, Seed: 3,
		}, func(r demo.Report, at demo.Addresses) error {
			if r.Wrong != 0 || r.Resolved != 100 {
				t.Errorf("report = %+v", r)
			}
			go func() { looked <- look(ctx, at) }()
			return nil
		})
	}()
	select {
	case err := <-looked:
		if err != nil {
			t.Error(err)
		}
	case err := <-ended:
		t.Fatalf("Serve has ended: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v, want nil after its context has ended", err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// look opens the pages, and waits until the status shows users of every app.
func look(ctx context.Context, at demo.Addresses) error {
	origin := at.API
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	for _, path := range []string{"/", "/monitoring/", "/monitoring/api/queues", "/openapi.yaml"} {
		if _, err := get(ctx, origin+path); err != nil {
			return err
		}
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	if err := scrape(ctx, at.Metrics, tick.C); err != nil {
		return err
	}
	if err := submitBackfill(ctx, origin, tick.C); err != nil {
		return err
	}
	for {
		body, err := get(ctx, origin+"/v1/status")
		if err != nil {
			return err
		}
		var s status.Status
		if err := json.Unmarshal(body, &s); err != nil {
			return err
		}
		if s.Workers == 1 && len(s.Apps) == 3 && s.Total.Resolved > 100 && s.Apps[0].Resolved > 0 && s.Apps[1].Resolved > 0 {
			return nil
		}
		<-tick.C
	}
}

// scrape waits for every kind of series. A busy machine may leave out the queues of a scrape.
func scrape(ctx context.Context, url string, tick <-chan time.Time) error {
	for {
		counted, err := get(ctx, url)
		if err != nil {
			return err
		}
		missing := ""
		for _, series := range []string{"asynq_queue_size{", "cloudidq_cloudids_finished_total{", "cloudidq_wechat_requests_total{", "cloudidq_http_requests_total{"} {
			if !strings.Contains(string(counted), series) {
				missing = series
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return errors.New("no series " + missing)
		}
	}
}

// submitBackfill submits one line and waits until it is finished.
func submitBackfill(ctx context.Context, origin string, tick <-chan time.Time) error {
	const appID = "wx0000000000000001"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, origin+"/v1/backfills?appid="+appID, strings.NewReader(`{"cloud_id":"73_x","openid":"o1"}`))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return errors.New("POST /v1/backfills: " + resp.Status)
	}
	for {
		body, err := get(ctx, origin+resp.Header.Get("Location"))
		if err != nil {
			return err
		}
		var of backfill.Backfill
		if err := json.Unmarshal(body, &of); err != nil {
			return err
		}
		if of.Finished() && of.Failed == 1 {
			return nil
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return errors.New("the backfill does not end: " + string(body))
		}
	}
}

// get retries after a 503, which a busy machine may cause.
func get(ctx context.Context, url string) ([]byte, error) {
	for {
		code, body, err := getOnce(ctx, url)
		switch {
		case err != nil || code == http.StatusOK:
			return body, err
		case code != http.StatusServiceUnavailable:
			return nil, fmt.Errorf("GET %s = %d %s", url, code, body)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, fmt.Errorf("GET %s = %d %s until the end", url, code, body)
		}
	}
}

func getOnce(ctx context.Context, url string) (code int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
