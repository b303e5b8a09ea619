package main

import (
	"encoding/json"
	"errors"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/tasks"
)

// While two workers run, Redis holds nothing readable outside of the tasks' payloads: no data,
// token, secret or id.
func TestStores_ContainNoReadableData(t *testing.T) {
	t.Parallel()
	t.Run("Redis", func(t *testing.T) { containsNoReadableData(t, "") })
	t.Run("Postgres", func(t *testing.T) { containsNoReadableData(t, pgtest.Database(t)) })
}

func containsNoReadableData(t *testing.T, dsn string) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 13, Faults: wechattest.Faults{"foreign": 0.2}})
	wechat := s.newGate(t, 400) // each request is for at most three cloudIDs
	twin := s.twin(t)
	// The receiver is down, so the results stay in the outbox.
	s.appSettings, s.dsn = ", webhook: orders", dsn
	s.configure(t, newReceiver(t, nil).settings(""))
	alone := failingTap(t, twin)
	s.enqueue(t, []wechattest.Tap{alone}) // its task will be archived
	s.worker(t)
	s.worker(t)
	inspector := asynq.NewInspectorFromRedisClient(s.redis.Client(t))
	waitFor(t, "the archived task to be redacted", func() bool {
		archived, err := inspector.ListArchivedTasks(tasks.QueueEvents)
		return err == nil && len(archived) > 0 && strings.Contains(string(archived[0].Payload), "redacted")
	})
	taps := s.enqueueMany(t, twin, 1500, 500)
	waitFor(t, "some cloudIDs to finish", func() bool { _, finished := s.records(t, taps); return finished > 300 && wechat.blocked() > 0 })
	half := s.dump(t)
	wechat.open()
	waitFor(t, "all cloudIDs to finish", func() bool { _, finished := s.records(t, taps); return finished == len(taps) })
	for _, dump := range []string{half, s.dump(t)} {
		if len(dump) < 100*500 {
			t.Fatalf("a dump of %d bytes does not contain the records", len(dump))
		}
		if !strings.Contains(dump, ":items") {
			t.Fatal("no result waits for delivery, so this test proves nothing")
		}
		planted := []string{tokA, alone.CloudID, alone.OpenID, hookSecret, strings.TrimPrefix(hookSecret, "whsec_"), "planted-webhook", stableToken(t, twin), "phoneNumber", "stepInfoList", "watermark", "resolved", keyset().Reveal()[:40]}
		for _, tap := range taps {
			planted = append(planted, tap.CloudID, tap.OpenID)
		}
		if holdsNone(dump, planted) {
			continue
		}
		for _, p := range planted {
			if strings.Contains(dump, p) {
				t.Errorf("the dump contains %q", p)
			}
		}
	}
}

// holdsNone reports whether a text contains none of many other texts. It needs one pass over the
// text.
func holdsNone(text string, others []string) bool {
	pairs := make([]string, 0, 2*len(others))
	for _, other := range others {
		pairs = append(pairs, other, "")
	}
	return strings.NewReplacer(pairs...).Replace(text) == text
}

// stableToken returns the first token that the simulator issues for appA.
func stableToken(t *testing.T, twin *wechattest.Simulator) string {
	t.Helper()
	w := httptest.NewRecorder()
	body := `{"grant_type":"client_credential","appid":"` + appA + `","secret":"` + tokA + `"}`
	twin.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/cgi-bin/stable_token", strings.NewReader(body)))
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	return answer["access_token"].(string)
}

// failingTap returns a cloudID that WeChat rejects.
func failingTap(t *testing.T, twin *wechattest.Simulator) wechattest.Tap {
	t.Helper()
	for user := range 1000 {
		tap := twin.CloudID(appA, 5000+user, 0, time.Now())
		if twin.Truth(tap.AppID, tap.OpenID, tap.CloudID).Status == wechattest.StatusFailed {
			return tap
		}
	}
	t.Fatal("every cloudID resolves")
	return wechattest.Tap{}
}

// dump returns the content of Redis without pending tasks and asynq's list of active tasks,
// whose payloads are the producers'.
func (s *site) dump(t *testing.T) string { return s.dumpOf(t, false) }

// dumpOf returns the content of Redis, including the tasks if waiting is set.
func (s *site) dumpOf(t *testing.T, waiting bool) string {
	t.Helper()
	rdb := s.redis.Client(t)
	if err := rdb.ConfigSet(t.Context(), "rdbcompression", "no").Err(); err != nil { // DUMP also compresses
		t.Fatal(err)
	}
	var keys []string
	for it := rdb.Scan(t.Context(), 0, "*", 10_000).Iterator(); it.Next(t.Context()); {
		if waiting || !strings.HasPrefix(it.Val(), "asynq:workers:") {
			keys = append(keys, it.Val())
		}
	}
	values, states := make([]*redis.StringCmd, len(keys)), make([]*redis.StringCmd, len(keys))
	_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for i, key := range keys {
			values[i] = p.Dump(t.Context(), key)
			if strings.HasPrefix(key, "asynq:{") && strings.Contains(key, "}:t:") {
				states[i] = p.HGet(t.Context(), key, "state")
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) { // some keys have been deleted meanwhile
		t.Fatal(err)
	}
	var all strings.Builder
	for i, key := range keys {
		if waiting || states[i] == nil || states[i].Val() == "archived" {
			all.WriteString(key + " " + values[i].Val() + "\n")
		}
	}
	if s.dsn != "" {
		all.WriteString(dumpPostgres(t, s.dsn))
	}
	return all.String()
}

// dumpPostgres returns the content of cloudidq's tables, with bytes as they are.
func dumpPostgres(t *testing.T, dsn string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var all strings.Builder
	for _, query := range []string{
		"SELECT coalesce(string_agg(r::text || encode(body, 'escape'), ''), '') FROM cloudidq_records r",
		"SELECT coalesce(string_agg(r::text || encode(item, 'escape'), ''), '') FROM cloudidq_outbox r",
		"SELECT coalesce(string_agg(r::text, ''), '') FROM cloudidq_persons r",
	} {
		var text string
		if err := conn.QueryRow(t.Context(), query).Scan(&text); err != nil {
			t.Fatal(err)
		}
		all.WriteString(text)
	}
	if all.Len() < 1000 {
		t.Fatal("PostgreSQL is empty, so this test proves nothing")
	}
	return all.String()
}

// A user has records, undelivered results and queued cloudIDs, and no worker runs. After the
// user's erasure no trace of them exists, and the other users of the same tasks keep everything.
func TestErase_NoWorker_LeavesNoTrace(t *testing.T) {
	t.Parallel()
	t.Run("Redis", func(t *testing.T) { eraseWithoutAWorker(t, "") })
	t.Run("Postgres", func(t *testing.T) { eraseWithoutAWorker(t, pgtest.Database(t)) })
}

func eraseWithoutAWorker(t *testing.T, dsn string) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 15})
	twin := s.twin(t)
	s.appSettings, s.dsn = ", webhook: orders", dsn
	s.configure(t, newReceiver(t, nil).settings("")) // the receiver is down
	var stored, mine, others []wechattest.Tap
	for i := range 5 {
		stored = append(stored, twin.CloudID(appA, 1, i, time.Now()))
		mine = append(mine, twin.CloudID(appA, 1, 100+i, time.Now()))
		others = append(others, twin.CloudID(appA, 2, i, time.Now()))
	}
	w := s.worker(t)
	s.enqueue(t, stored)
	waitFor(t, "the records", func() bool { _, finished := s.records(t, stored); return finished == len(stored) })
	w.term(t)
	s.enqueue(t, mine) // a task with cloudIDs of this user only
	s.enqueueTogether(t, append(mine[:2:2], others...))
	if dump := s.dumpOf(t, true); !strings.Contains(dump, mine[0].CloudID) || !strings.Contains(dump, mine[0].OpenID) {
		t.Fatal("the dump contains no data of the user, so this test proves nothing")
	}

	p := s.start(t, "erase", "--config", s.config, "--appid", appA, "--openid", mine[0].OpenID)
	if status := p.status(t); status != 0 || p.out.String() != "{\"erased\":5}\n" {
		t.Fatalf("erase = %d %s%s, want 5 records erased", status, p.out.String(), p.err.String())
	}
	dump := s.dumpOf(t, true)
	for _, tap := range append(stored, mine...) {
		if strings.Contains(dump, tap.CloudID) || strings.Contains(dump, tap.OpenID) {
			t.Fatal("data of the user remains")
		}
	}
	for _, tap := range others {
		if !strings.Contains(dump, tap.CloudID) {
			t.Fatal("a cloudID of another user was erased, too")
		}
	}
	s.worker(t)
	waitFor(t, "the other users' cloudIDs", func() bool { _, finished := s.records(t, others); return finished == len(others) })
	s.enqueue(t, mine) // if they are requested again, they stay erased
	waitFor(t, "the queue to be empty", func() bool {
		info, err := asynq.NewInspectorFromRedisClient(s.redis.Client(t)).GetQueueInfo(tasks.QueueEvents)
		return err == nil && info.Size == 0
	})
	if records, finished := s.records(t, append(stored, mine...)); finished != 0 {
		t.Errorf("erased records came back: %v", records)
	}
	if got := s.stats(t); got.CloudIDs != int64(len(stored)+len(others)) {
		t.Errorf("WeChat received %d cloudIDs, want %d", got.CloudIDs, len(stored)+len(others))
	}
}

// enqueueTogether enqueues one task with cloudIDs of several users.
func (s *site) enqueueTogether(t *testing.T, taps []wechattest.Tap) {
	t.Helper()
	p := tasks.ResolvePayload{AppID: appA, AcceptedAt: time.Now()}
	for _, tap := range taps {
		p.Items = append(p.Items, tasks.Item{CloudID: tap.CloudID, OpenID: tap.OpenID, ObtainedAt: tap.ObtainedAt})
	}
	task, err := tasks.NewResolveTask(p, tasks.QueueEvents)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asynq.NewClientFromRedisClient(s.redis.Client(t)).EnqueueContext(t.Context(), task); err != nil {
		t.Fatal(err)
	}
}

// A user is erased while some of the user's cloudIDs are stored, some are in flight and some are
// queued.
func TestErase_StoredInFlightAndQueued(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 14})
	wechat := s.newGate(t, math.MaxInt)
	s.configure(t, "")
	twin := s.twin(t)
	tapsOf := func(user, from, n int) (taps []wechattest.Tap) {
		for i := range n {
			taps = append(taps, twin.CloudID(appA, user, from+i, time.Now()))
		}
		return taps
	}
	s.worker(t)
	stored, others := tapsOf(1, 0, 5), tapsOf(2, 0, 5)
	s.enqueue(t, stored)
	s.enqueue(t, others)
	waitFor(t, "some to be stored", func() bool {
		_, one := s.records(t, stored)
		_, two := s.records(t, others)
		return one == 5 && two == 5
	})
	wechat.close()
	inFlight := tapsOf(1, 5, 5)
	s.enqueue(t, inFlight)
	waitFor(t, "some to be in flight", func() bool { return wechat.blocked() > 0 })

	p := s.start(t, "erase", "--config", s.config, "--appid", appA, "--openid", stored[0].OpenID)
	if status := p.status(t); status != 0 || p.out.String() != "{\"erased\":10}\n" {
		t.Fatalf("erase = %d %s%s, want 10 erased", status, p.out.String(), p.err.String())
	}
	if said := p.err.String(); !strings.Contains(said, "user erased") || strings.Contains(said, stored[0].OpenID) {
		t.Errorf("stderr = %s, want an audit entry without the openid", said)
	}
	again := s.start(t, "result", "--config", s.config, "--appid", appA, stored[0].CloudID, inFlight[0].CloudID)
	if status := again.status(t); status != 1 || again.out.Len() > 0 {
		t.Errorf("result = %d %s, want no output", status, again.out.String())
	}
	wechat.open()
	// If they are requested again, erased cloudIDs stay erased. Other records are unchanged, and
	// a new cloudID is resolved.
	fresh := tapsOf(1, 10, 1)
	s.enqueue(t, append(stored[:2:2], fresh...))
	waitFor(t, "the new cloudID", func() bool { _, finished := s.records(t, fresh); return finished == 1 })
	waitFor(t, "the queue to be empty", func() bool {
		info, err := asynq.NewInspectorFromRedisClient(s.redis.Client(t)).GetQueueInfo(tasks.QueueEvents)
		return err == nil && info.Active+info.Pending+info.Retry == 0
	})
	for _, taps := range [][]wechattest.Tap{stored, inFlight} {
		if records, finished := s.records(t, taps); finished != 0 {
			t.Errorf("%d erased records came back: %v", finished, records)
		}
	}
	if _, finished := s.records(t, others); finished != 5 {
		t.Errorf("%d records of another user, want 5", finished)
	}
	if archived, err := s.redis.Client(t).ZCard(t.Context(), "asynq:{events}:archived").Result(); archived != 0 || err != nil {
		t.Errorf("%d tasks in the archive, %v, want none", archived, err)
	}
	bad := s.start(t, "erase", "--config", s.config, "--appid", "wxother")
	if status := bad.status(t); status != 2 || !strings.Contains(bad.err.String(), "--openid is missing") || !strings.Contains(bad.err.String(), "--appid is not among") {
		t.Errorf("erase without --openid = %d %s, want 2 and both faults", status, bad.err.String())
	}
	former := s.start(t, "erase", "--config", s.config, "--appid", "wxother", "--former-app", "--openid", "oNobody")
	if status := former.status(t); status != 0 || former.out.String() != "{\"erased\":0}\n" {
		t.Errorf("erase with --former-app = %d %s%s, want 0 erased", status, former.out.String(),
			former.err.String())
	}
}
