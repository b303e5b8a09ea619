package wechattest_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/wechat/wechattest"
)

func TestParseFaults(t *testing.T) {
	tests := map[string]struct {
		spec string
		want wechattest.Faults
		errs []string // all of them in one error
	}{
		"Empty":       {spec: " ", want: wechattest.Faults{}},
		"Two":         {spec: "missing=0.02, busy = 0.1", want: wechattest.Faults{"busy": 0.1, "missing": 0.02}},
		"SumAboveOne": {spec: "busy=1,reset=1", want: wechattest.Faults{"busy": 1, "reset": 1}},
		"AllWrong": {
			spec: "nonsense=0.1,busy,slow=2,lost=x,reset=0,reset=-1,html=NaN",
			errs: []string{`unknown fault "nonsense" (known: reset, http500,`, `"busy" is not of the form`, `"slow": 2 is not`,
				`"x" is not a number`, `"reset" is given twice`, `"reset": -1 is not`, `"html": NaN is not`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := wechattest.ParseFaults(tt.spec)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseFaults(%q) (-want +got):\n%s", tt.spec, diff)
			}
			for _, want := range tt.errs {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("ParseFaults(%q): error %q does not contain %q", tt.spec, err, want)
				}
			}
			if tt.errs == nil && err != nil {
				t.Errorf("ParseFaults(%q): %v", tt.spec, err)
			}
		})
	}
}

func FuzzParseFaults(f *testing.F) {
	for _, seed := range []string{"", "busy=0.1,missing=0.02", "lost=1e-300", "slow=0x1p-2", "busy=", "=1", ",", "busy=-0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		faults, err := wechattest.ParseFaults(spec)
		if err != nil {
			return
		}
		for name, p := range faults {
			if math.IsNaN(p) || p < 0 || p > 1 {
				t.Errorf("ParseFaults(%q) accepted %s=%v", spec, name, p)
			}
		}
		again, err := wechattest.ParseFaults(faults.String())
		if err != nil || !cmp.Equal(faults, again) {
			t.Errorf("ParseFaults(%q) = %v, but its String %q is parsed as %v, %v", spec, faults, faults,
				again, err)
		}
	})
}

func TestFaultNames_Described(t *testing.T) {
	for i, f := range wechattest.FaultNames() {
		if f.Name == "" || f.Help == "" || f.Per != "request" && f.Per != "item" && f.Per != "cloudid" {
			t.Errorf("fault %d has no description: %+v", i, f)
		}
		if _, err := wechattest.New(wechattest.Config{Faults: wechattest.Faults{f.Name: 1}}); err != nil {
			t.Errorf("New with fault %s: %v", f.Name, err)
		}
	}
}

func TestNew_ReportsAllConfigErrors(t *testing.T) {
	_, err := wechattest.New(wechattest.Config{
		Users: -1, Latency: -1, Lifetime: -1, TokenTTL: -1, MaxBatch: -1, Faults: wechattest.Faults{"x": 0.5, "busy": 2},
	})
	for _, want := range []string{"Users", "Latency", "Lifetime", "TokenTTL", "MaxBatch", `"x"`, `"busy"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: error %q does not contain %s", err, want)
		}
	}
}

// Each fault of a request or an item, with probability 1, over a real connection.
func TestFaults_Transient(t *testing.T) {
	topLevel := func(code int, msg string) func(*testing.T, answer) {
		return func(t *testing.T, a answer) {
			r, _ := read(t, a)
			if r.ErrCode != code || !strings.HasPrefix(r.ErrMsg, msg+" rid: 6") || a.status != http.StatusOK || len(r.List) != 0 {
				t.Errorf("answer %+v, want errcode %d, %s", a, code, msg)
			}
		}
	}
	page := func(status int) func(*testing.T, answer) {
		return func(t *testing.T, a answer) {
			if a.status != status || !strings.HasPrefix(a.form, "text/html") || !strings.Contains(a.body, "</html>") {
				t.Errorf("answer %+v, want HTML with status %d", a, status)
			}
		}
	}
	const answered, lost = 1, 1
	tests := map[string]struct {
		check          func(*testing.T, answer)
		answered, lost int
	}{
		"busy":  {check: topLevel(-1, "system error")},
		"quota": {check: topLevel(45009, "reach max api daily quota limit")},
		"rate":  {check: topLevel(45011, "api minute-quota reach limit, must slower, retry next minute")},
		"token": {check: topLevel(40001, "invalid credential, access_token is invalid or not latest, could get access_token "+
			"by getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r")},
		"unauthorized": {check: topLevel(48001, "api unauthorized")},
		"notpermitted": {check: topLevel(85105, "not authorized")},
		"notlisted":    {check: topLevel(85107, "URL is not in the white list")},
		"notready":     {check: topLevel(85113, "cloudbase_token is not ready, try in minutes")},
		"gateway":      {check: page(http.StatusBadGateway)},
		"http500":      {check: page(http.StatusInternalServerError)},
		"html":         {check: page(http.StatusOK)},
		"reset": {check: func(t *testing.T, a answer) {
			if a.err == nil || !strings.Contains(a.err.Error(), "connection reset") {
				t.Errorf("answer %+v, want a reset connection", a)
			}
		}},
		"lost": {lost: lost, check: func(t *testing.T, a answer) {
			if a.err == nil || !strings.Contains(a.err.Error(), io.EOF.Error()) {
				t.Errorf("answer %+v, want io.EOF", a)
			}
		}},
		"truncated": {lost: lost, check: func(t *testing.T, a answer) {
			if a.err != nil || !strings.HasPrefix(a.body, `{"errcode":0,`) || strings.HasSuffix(a.body, "]}") {
				t.Errorf("answer %+v, want half of an answer", a)
			}
		}},
		"slow": {answered: answered, check: func(t *testing.T, a answer) {
			if r, _ := read(t, a); len(r.List) != 1 {
				t.Errorf("answer %+v, want one item", a)
			}
		}},
		"missing": {check: func(t *testing.T, a answer) {
			if want := `{"errcode":0,"errmsg":"ok","data_list":[]}`; a.body != want {
				t.Errorf("answer %s, want %s", a.body, want)
			}
		}},
		"empty": {check: func(t *testing.T, a answer) {
			if !strings.HasSuffix(a.body, `","json":""}]}`) {
				t.Errorf("answer %s, want an entry with empty json", a.body)
			}
		}},
		"itembusy": {check: func(t *testing.T, a answer) {
			if !strings.Contains(a.body, `\", \"errCode\":-601001, \"errMsg\":\"system error\" }"}]}`) {
				t.Errorf("answer %s, want item code -601001", a.body)
			}
		}},
	}
	for _, info := range wechattest.FaultNames() {
		tt, found := tests[info.Name]
		if !found {
			if info.Per != "cloudid" {
				t.Errorf("fault %s has no test", info.Name)
			}
			continue
		}
		t.Run(info.Name, func(t *testing.T) {
			env := newEnv(t, wechattest.Config{Latency: 3 * time.Millisecond,
				Faults: wechattest.Faults{info.Name: 1}})
			tap := env.CloudID(appA, 1, 1, start)
			began := time.Now()
			tt.check(t, env.exchange(t, tap.OpenID, tap.CloudID))
			if took := time.Since(began); info.Name == "slow" && took < 30*time.Millisecond {
				t.Errorf("answer after %v, want at least ten times the latency", took)
			}
			want := wechattest.Entry{Sent: 1, Answered: tt.answered, Lost: tt.lost, First: start, Last: start}
			if diff := cmp.Diff(want, env.Entry(tap.CloudID)); diff != "" {
				t.Errorf("ledger (-want +got):\n%s", diff)
			}
			if got := env.Stats().Faults; !cmp.Equal(got, map[string]int64{info.Name: 1}) {
				t.Errorf("Stats.Faults = %v, want only this fault, once", got)
			}
			if got := env.Truth(appA, tap.OpenID, tap.CloudID).Status; got != wechattest.StatusResolved {
				t.Errorf("truth is %s, want resolved, because the fault is transient", got)
			}
		})
	}
}

func TestFaults_OfCloudID(t *testing.T) {
	tests := map[string]struct {
		status   string
		top, own int // codes
	}{
		"expired":   {wechattest.StatusExpired, 0, -601006},
		"foreign":   {wechattest.StatusFailed, 0, -601007},
		"invalid":   {wechattest.StatusFailed, 0, -601005},
		"nophone":   {wechattest.StatusFailed, 0, -601009},
		"poison":    {wechattest.StatusFailed, 40097, 0},
		"watermark": {wechattest.StatusFailed, 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t, wechattest.Config{Seed: 3, Faults: wechattest.Faults{name: 0.5}})
			struck := 0
			for n := range 20 {
				tap := env.CloudID(appA, 1, n, start)
				truth := env.Truth(appA, tap.OpenID, tap.CloudID)
				r, entries := read(t, env.exchange(t, tap.OpenID, tap.CloudID))
				e := entries[tap.CloudID]
				if truth.Status == wechattest.StatusResolved {
					if string(e.Data) != string(truth.Data) {
						t.Errorf("data %s, want %s", e.Data, truth.Data)
					}
					continue
				}
				struck++
				if truth.Status != tt.status || truth.Code != tt.top+tt.own || r.ErrCode != tt.top || e.ErrCode != tt.own {
					t.Errorf("truth %+v, answer %+v %+v, want %+v", truth, r, e, tt)
				}
				if name == "watermark" && !strings.Contains(string(e.Data), `"appid":"wxffffffffffffffff"`) {
					t.Errorf("data %s, want the watermark of another app", e.Data)
				}
			}
			if struck < 3 || struck > 17 {
				t.Errorf("%d of 20 struck, want about half", struck)
			}
			if got := env.Stats().Faults[name]; got != int64(struck) {
				t.Errorf("Stats.Faults counts %d, want %d", got, struck)
			}
		})
	}
}

// A poisoned cloudID makes its whole batch fail. Without it, the other cloudIDs succeed.
func TestPoison_FailsItsBatch(t *testing.T) {
	env := newEnv(t, wechattest.Config{Faults: wechattest.Faults{"poison": 0.3}})
	var good, all []string
	for n := range 10 {
		tap := env.CloudID(appA, 1, n, start)
		all = append(all, tap.CloudID)
		if env.Truth(appA, tap.OpenID, tap.CloudID).Status == wechattest.StatusResolved {
			good = append(good, tap.CloudID)
		}
	}
	if len(good) == 0 || len(good) == len(all) {
		t.Fatalf("%d of %d cloudIDs are not poisoned, want some", len(good), len(all))
	}
	if r, _ := read(t, env.exchange(t, "", all...)); r.ErrCode != 40097 {
		t.Errorf("errcode %d with poison, want 40097", r.ErrCode)
	}
	if r, entries := read(t, env.exchange(t, "", good...)); r.ErrCode != 0 ||
		len(entries) != len(good) {
		t.Errorf("errcode %d and %d entries without poison, want 0 and %d", r.ErrCode, len(entries), len(good))
	}
}

// The same seed leads to the same faults in any order of requests. Another seed leads to other
// faults.
func TestFaults_Deterministic(t *testing.T) {
	run := func(seed uint64, backwards bool) string {
		env := newEnv(t, wechattest.Config{Seed: seed, Faults: wechattest.Faults{"busy": 0.4,
			"empty": 0.4, "expired": 0.3}})
		out := make([]string, 20)
		for i := range 20 {
			if backwards {
				i = 19 - i
			}
			tap := env.CloudID(appA, i, 0, start)
			for range 3 {
				r, entries := read(t, env.exchange(t, tap.OpenID, tap.CloudID))
				out[i] += fmt.Sprint(r.ErrCode, entries[tap.CloudID].ErrCode, len(entries[tap.CloudID].Data), " ")
			}
		}
		return strings.Join(out, "\n")
	}
	first := run(1, false)
	if diff := cmp.Diff(first, run(1, true)); diff != "" {
		t.Errorf("another order of requests changes the faults:\n%s", diff)
	}
	if first == run(2, false) {
		t.Error("seeds 1 and 2 lead to the same faults")
	}
}

// A transient fault strikes with about the configured probability, independently of other faults.
func TestFaults_Frequency(t *testing.T) {
	for _, noLedger := range []bool{false, true} {
		env := newEnv(t, wechattest.Config{NoLedger: noLedger, Faults: wechattest.Faults{"missing": 0.3,
			"slow": 0.5}})
		tap := env.CloudID(appA, 1, 1, start)
		for range 1000 {
			env.exchange(t, tap.OpenID, tap.CloudID)
		}
		got := env.Stats().Faults
		if got["missing"] < 240 || got["missing"] > 360 || got["slow"] < 430 || got["slow"] > 570 {
			t.Errorf("NoLedger %v: faults %v of 1000, want about 300 missing and 500 slow", noLedger, got)
		}
	}
}
