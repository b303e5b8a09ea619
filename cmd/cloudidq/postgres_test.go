package main

import (
	"encoding/json"
	"strings"
	"testing"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/wechat/wechattest"
)

// With driver postgres, two workers that start at the same time create the schema and resolve.
// result and erase find the records in PostgreSQL, and Redis has none.
func TestPostgres_WorkersResolve_ResultAndErase(t *testing.T) {
	t.Parallel()
	const n = 500
	s := newSite(t, wechattest.Config{Seed: 21, Faults: wechattest.Faults{"busy": 0.05, "missing": 0.05, "foreign": 0.05}})
	s.dsn = pgtest.Database(t)
	s.planted = append(s.planted, s.dsn)
	s.configure(t, "")
	twin := s.twin(t)
	taps := s.enqueueMany(t, twin, n, 100)
	workers := []*process{s.worker(t), s.worker(t)}
	waitFor(t, "all cloudIDs to finish", func() bool { _, finished := s.records(t, taps); return finished == n })
	records, _ := s.records(t, taps)
	checkTruth(t, twin, taps, records)
	if keys := s.redis.Client(t).Keys(t.Context(), "cloudidq:{*").Val(); len(keys) > 0 {
		for _, key := range keys {
			if len(key) == 42 { // the length of a record's key, see store/keys.go
				t.Errorf("Redis contains the record %s", key)
			}
		}
	}

	id := firstResolved(t, twin, taps)
	found := s.start(t, "result", "--config", s.config, "--appid", appA, id)
	if status := found.status(t); status != 0 || !strings.Contains(found.out.String(), id) {
		t.Errorf("result: exit %d, %s%s", status, found.out.String(), found.err.String())
	}
	erase := s.start(t, "erase", "--config", s.config, "--appid", appA, "--openid", taps[0].OpenID)
	var said struct{ Erased int }
	if status := erase.status(t); status != 0 {
		t.Fatalf("erase: exit %d, %s", status, erase.err.String())
	}
	if err := json.Unmarshal(erase.out.Bytes(), &said); err != nil || said.Erased != n/100 {
		t.Errorf("erase = %s, %v, want %d records", erase.out.String(), err, n/100)
	}
	for _, w := range workers {
		w.term(t)
		if code := w.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("a worker exited with %d: %s", code, w.err.String())
		}
	}
	s.checkPrivate(t, taps, erase)
}

func TestPostgres_BadDSN_UsageErrorQuotesNothing(t *testing.T) {
	s := newSite(t, wechattest.Config{Seed: 22})
	s.dsn = "mysql://planted"
	s.configure(t, "")
	p := s.start(t, "result", "--config", s.config, "--appid", appA, "73_x")
	if status := p.status(t); status != exitUsage || !strings.Contains(p.err.String(), "store.dsn") ||
		strings.Contains(p.err.String(), "planted") {
		t.Errorf("exit %d and %s, want %d and the name of the setting", status, p.err.String(),
			exitUsage)
	}
}
