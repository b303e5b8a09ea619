package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
	"cloudidq/store"
)

// invoke runs the program in this process.
func invoke(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, streams{
		in: strings.NewReader(""), out: &out, err: &err,
		lookupEnv: func(string) (string, bool) { return "", false },
	})
	return status, out.String(), err.String()
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cloudidq.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func goodConfig(t *testing.T, redisAddr string) string {
	t.Helper()
	return writeConfig(t, fmt.Sprintf(`redis: {url: "redis://%s/0"}
store: {encryption: "off"}
apps: [{appid: %s, token: {mode: static, access_token: "env:NOT_SET"}}]
`, redisAddr, appA))
}

func TestRun_UsageErrors_ExitTwo(t *testing.T) {
	good := goodConfig(t, "127.0.0.1:1")
	bound := writeConfig(t, fmt.Sprintf(`redis: {url: "redis://127.0.0.1:1/0"}
store: {encryption: "off"}
apps: [{appid: %s, token: {mode: static, access_token: x}}, {appid: wxB, token: {mode: static, access_token: x}}]
webhooks: [{name: ofB, url: "https://example.com", secrets: [x], appids: [wxB]}]
`, appA))
	long := strings.Repeat("x", 513)
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"unknown command":        {[]string{"resolve"}, []string{`unknown command "resolve"`}},
		"unknown flag":           {[]string{"demo", "--idz", "3"}, []string{"unknown flag: --idz", "cloudidq demo --help"}},
		"no configuration":       {[]string{"worker"}, []string{"--config", "CLOUDIDQ_CONFIG"}},
		"missing file":           {[]string{"worker", "--config", "nowhere.yaml"}, []string{"nowhere.yaml"}},
		"extra argument":         {[]string{"worker", "--config", good, "x"}, []string{"cloudidq worker --help"}},
		"secret not set":         {[]string{"worker", "--config", good}, []string{":3:", "NOT_SET"}},
		"no cloudID":             {[]string{"enqueue", "--config", good, "--appid", appA}, []string{"at least 1 arg"}},
		"all flags invalid":      {[]string{"enqueue", "--config", good, "--obtained-at", "yesterday", "--wait", "-1s", "73_x"}, []string{"--appid is missing", "--obtained-at", "--wait must not be negative"}},
		"unknown app":            {[]string{"enqueue", "--config", good, "--appid", "wx9", "73_x"}, []string{"--appid is not among the apps"}},
		"invalid demo flags":     {[]string{"demo", "--ids", "0", "--users", "-1", "--faults", "bussy=2"}, []string{"--ids is 0", "--users is -1", "bussy", "busy"}},
		"invalid faults":         {[]string{"sim", "--faults", "busy=2"}, []string{"--faults", "busy"}},
		"invalid cloudID":        {[]string{"result", "--config", good, "--appid", appA, long}, []string{"items[0].cloud_id has 513 bytes, at most 512"}},
		"all sim flags invalid":  {[]string{"sim", "--listen", "nowhere", "--latency", "-1s", "--users", "-1", "--faults", "busy=2"}, []string{"--listen", "--latency", "--users", "--faults"}},
		"sim, invalid port":      {[]string{"sim", "--listen", "127.0.0.1:99999"}, []string{"--listen"}},
		"also item faults":       {[]string{"enqueue", "--config", good, "--queue", "default", "--reference", "\n", ""}, []string{"--appid is missing", "--queue must be events or backfill", "items[0].cloud_id is empty", "items[0].reference"}},
		"result, no app":         {[]string{"result", "--config", good, long}, []string{"--appid is missing", "items[0].cloud_id"}},
		"all list flags invalid": {[]string{"deliveries", "list", "--config", good, "--status", "x", "--limit", "-1"}, []string{"--status", "--limit"}},
		"unknown endpoint":       {[]string{"deliveries", "replay", "--config", good, "--endpoint", "nope"}, []string{"--endpoint is not among the webhooks"}},
		"unknown shell":          {[]string{"completion", "tcsh"}, []string{"tcsh", "cloudidq completion --help"}},
		"shell and more":         {[]string{"completion", "bash", "x"}, []string{"cloudidq completion bash --help"}},
		"unknown topic":          {[]string{"help", "keys", "nosuch"}, []string{"keys nosuch"}},
		"other apps' webhook":    {[]string{"enqueue", "--config", bound, "--appid", appA, "--webhook", "ofB", "73_x"}, []string{"--webhook does not accept results of this app"}},
		"same for backfill":      {[]string{"backfill", "--config", bound, "--appid", appA, "--webhook", "ofB", "-"}, []string{"--webhook does not accept results of this app"}},
		"no such webhook":        {[]string{"enqueue", "--config", bound, "--appid", appA, "--webhook", "none", "73_x"}, []string{"--webhook is not among the webhooks"}},
		"result, unknown app":    {[]string{"result", "--config", good, "--appid", "wx9", "73_x"}, []string{"--appid"}},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := invoke(t, tc.args...)
			if status != exitUsage || stdout != "" {
				t.Errorf("exit %d with %q on stdout, want 2 and no output; stderr: %s", status,
					stdout, stderr)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr = %q, does not contain %q", stderr, want)
				}
			}
		})
	}
}

// Invalid input is rejected before anything is enqueued, with all faults at once.
func TestEnqueue_BadInput_NothingEnqueued(t *testing.T) {
	srv := redistest.Start(t)
	good := goodConfig(t, srv.Addr)
	args := []string{"enqueue", "--config", good, "--appid", appA, "--openid", "o1"}
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("73_%03d", i)
	}
	for name, tc := range map[string]struct {
		ids  []string
		want []string
	}{
		"empty":       {[]string{"73_ok", ""}, []string{"items[1].cloud_id is empty"}},
		"long":        {[]string{strings.Repeat("x", 513), "73_\n"}, []string{"items[0].cloud_id has 513 bytes", "items[1].cloud_id has a character at byte 3"}},
		"101":         {many, []string{"items has 101 cloudIDs, 1 to 100 are allowed"}},
		"queue":       {[]string{"--queue", "default", "73_ok"}, []string{"queue must be events or backfill"}},
		"too early":   {[]string{"--obtained-at", "1970-01-20T12:00:00Z", "73_ok"}, []string{"items[0].obtained_at is before the year 2000"}},
		"from future": {[]string{"--obtained-at", "2099-01-20T12:00:00Z", "73_ok"}, []string{"items[0].obtained_at is more than 1m0s in the future"}},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, stderr := invoke(t, append(append([]string{}, args...), tc.ids...)...)
			if status != exitUsage {
				t.Errorf("exit %d, want 2; stderr: %s", status, stderr)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr = %q, does not contain %q", stderr, want)
				}
			}
		})
	}
	if keys := srv.Client(t).Keys(t.Context(), "*").Val(); len(keys) > 0 {
		t.Errorf("something was enqueued: %v", keys)
	}
}

func TestRun_RedisDown_ExitOne(t *testing.T) {
	good := goodConfig(t, "127.0.0.1:1")
	for _, args := range [][]string{
		{"enqueue", "--config", good, "--appid", appA, "73_x"},
		{"result", "--config", good, "--appid", appA, "73_x"},
	} {
		status, stdout, stderr := invoke(t, args...)
		if status != exitFailed || stdout != "" || !strings.Contains(stderr, "reaching Redis") {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", args[0], status, stdout, stderr)
		}
	}
}

func TestEnqueue_Embedded_Refused(t *testing.T) {
	path := writeConfig(t, `redis: {url: embedded}
store: {encryption: "off"}
apps: [{appid: wx1, token: {mode: static, access_token: t}}]
`)
	status, _, stderr := invoke(t, "enqueue", "--config", path, "--appid", "wx1", "73_x")
	if status != exitUsage || !strings.HasPrefix(stderr, path+":1: redis.url: is embedded") {
		t.Errorf("exit %d, %s", status, stderr)
	}
}

// If enqueue --wait times out, it does not print the failure of an earlier request for the same
// cloudID.
func TestEnqueue_WaitTimeout_EarlierFailureIsNotPrinted(t *testing.T) {
	srv := redistest.Start(t)
	long := store.At(time.Now().Add(-time.Minute))
	err := store.NewRedis(srv.Client(t), time.Hour, store.Sealed(nil)).Save(t.Context(), "t", []store.Record{{
		AppID: appA, CloudID: "73_a", Status: store.Failed, Error: &store.Error{Code: -601007}, AcceptedAt: long, FinishedAt: long,
	}})
	if err != nil {
		t.Fatal(err)
	}
	good := goodConfig(t, srv.Addr)
	status, stdout, stderr := invoke(t, "enqueue", "--config", good, "--appid", appA, "--wait", "50ms", "73_a")
	if status != exitFailed || stdout != "" || !strings.Contains(stderr, "not all cloudIDs finished") {
		t.Errorf("exit %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

func TestEnqueueThenResult(t *testing.T) {
	srv := redistest.Start(t)
	good := goodConfig(t, srv.Addr)
	status, stdout, stderr := invoke(t, "enqueue", "--config", good, "--appid", appA, "--openid", "o1", "73_a", "73_b")
	if status != exitDone || stdout != "" || stderr != "enqueued for "+appA+": 2\n" {
		t.Errorf("enqueue: exit %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	status, _, stderr = invoke(t, "enqueue", "--config", good, "--appid", appA, "--wait", "50ms", "73_c")
	if status != exitFailed || !strings.Contains(stderr, "not all cloudIDs finished within 50ms") {
		t.Errorf("enqueue --wait without a worker: exit %d, stderr %q", status, stderr)
	}
	status, stdout, stderr = invoke(t, "result", "--config", good, "--appid", appA, "73_a", "73_unknown")
	if status != exitFailed || stdout != "" || !strings.Contains(stderr, "unknown cloudIDs: 2 of 2") {
		t.Errorf("result: exit %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

// If the task of a pending record no longer exists, a lookup after the lifetime makes the record
// final.
func TestResult_TaskIsMissing(t *testing.T) {
	srv := redistest.Start(t)
	good := goodConfig(t, srv.Addr)
	if _, err := store.NewRedis(srv.Client(t), time.Hour).Claim(t.Context(), store.Claim{
		AppID: appA, TaskID: "gone", Records: []store.Record{{
			AppID: appA, CloudID: "73_gone", Status: store.Pending, AcceptedAt: store.At(time.Now().Add(-30 * time.Minute)),
		}},
	}); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := invoke(t, "result", "--config", good, "--appid", appA, "73_gone")
	if status != exitDone || !strings.Contains(stdout, `"status":"expired"`) || !strings.Contains(stdout, "its task is gone from the queue") {
		t.Errorf("result: exit %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

func TestDemo_JSON(t *testing.T) {
	status, stdout, stderr := invoke(t, "demo", "--ids", "60", "--users", "20", "--faults", "busy=0.1", "--json")
	var report map[string]float64
	if err := json.Unmarshal([]byte(stdout), &report); status != exitDone || err != nil {
		t.Fatalf("exit %d, stdout %q: %v; stderr %q", status, stdout, err, stderr)
	}
	for _, key := range []string{
		"accepted", "resolved", "failed", "expired", "wrong", "requests", "cloudids_per_request", "retries", "p50_ms", "p99_ms", "seconds",
	} {
		if _, ok := report[key]; !ok {
			t.Errorf("the report has no %q: %s", key, stdout)
		}
	}
	if report["accepted"] != 60 || report["resolved"] != 60 || report["wrong"] != 0 {
		t.Errorf("report = %s", stdout)
	}
}

func TestDemo_Table(t *testing.T) {
	status, stdout, _ := invoke(t, "demo", "--ids", "20", "--users", "5", "--faults", "")
	if status != exitDone {
		t.Fatalf("exit %d", status)
	}
	for _, want := range []string{"20 cloudIDs of 5 users", "resolved", "every record matches the simulator"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the table does not contain %q:\n%s", want, stdout)
		}
	}
}

func TestConfigCommands(t *testing.T) {
	good := goodConfig(t, "127.0.0.1:1")
	if status, stdout, _ := invoke(t, "config", "print", "--config", good); status != exitDone || !strings.Contains(stdout, "result_ttl: 24h") {
		t.Errorf("print: exit %d, %s", status, stdout)
	}
	if status, _, stderr := invoke(t, "config", "check", "--config", good); status != exitUsage || !strings.Contains(stderr, "NOT_SET") {
		t.Errorf("check: exit %d, %s", status, stderr)
	}
	if status, stdout, _ := invoke(t, "config", "schema"); status != exitDone || !json.Valid([]byte(stdout)) {
		t.Errorf("schema: exit %d, %s", status, stdout)
	}
	if status, stdout, _ := invoke(t, "config", "example"); status != exitDone || stdout != string(config.Example()) {
		t.Errorf("example: exit %d, %s", status, stdout)
	}
}

// config check also finds problems of secrets that only the program can detect, with their
// lines, along with all others.
func TestConfigCheck_Secrets(t *testing.T) {
	path := writeConfig(t, `store:
  driver: postgres
  dsn: garbage
  keyset: no keyset
  result_ttl: 1s
apps: [{appid: wx1, token: {mode: static, access_token: t}}]
webhooks:
  - name: orders
    url: https://example.com/hook
    secrets: [whsec_x, env:NOT_SET]
    client_cert: c
    client_key: k
`)
	status, stdout, stderr := invoke(t, "config", "check", "--config", path)
	if status != exitUsage || stdout != "" {
		t.Errorf("exit %d with %q on stdout, want 2 and no output", status, stdout)
	}
	for _, want := range []string{
		":3: store.dsn: not a PostgreSQL connection string, such as postgres://host:5432/database with USER:PASSWORD@", ":4: store.keyset: ", ":5: store.result_ttl: ",
		":10: webhooks[0].secrets[0]: whsec_ must be followed by", ":10: webhooks[0].secrets[1]: the variable NOT_SET is not set",
		":11: webhooks[0].client_cert: ",
	} {
		if !strings.Contains(stderr, path+want) {
			t.Errorf("stderr does not contain %q:\n%s", want, stderr)
		}
	}
	for _, args := range [][]string{{"worker"}, {"result", "--appid", "wx1", "73_x"}} {
		keyset := writeConfig(t, "store: {keyset: no keyset}\napps: [{appid: wx1, token: {mode: static, access_token: t}}]\n"+
			"redis: {url: 'redis://"+redistest.Start(t).Addr+"/0'}\n")
		status, _, stderr := invoke(t, append(args, "--config", keyset)...)
		if status != exitUsage || !strings.HasPrefix(stderr, keyset+":1: store.keyset: ") {
			t.Errorf("%s: exit %d, %s", args[0], status, stderr)
		}
	}
}

// The help of every command has an example.
func TestHelp_HasAnExample(t *testing.T) {
	var explain func(cmd *cobra.Command)
	explain = func(cmd *cobra.Command) {
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		status, stdout, stderr := invoke(t, args...)
		if status != exitDone || !strings.Contains(stdout, "Examples:\n") {
			t.Errorf("%v: exit %d, %s%s", args, status, stdout, stderr)
		}
		for _, sub := range cmd.Commands() {
			explain(sub)
		}
	}
	explain(newRoot(streams{lookupEnv: func(string) (string, bool) { return "", false }}))
	if status, stdout, _ := invoke(t, "help", "keys", "new"); status != exitDone || !strings.Contains(stdout, "cloudidq keys new") {
		t.Errorf("help keys new: exit %d, %s", status, stdout)
	}
	if status, stdout, _ := invoke(t, "version"); status != exitDone || !strings.HasPrefix(stdout, "cloudidq ") {
		t.Errorf("version: exit %d, %s", status, stdout)
	}
	if status, stdout, _ := invoke(t, "completion", "bash"); status != exitDone || !strings.Contains(stdout, "cloudidq") {
		t.Errorf("completion: exit %d", status)
	}
}

func TestApps_ListAndResume(t *testing.T) {
	srv := redistest.Start(t)
	good := goodConfig(t, srv.Addr)
	pauses := coord.NewPauses(srv.Client(t))
	if status, stdout, _ := invoke(t, "apps", "list", "--config", good); status != exitDone || !strings.Contains(stdout, "running") {
		t.Errorf("list: exit %d, %s", status, stdout)
	}
	until := func(int) time.Time { return time.Now().Add(time.Hour) }
	if _, err := pauses.Set(t.Context(), appA, 45009, "quota", until); err != nil {
		t.Fatal(err)
	}
	status, stdout, _ := invoke(t, "apps", "list", "--config", good, "--json")
	var state struct {
		AppID, State string
		Pause        coord.Pause
	}
	if err := json.Unmarshal([]byte(stdout), &state); err != nil || status != exitDone {
		t.Fatalf("list --json: exit %d, %q: %v", status, stdout, err)
	}
	if state.AppID != appA || state.State != "paused" || state.Pause.Code != 45009 || state.Pause.Times != 1 {
		t.Errorf("list --json: %s", stdout)
	}
	if status, stdout, _ := invoke(t, "apps", "list", "--config", good); status != exitDone || !strings.Contains(stdout, "45009") {
		t.Errorf("list: exit %d, %s", status, stdout)
	}
	for _, want := range []string{" is resumed\n", " was not paused\n"} {
		if status, _, stderr := invoke(t, "apps", "resume", "--config", good, appA); status != exitDone || stderr != appA+want {
			t.Errorf("resume: exit %d, %q, want %q", status, stderr, want)
		}
	}
	const mistyped = "wx9 was not paused, and is not among the apps of the configuration\n"
	if status, _, stderr := invoke(t, "apps", "resume", "--config", good, "wx9"); status != exitDone || stderr != mistyped {
		t.Errorf("resume: exit %d, %q, want %q", status, stderr, mistyped)
	}
}
