package main

import (
	"strings"
	"testing"
)

// With a third-party platform any valid appid may be served. Every command rejects an invalid
// appid before it accesses Redis.
func TestNames_EveryCommandValidates(t *testing.T) {
	cfg := writeConfig(t, `redis: {url: "redis://127.0.0.1:1/0"}
store: {encryption: "off"}
components: [{appid: wxc, secret: env:NOT_SET, verify_token: env:NOT_SET, aes_key: env:NOT_SET}]
`)
	const forged = `planted","results":[{}],"x":"`
	for _, tc := range []struct {
		flag string
		args []string
	}{
		{"--appid", []string{"enqueue", "--appid", forged, "73_1"}},
		{"--webhook", []string{"enqueue", "--appid", "wx1", "--webhook", forged, "73_1"}},
		{"--appid", []string{"backfill", "--appid", forged, "-"}},
		{"--webhook", []string{"backfill", "--appid", "wx1", "--webhook", forged, "-"}},
		{"--appid", []string{"result", "--appid", forged, "73_1"}},
		{"--appid", []string{"erase", "--appid", forged, "--openid", "o1"}},
		{"--appid", []string{"deliveries", "list", "--appid", forged}},
		{"--endpoint", []string{"deliveries", "list", "--endpoint", forged}},
		{"APPID 2", []string{"apps", "resume", "wx1", forged}},
		{"APPID 1", []string{"apps", "quota", forged}},
	} {
		status, out, err := invoke(t, append(tc.args, "--config", cfg)...)
		if status != exitUsage || !strings.Contains(err, tc.flag+" must be 1 to 64 letters, digits, - or _") || strings.Contains(out+err, "planted") {
			t.Errorf("%v: exit %d, %s", tc.args, status, err)
		}
	}
}

// The error output of a command contains no credential of a URL that an error may quote.
func TestRun_ShowsNoCredential(t *testing.T) {
	status, out, err := invoke(t, "worker", "--config", "postgres://u:planted@db/c?x=planted")
	if status == exitDone || strings.Contains(out+err, "planted") {
		t.Errorf("exit %d, %s", status, err)
	}
}

// --raw-csv is rejected unless the output is CSV.
func TestBackfill_RawCSVRequiresCSV(t *testing.T) {
	good := goodConfig(t, "127.0.0.1:1")
	for _, more := range [][]string{nil, {"--out", "-"}, {"--out", "x.ndjson"}} {
		status, _, err := invoke(t, append([]string{"backfill", "--config", good, "--appid", appA, "--raw-csv", "-"}, more...)...)
		if status != exitUsage || !strings.Contains(err, "--raw-csv requires --out with a .csv file") {
			t.Errorf("%v: exit %d, %s", more, status, err)
		}
	}
}
