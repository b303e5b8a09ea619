package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
)

const (
	modeIDs   = 300
	component = "wxcomponent00000001"
)

// In every token mode, two workers in separate processes resolve 300 cloudIDs. They request at
// most the allowed number of tokens per token lifetime.
func TestModes_ResolveWithTwoWorkers(t *testing.T) {
	t.Parallel()
	tokenFile := filepath.Join(t.TempDir(), "cloudbase_access_token")
	for mode, tt := range map[string]struct {
		token   string   // token of the app in the configuration
		sim     []string // flags of the simulator
		prepare func(*testing.T, *site)
		calls   int64 // maximum number of token requests
	}{
		"stable": {token: "{mode: stable, secret: env:SECRET_A}", calls: 2},
		"legacy": {token: "{mode: legacy, secret: env:SECRET_A}", calls: 2},
		"static": {token: "{mode: static, access_token: env:TOKEN_A}", prepare: func(t *testing.T, s *site) {
			s.env = append(s.env, "TOKEN_A="+s.twin(t).StaticToken(appA))
		}},
		"remote": {token: `{mode: remote, url: "%s/sim/remote_token?appid=` + appA + `", header: env:HEADER_A}`, calls: 2,
			prepare: func(_ *testing.T, s *site) { s.env = append(s.env, "HEADER_A="+wechattest.RemoteHeader) }},
		"sidecar": {token: "{mode: sidecar}", sim: []string{"--sidecar", appA}},
		"sidecar_from": {token: "{mode: sidecar, from_appid: " + appA + "}",
			sim: []string{"--sidecar", appB, "--sidecar-after", "1s"}},
		"cloudbase_file": {token: "{mode: cloudbase_file, path: " + tokenFile + "}", prepare: func(t *testing.T, s *site) {
			var answer map[string]string
			s.get(t, "/sim/cloudbase_token?appid="+appA, &answer)
			if err := os.WriteFile(tokenFile, []byte(answer["cloudbase_access_token"]+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		// Two calls for the platform's own token, and two for the app's.
		"component": {token: "{mode: component, component: " + component + ", refresh_token: env:REFRESH_A}",
			sim: []string{"--component", component}, calls: 4, prepare: func(t *testing.T, s *site) {
				var answer map[string]string
				s.post(t, "/sim/authorize?component="+component+"&appid="+appA, "", &answer)
				s.env = append(s.env, "REFRESH_A="+answer["refresh_token"])
				s.api(t)
				s.push(t, "ticket", "")
			}},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, wechattest.Config{Seed: 8, Faults: wechattest.Faults{"busy": 0.05, "missing": 0.05, "foreign": 0.05}}, tt.sim...)
			s.configureApp(t, strings.ReplaceAll(tt.token, "%s", s.url))
			if tt.prepare != nil {
				tt.prepare(t, s)
			}
			s.wantModeWorks(t, tt.calls)
		})
	}
}

// wantModeWorks makes two workers resolve the cloudIDs of appA and compares everything with the
// simulator. The first worker resolves a third of them alone. The second worker resolves another
// third while the first is stopped. Both resolve the rest.
func (s *site) wantModeWorks(t *testing.T, tokenCalls int64) {
	t.Helper()
	twin := s.twin(t)
	taps := make([]wechattest.Tap, modeIDs)
	for i := range taps {
		taps[i] = twin.CloudID(appA, i/2, i%2, time.Now())
	}
	workers := []*process{s.worker(t)}
	signal := func(sig syscall.Signal) {
		t.Helper()
		if err := workers[0].cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	for part := range 3 {
		switch part {
		case 1:
			workers = append(workers, s.worker(t))
			signal(syscall.SIGSTOP)
		case 2:
			signal(syscall.SIGCONT)
		}
		some := taps[part*modeIDs/3 : (part+1)*modeIDs/3]
		s.enqueue(t, some)
		waitFor(t, "a third of the cloudIDs to finish", func() bool { _, finished := s.records(t, some); return finished == len(some) })
		waitFor(t, "the queue to be empty", func() bool {
			info, err := asynq.NewInspectorFromRedisClient(s.redis.Client(t)).GetQueueInfo(tasks.QueueEvents)
			return err == nil && info.Active+info.Pending+info.Retry == 0
		})
	}
	var records []store.Record
	waitFor(t, "all cloudIDs to finish", func() bool {
		var finished int
		records, finished = s.records(t, taps)
		return finished == len(taps)
	})
	checkTruth(t, twin, taps, records)
	stats := s.stats(t)
	if stats.Violations != (wechattest.Violations{}) {
		t.Errorf("the simulator saw %+v, want no violations", stats.Violations)
	}
	if stats.TokenCalls > tokenCalls {
		t.Errorf("%d token calls, want at most %d", stats.TokenCalls, tokenCalls)
	}
	t.Logf("%d cloudIDs, %d requests, %d token calls", len(taps), stats.Requests, stats.TokenCalls)
	for _, w := range workers {
		if w.term(t); !strings.Contains(w.err.String(), `"resolved":`) {
			t.Error("one worker has resolved nothing")
		}
	}
	s.checkPrivate(t, taps)
}

// A merchant who authorises the platform is served without being in the configuration. After the
// merchant has withdrawn the authorization, the app is no longer served.
func TestComponent_EventsStartAndStopApp(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 9}, "--component", component)
	s.configureApp(t, "{mode: component, component: "+component+"}")
	s.write(t, strings.Replace(s.text(t), "appid: "+appA, "appid: "+appB, 1)) // appA is not in the configuration
	s.api(t)
	s.worker(t)
	s.worker(t)
	twin := s.twin(t)

	early := s.enqueueMany(t, twin, 10, 10)
	s.push(t, "ticket", "")
	s.push(t, "authorized", appA)
	waitFor(t, "the app to be served", func() bool { _, finished := s.records(t, early); return finished == 10 })

	s.push(t, "unauthorized", appA)
	var answer wechattest.AppStats
	s.get(t, "/sim/stats?appid="+appA, &answer)
	before := answer.Requests
	waitFor(t, "the pause", func() bool {
		p := s.start(t, "apps", "list", "--config", s.config, "--json")
		return p.status(t) == 0 && strings.Contains(p.out.String(), `"code":61003`)
	})
	late := s.enqueueMore(t, twin, 10, 1000)
	waitFor(t, "the tasks to be requeued", func() bool {
		n, err := s.redis.Client(t).ZCard(t.Context(), "asynq:{events}:retry").Result()
		return err == nil && n > 0
	})
	if s.get(t, "/sim/stats?appid="+appA, &answer); answer.Requests != before {
		t.Errorf("%d requests after the merchant withdrew the authorization",
			answer.Requests-before)
	}

	s.push(t, "authorized", appA)
	waitFor(t, "the app to be served again", func() bool { _, finished := s.records(t, late); return finished == 10 })
	records, _ := s.records(t, late)
	checkTruth(t, twin, late, records)
	s.checkPrivate(t, append(early, late...))
}

// For 5 seconds, and until 500 calls have been rejected, half of all calls get 40001 although the
// token is valid.
func TestTokenStorm_LimitsFetches(t *testing.T) {
	s := newSite(t, wechattest.Config{Seed: 10, Latency: 5 * time.Millisecond})
	twin := s.twin(t)
	s.worker(t)
	s.worker(t)
	s.post(t, "/sim/faults", `{"faults":{"token":0.5}}`, nil)
	begun := time.Now()
	var taps []wechattest.Tap
	for n := 0; time.Since(begun) < 5*time.Second || s.stats(t).Faults["token"] < 500; n++ {
		taps = append(taps, s.enqueueMore(t, twin, 100, 1000*n)...)
		time.Sleep(50 * time.Millisecond) // paces the load, it is not a wait
	}
	s.post(t, "/sim/faults", `{"faults":{}}`, nil)
	stormed := time.Since(begun)
	var records []store.Record
	waitFor(t, "all cloudIDs to finish", func() bool {
		var finished int
		records, finished = s.records(t, taps)
		return finished == len(taps)
	})
	checkTruth(t, twin, taps, records)
	stats := s.stats(t)
	// On a slow machine the storm lasts longer, with one fetch per ten seconds.
	if most := 10 + int64(stormed/(10*time.Second)); stats.TokenCalls > most {
		t.Errorf("%d token calls after %d rejections in %v, want at most %d", stats.TokenCalls,
			stats.Faults["token"], stormed, most)
	}
	t.Logf("%d cloudIDs, %d requests, %d of them rejected, %d token calls", len(taps),
		stats.Requests, stats.Faults["token"], stats.TokenCalls)
	s.checkPrivate(t, taps)
}

// One of two busy apps reaches its daily quota while two workers run. Only its calls in flight
// complete, all of its tasks are requeued, and no worker calls WeChat for it. The other app is
// served as before.
func TestQuota_PausesOneAppOnly(t *testing.T) {
	t.Parallel()
	const n, tasksOf = 400, 20 // cloudIDs of each app per load, and of each task
	s := newSite(t, wechattest.Config{Seed: 12, Latency: 20 * time.Millisecond})
	twin := s.twin(t)
	s.worker(t)
	s.worker(t)
	stats := func(app string) (a wechattest.AppStats) { s.get(t, "/sim/stats?appid="+app, &a); return a }
	user := 0
	// load enqueues the same number of cloudIDs for both apps, in alternating tasks. It returns
	// when all of the other app's cloudIDs are final.
	load := func() {
		t.Helper()
		taps := map[string][]wechattest.Tap{}
		for range n / tasksOf {
			for _, app := range []string{appA, appB} {
				some := make([]wechattest.Tap, tasksOf)
				for i := range some {
					some[i] = twin.CloudID(app, user+i, 0, time.Now())
				}
				s.enqueue(t, some)
				taps[app] = append(taps[app], some...)
			}
			user += tasksOf
		}
		waitFor(t, "the other app's cloudIDs to finish", func() bool { _, finished := s.records(t, taps[appB]); return finished == n })
		records, _ := s.records(t, taps[appB])
		checkTruth(t, twin, taps[appB], records)
	}
	requeued := func(want int64) func() bool {
		return func() bool {
			waiting, err := s.redis.Client(t).ZCard(t.Context(), "asynq:{events}:retry").Result()
			return err == nil && waiting == want
		}
	}
	load() // both apps are busy
	waitFor(t, "the queue to be empty", func() bool {
		info, err := asynq.NewInspectorFromRedisClient(s.redis.Client(t)).GetQueueInfo(tasks.QueueEvents)
		return err == nil && info.Size == 0
	})

	s.post(t, "/sim/faults", `{"appid":"`+appA+`","faults":{"quota":1}}`, nil)
	before := stats(appA).Requests
	load()
	waitFor(t, "the tasks of the app to be requeued", requeued(n/tasksOf))
	stopped := stats(appA).Requests
	if calls := stopped - before; calls == 0 || calls > 2*64*2 {
		t.Errorf("%d calls for the app after its first 45009, want about the requests in flight of two workers", calls)
	}
	load()
	waitFor(t, "more of its tasks to be requeued", requeued(2*n/tasksOf))
	if late := stats(appA).Requests - stopped; late != 0 {
		t.Errorf("%d calls for the paused app while %d cloudIDs of each app were enqueued", late, n)
	}
	list := s.start(t, "apps", "list", "--config", s.config, "--json")
	if list.status(t); !strings.Contains(list.out.String(), `"code":45009,"reason":"quota"`) {
		t.Errorf("apps list = %s, want the pause", list.out.String())
	}
}

func TestAppsQuota(t *testing.T) {
	s := newSite(t, wechattest.Config{Seed: 11}, "--daily-limit", "1000")
	p := s.start(t, "apps", "quota", "--config", s.config, "--json", appA)
	const want = `{"appid":"` + appA + `","daily_limit":1000,"used":0,"remain":1000,"call_count":5000,"refresh_second":60}` + "\n"
	if status := p.status(t); status != 0 || p.out.String() != want {
		t.Errorf("apps quota = %d %s%s, want %s", status, p.out.String(), p.err.String(), want)
	}
	table := s.start(t, "apps", "quota", "--config", s.config)
	if status := table.status(t); status != 0 || strings.Count(table.out.String(), "1000") < 4 {
		t.Errorf("apps quota = %d %s, want both apps", status, table.out.String())
	}
	if p := s.start(t, "apps", "quota", "--config", s.config, "wxother"); p.status(t) != 2 {
		t.Errorf("apps quota of an unknown app: exit %d, want 2", p.status(t))
	}
	s.wechat.kill()
	down := s.start(t, "apps", "quota", "--config", s.config, appB)
	if status := down.status(t); status != 1 || !strings.Contains(down.out.String(), "connection refused") {
		t.Errorf("apps quota without WeChat = %d %s, want 1 and the reason", status, down.out.String())
	}
}

// api starts an API process and stores its address.
func (s *site) api(t *testing.T) *process {
	t.Helper()
	p := s.start(t, "api", "--config", s.config)
	s.outputs = append(s.outputs, p)
	waitFor(t, "the API", func() bool { return strings.Contains(p.err.String(), "the API is up") })
	for line := range strings.Lines(p.err.String()) {
		var entry struct{ Addr string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Addr != "" {
			s.apiURL = "http://" + entry.Addr
		}
	}
	return p
}

// push makes the simulator push an event to the API, which must accept it.
func (s *site) push(t *testing.T, event, appID string) {
	t.Helper()
	query := url.Values{"component": {component}, "event": {event}, "appid": {appID},
		"url": {s.apiURL + "/v1/wechat/components/" + component + "/events"}}
	s.post(t, "/sim/push?"+query.Encode(), "", nil)
}

// configureApp writes a configuration with only appA, and the component that a mode may need.
func (s *site) configureApp(t *testing.T, token string) {
	t.Helper()
	key := sha256.Sum256([]byte("aes-" + component))
	aesKey := base64.RawStdEncoding.EncodeToString(key[:])
	s.env = append(s.env, "COMPONENT_AES_KEY="+aesKey)
	s.planted = append(s.planted, aesKey, "component-secret-", "verify-"+component)
	s.write(t, fmt.Sprintf(`redis: {url: "redis://%s/0"}
store: {keyset: "env:KEYSET_A"}
wechat: {base_url: %q}
apps:
  - {appid: %s, token: %s}
components:
  - {appid: %s, secret: component-secret-%s, verify_token: verify-%s, aes_key: "env:COMPONENT_AES_KEY"}
api: {listen: "127.0.0.1:0"}
log: {level: debug}
`, s.redis.Addr, cmp.Or(s.wechatURL, s.url), appA, token, component, component, component))
}

func (s *site) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *site) text(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *site) get(t *testing.T, path string, answer any) {
	t.Helper()
	s.call(t, "GET", path, "", answer)
}

func (s *site) post(t *testing.T, path, body string, answer any) {
	t.Helper()
	s.call(t, "POST", path, body, answer)
}

// call sends a request to the simulator, which must answer 200.
func (s *site) call(t *testing.T, method, path, body string, answer any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %s", path, resp.Status)
	}
	if answer == nil {
		return
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		t.Fatal(err)
	}
}
