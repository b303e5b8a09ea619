package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"cloudidq/internal/doctor"
	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/internal/wechat/wechattest"
)

// doctor reports every problem with its remedy, all at once.
func TestDoctor_ReportsEveryProblemWithItsRemedy(t *testing.T) {
	t.Parallel()
	careless := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	s := newSiteOn(t, careless, wechattest.Config{Seed: 31, Faults: wechattest.Faults{"unauthorized": 1}})
	s.env = append(s.env, "SECRET_A=planted-wrong-secret") // overrides the earlier value
	s.configure(t, fmt.Sprintf("webhooks: [{name: orders, url: 'http://127.0.0.1:1/planted', secrets: [%s], allow_cidrs: [127.0.0.0/8]}]\n"+
		"api: {keys: [{name: shop, secret: planted-key-that-has-expired, scopes: [read], not_after: 2020-12-31}]}\n", hookSecret))
	// appB has a token but lacks the permission.
	s.env = append(s.env, "TOKEN_B="+s.twin(t).StaticToken(appB))
	s.write(t, strings.Replace(s.text(t), "{appid: "+appB+`, token: {mode: stable, secret: "env:SECRET_A"}`,
		"{appid: "+appB+`, token: {mode: static, access_token: "env:TOKEN_B"}`, 1))

	p := s.start(t, "doctor", "--config", s.config, "--json")
	if status := p.status(t); status != 1 {
		t.Errorf("exit %d, want 1: %s", status, p.err.String())
	}
	var said struct {
		OK       bool
		Findings []doctor.Finding
	}
	if err := json.Unmarshal(p.out.Bytes(), &said); err != nil || said.OK {
		t.Fatalf("%v: %s", err, p.out.String())
	}
	for check, words := range map[string][2]string{
		"redis":           {"no append-only file", "appendonly yes"},
		"redis ":          {"maxmemory-policy is allkeys-lru", "noeviction"},
		"app " + appA:     {"errcode 40125", "correct the app's secret"},
		"app " + appB:     {"errcode 48001", "permissions in its console"},
		"webhook orders":  {"no server is listening", "webhooks[].url"},
		"api":             {"the key shop expired on 2020-12-31", "give the client a new key"},
		"queue events":    {"no worker serves it", "start cloudidq worker"},
		"queue backfill ": {"no worker serves it", "start cloudidq worker"},
	} {
		found := false
		for _, f := range said.Findings {
			if f.Check == strings.TrimSpace(check) && strings.Contains(f.Message, words[0]) && strings.Contains(f.Remedy, words[1]) {
				found = true
			}
		}
		if !found {
			t.Errorf("no finding of %s contains %q with remedy %q: %s", check, words[0], words[1],
				p.out.String())
		}
	}
	text := s.start(t, "doctor", "--config", s.config)
	if status := text.status(t); status != 1 || strings.Count(text.out.String(), "\n") != len(said.Findings) {
		t.Errorf("doctor: exit %d, want a line for each of %d findings: %s", status, len(said.Findings), text.out.String())
	}
	for _, planted := range []string{"planted", s.twin(t).StaticToken(appB), hookSecret, "cloudidq-doctor"} {
		if all := text.out.String() + text.err.String() + p.out.String(); strings.Contains(all, planted) {
			t.Errorf("the output contains %q: %s", planted, all)
		}
	}
}

func TestDoctor_NoProblems(t *testing.T) {
	t.Parallel()
	s := newSiteOn(t, redistest.Start(t, "--appendonly", "yes"), wechattest.Config{Seed: 32})
	r := newReceiver(t, nil)
	r.listen()
	s.configure(t, r.settings(""))
	s.worker(t)
	p := s.start(t, "doctor", "--config", s.config)
	if status := p.status(t); status != 0 || strings.Contains(p.out.String(), "FAIL") || strings.Contains(p.out.String(), "warn") {
		t.Errorf("exit %d: %s%s", status, p.out.String(), p.err.String())
	}
	if requests, _ := r.received(); requests != 0 {
		t.Errorf("the receiver got %d requests, want none", requests)
	}
}

func TestDoctor_EverythingIsDown(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 33})
	s.dsn = strings.Replace(pgtest.Database(t), "/test", "/no_such_", 1)
	s.configure(t, "")
	s.wechat.kill()
	s.redis.Kill()
	p := s.start(t, "doctor", "--config", s.config)
	if status := p.status(t); status != 1 {
		t.Errorf("exit %d, want 1: %s%s", status, p.out.String(), p.err.String())
	}
	for _, want := range []string{"FAIL  redis", "FAIL  queues", "FAIL  store", "FAIL  app " + appA, "FAIL  app " + appB} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("no line starts with %q: %s", want, p.out.String())
		}
	}
}
