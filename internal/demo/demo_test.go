package demo_test

import (
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cloudidq/internal/demo"
	"cloudidq/internal/wechat/wechattest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun_EveryRecordIsTheTruth(t *testing.T) {
	faults, err := wechattest.ParseFaults("busy=0.2,missing=0.05,reset=0.02,expired=0.02,foreign=0.02,poison=0.005,token=0.01,truncated=0.02")
	if err != nil {
		t.Fatal(err)
	}
	report, err := demo.Run(t.Context(), demo.Config{
		IDs: 1500, Users: 600, Faults: faults, Latency: 5 * time.Millisecond, Seed: 3, Log: slog.New(slog.DiscardHandler),
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
