package doctor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"cloudidq/internal/coord"
	"cloudidq/internal/doctor"
	"cloudidq/internal/secret"
	"cloudidq/internal/webhook"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// levels runs one check and returns "LEVEL check: message" for each finding. It fails the test
// if a finding that is not OK has no remedy, or one that is OK has a remedy.
func levels(t *testing.T, check doctor.Check) string {
	t.Helper()
	var lines []string
	for _, f := range doctor.Run(t.Context(), []doctor.Check{check}) {
		if (f.Remedy == "") != (f.Level == doctor.OK) {
			t.Errorf("%+v: want a remedy if and only if the level is not ok", f)
		}
		lines = append(lines, string(f.Level)+" "+f.Check+": "+f.Message)
	}
	return strings.Join(lines, "\n")
}

func TestRedis(t *testing.T) {
	healthy := store.RedisState{Version: "7.0.15", AOF: true, Fsync: "everysec",
		Eviction: "noeviction"}
	for name, tt := range map[string]struct {
		change func(*store.RedisState)
		want   string
	}{
		"Healthy": {func(*store.RedisState) {},
			"ok redis: version 7.0.15, append-only file (synced everysec), noeviction"},
		"NoFsyncInfo": {func(s *store.RedisState) { s.Fsync = "" },
			"ok redis: version 7.0.15, append-only file (sync interval unknown), noeviction"},
		"NoAOF": {func(s *store.RedisState) { s.AOF = false }, "FAIL redis: no append-only file: a restart of Redis loses accepted cloudIDs"},
		"BrokenAOF": {func(s *store.RedisState) { s.AOFBroken = true },
			"FAIL redis: the last write of the append-only file failed"},
		"NoFsync": {func(s *store.RedisState) { s.Fsync = "no" }, "warn redis: appendfsync is no: a crash of the machine may lose half a minute of accepted cloudIDs"},
		"Evicts": {func(s *store.RedisState) { s.Eviction = "allkeys-lru" },
			"FAIL redis: maxmemory-policy is allkeys-lru: under memory pressure " +
				"Redis evicts tasks with accepted cloudIDs"},
		"Old":     {func(s *store.RedisState) { s.Version = "6.0.16" }, "FAIL redis: version 6.0.16 is older than 6.2, which asynq needs"},
		"JustNew": {func(s *store.RedisState) { s.Version = "6.2" }, "ok redis: version 6.2, append-only file (synced everysec), noeviction"},
		"NoVersion": {func(s *store.RedisState) { s.Version = "" },
			"FAIL redis: version  is older than 6.2, which asynq needs"},
		"Replica": {func(s *store.RedisState) { s.Replica = true },
			"FAIL redis: the server is a replica and accepts no writes"},
		"Full": {func(s *store.RedisState) { s.UsedBytes, s.MaxBytes = 95, 100 },
			"warn redis: memory is 95 % full; at 100 % Redis rejects writes"},
		"Clock": {func(s *store.RedisState) { s.Ahead = -2 * time.Second },
			"warn redis: the server's clock differs from this machine's by 2s"},
		"Embedded": {func(s *store.RedisState) { *s = store.RedisState{Unsaid: true} },
			"warn redis: the server does not report whether it persists data"},
		"Cluster": {func(s *store.RedisState) { s.Addr = "10.0.0.1:7000" }, "ok redis 10.0.0.1:7000: version 7.0.15, append-only file (synced everysec), noeviction"},
		"Everything": {func(s *store.RedisState) { s.AOF, s.Eviction = false, "volatile-ttl" },
			"FAIL redis: no append-only file: a restart of Redis loses accepted cloudIDs\n" +
				"FAIL redis: maxmemory-policy is volatile-ttl: under memory pressure " +
				"Redis evicts tasks with accepted cloudIDs"},
	} {
		t.Run(name, func(t *testing.T) {
			state := healthy
			tt.change(&state)
			got := levels(t, doctor.Redis(func(context.Context) ([]store.RedisState, error) { return []store.RedisState{state}, nil }))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
	unavailable := doctor.Redis(func(context.Context) ([]store.RedisState, error) {
		return nil,
			errors.New("refused")
	})
	if got := levels(t, unavailable); got != "FAIL redis: refused" {
		t.Errorf("findings = %s, want the reason", got)
	}
}

func TestPostgres(t *testing.T) {
	healthy := store.PostgresState{Version: "15.1", Fsync: true, SyncCommit: "on",
		Isolation: "read committed", Schema: 2, SchemaKnown: 2}
	for name, tt := range map[string]struct {
		change func(*store.PostgresState)
		want   string
	}{
		"Healthy": {func(*store.PostgresState) {}, "ok store: PostgreSQL 15.1, schema 2"},
		"Replica": {func(s *store.PostgresState) { s.Replica = true },
			"FAIL store: the server is a replica and accepts no writes"},
		"Isolation": {func(s *store.PostgresState) { s.Isolation = "serializable" }, "FAIL store: default_transaction_isolation is serializable"},
		"Fsync": {func(s *store.PostgresState) { s.Fsync = false },
			"FAIL store: fsync is off: a crash of the machine may corrupt the database"},
		"Commit": {func(s *store.PostgresState) { s.SyncCommit = "off" },
			"warn store: synchronous_commit is off: a crash may lose the latest results"},
		"Clock": {func(s *store.PostgresState) { s.Ahead = 2 * time.Second },
			"warn store: the server's clock differs from this machine's by 2s"},
		"NearClock": {func(s *store.PostgresState) { s.Ahead = -1999 * time.Millisecond }, "ok store: PostgreSQL 15.1, schema 2"},
		"Expired": {func(s *store.PostgresState) { s.Expired = 7 },
			"warn store: 7 expired records have not been deleted"},
		"ManyExpired": {func(s *store.PostgresState) { s.Expired = 100_000 },
			"warn store: at least 100000 expired records have not been deleted"},
		"Newer": {func(s *store.PostgresState) { s.Schema = 3 },
			"warn store: the schema version 3 is newer than version 2, which this process supports"},
		"Older": {func(s *store.PostgresState) { s.Schema = 0 }, "warn store: the schema is at version 0 of 2"},
	} {
		t.Run(name, func(t *testing.T) {
			state := healthy
			tt.change(&state)
			got := levels(t, doctor.Postgres(func(context.Context) (store.PostgresState, error) { return state, nil }))
			if got != tt.want {
				t.Errorf("findings = %s, want %s", got, tt.want)
			}
		})
	}
	unavailable := doctor.Postgres(func(context.Context) (store.PostgresState,
		error) {
		return store.PostgresState{}, store.ErrDSN
	})
	if got := levels(t, unavailable); !strings.HasPrefix(got,
		"FAIL store: not a PostgreSQL connection string") {
		t.Errorf("findings = %s, want the reason", got)
	}
}

// fakeAPI is a WeChat API with fixed responses.
type fakeAPI struct {
	answer   *wechat.Error
	quota    wechat.Quota
	quotaErr error
}

func (f fakeAPI) GetOpenData(_ context.Context, _ wechat.TokenSource, req wechat.Request) []wechat.Outcome {
	return []wechat.Outcome{{CloudID: req.Items[0].CloudID, Err: f.answer}}
}

func (f fakeAPI) Quota(context.Context, wechat.TokenSource) (wechat.Quota, error) {
	return f.quota, f.quotaErr
}

type noToken struct{ err error }

func (n noToken) Token(context.Context) (wechat.Token, error) { return wechat.Token{}, n.err }
func (n noToken) Reject(context.Context, wechat.Token, int)   {}

func TestWeChat(t *testing.T) {
	invalid := &wechat.Error{Class: wechat.ClassItem, Code: -601005}
	plenty := wechat.Quota{DailyLimit: 1000, Used: 3, Remain: 997}
	static := wechat.StaticToken(secret.New("token"))
	for name, tt := range map[string]struct {
		api    fakeAPI
		tokens wechat.TokenSource
		pauses []coord.Pause
		want   string
	}{
		"Healthy": {api: fakeAPI{answer: invalid, quota: plenty},
			want: "ok app wx1: token by static, may call /wxa/getopendata, 3 of 1000 daily calls used"},
		"OpenIDMissing": {api: fakeAPI{answer: &wechat.Error{Class: wechat.ClassCall, Code: 40003}, quota: plenty},
			want: "ok app wx1: token by static, may call /wxa/getopendata, 3 of 1000 daily calls used"},
		"Hosted": {api: fakeAPI{answer: invalid, quotaErr: wechat.ErrNoQuota},
			want: "ok app wx1: token by static, may call /wxa/getopendata, " +
				"the quota cannot be requested through cloud hosting"},
		"WrongSecret": {tokens: noToken{&wechat.Error{Class: wechat.ClassApp, Code: 40125, Message: "token endpoint: invalid appsecret", RID: "68aeab00-21ea7900-3a442400"}},
			want: "FAIL app wx1: no access token: errcode 40125 token endpoint: invalid appsecret (rid 68aeab00-21ea7900-3a442400, 2025-08-27T06:51:44Z)"},
		"NotPermitted": {api: fakeAPI{answer: &wechat.Error{Class: wechat.ClassApp, Code: 48001, Message: "api unauthorized"}, quota: plenty},
			want: "FAIL app wx1: cannot call /wxa/getopendata: errcode 48001 api unauthorized\n" +
				"ok app wx1: 3 of 1000 daily calls used"},
		"NoAnswer": {api: fakeAPI{answer: &wechat.Error{Class: wechat.ClassRetry, Message: "no answer: timeout"}, quotaErr: context.DeadlineExceeded},
			want: "FAIL app wx1: cannot call /wxa/getopendata: no answer: timeout\n" +
				"warn app wx1: the quota cannot be requested: context deadline exceeded"},
		"MinuteUsedUp": {api: fakeAPI{answer: &wechat.Error{Class: wechat.ClassRate, Code: 45011}, quota: plenty},
			want: "warn app wx1: the quota per minute is used up\n" +
				"ok app wx1: 3 of 1000 daily calls used"},
		"DayUsedUp": {api: fakeAPI{answer: invalid, quota: wechat.Quota{DailyLimit: 1000, Used: 1000}},
			want: "ok app wx1: token by static, may call /wxa/getopendata\n" +
				"FAIL app wx1: all 1000 daily calls are used"},
		"LowQuota": {api: fakeAPI{answer: invalid, quota: wechat.Quota{DailyLimit: 1000, Used: 950,
			Remain: 50}},
			want: "ok app wx1: token by static, may call /wxa/getopendata\n" +
				"warn app wx1: 50 of 1000 daily calls are left"},
		"Paused": {api: fakeAPI{answer: invalid, quota: plenty},
			pauses: []coord.Pause{{AppID: "wx2", Code: 1, Until: soon()}, {AppID: "wx1", Code: 45009, Until: soon()}},
			want: "warn app wx1: paused until " + soon().Local().Format(
				time.DateTime) + ": errcode 45009 reach max api daily quota limit\n" +
				"ok app wx1: token by static, may call /wxa/getopendata, 3 of 1000 daily calls used"},
		"PauseHasEnded": {api: fakeAPI{answer: invalid, quota: plenty},
			pauses: []coord.Pause{{AppID: "wx1", Code: 45009, Until: store.At(time.Now().Add(-time.Hour))}},
			want:   "ok app wx1: token by static, may call /wxa/getopendata, 3 of 1000 daily calls used"},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := tt.tokens
			if tokens == nil {
				tokens = static
			}
			check := doctor.WeChat(tt.api, doctor.App{AppID: "wx1", Mode: "static", Tokens: tokens},
				func(context.Context) ([]coord.Pause, error) { return tt.pauses, nil })
			if diff := cmp.Diff(tt.want, levels(t, check)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// soon returns a fixed time in the future.
func soon() store.Time { return store.At(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)) }

type fakePlatform struct{ err error }

func (f fakePlatform) Check(context.Context) error { return f.err }

func TestComponent(t *testing.T) {
	if got := levels(t, doctor.Component("wxc",
		fakePlatform{})); got != "ok component wxc: tickets arrive and yield a token" {
		t.Errorf("findings = %s", got)
	}
	none := &wechat.Error{Class: wechat.ClassApp, Message: "token endpoint: no component_verify_ticket has arrived yet; WeChat pushes one every 10 minutes", Cause: wechat.ErrNoTicket}
	found := doctor.Component("wxc", fakePlatform{none}).Run(t.Context())
	if len(found) != 1 || !strings.Contains(found[0].Remedy, "/v1/wechat/components/wxc/events") {
		t.Errorf("findings = %+v, want a remedy with the path of the pushes", found)
	}
	if got := levels(t, doctor.Component("wxc", fakePlatform{none})); got != "FAIL component wxc: no component_access_token: "+none.Message {
		t.Errorf("findings = %s", got)
	}
}

func TestWebhook(t *testing.T) {
	for name, tt := range map[string]struct {
		class webhook.Class
		state store.EndpointState
		err   error
		want  string
	}{
		"Healthy":   {class: webhook.OK, want: "ok webhook orders: reachable, connected in 5ms"},
		"Forbidden": {class: webhook.Forbidden, want: "FAIL webhook orders: cannot be reached: the address is not public; allow_cidrs can allow a range, except metadata services"},
		"Failing": {class: webhook.OK, state: store.EndpointState{FirstFailure: soon()},
			want: "warn webhook orders: every attempt has failed since " + soon().Local().Format(
				time.DateTime)},
		"Disabled": {class: webhook.Timeout, state: store.EndpointState{FirstFailure: soon(), Disabled: soon(), Reason: "it answered 410"},
			want: "FAIL webhook orders: disabled since " + soon().Local().Format(
				time.DateTime) + ": it answered 410\n" +
				"FAIL webhook orders: cannot be reached: no answer in time"},
		"RedisUnavailable": {class: webhook.OK, err: errors.New("refused"),
			want: "ok webhook orders: reachable, connected in 5ms"},
	} {
		t.Run(name, func(t *testing.T) {
			check := doctor.Webhook("orders",
				func(context.Context) webhook.Attempt {
					return webhook.Attempt{Class: tt.class, Duration: 5 * time.Millisecond}
				},
				func(context.Context) (store.EndpointState, error) { return tt.state, tt.err })
			if diff := cmp.Diff(tt.want, levels(t, check)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestQueues(t *testing.T) {
	states := []doctor.QueueState{
		{Name: "events", Pending: 3, Archived: 1, Workers: 2, Latency: time.Second},
		{Name: "backfill", Pending: 30000, Workers: 1, Latency: 2 * time.Minute},
		{Name: "webhooks", Paused: true},
		{Name: "lost", Size: 12, Pending: 12, Workers: 1, Unnamed: true},
		{Name: "broken", Err: errors.New("attempt to perform arithmetic")},
	}
	want := `ok queue events: 3 pending, 1 archived, servers: 2
warn queue backfill: the oldest of 30000 tasks has waited 2m0s
FAIL queue webhooks: paused: its tasks are not processed
warn queue webhooks: no worker serves it
warn queue lost: not registered with asynq (after FLUSHALL?): dashboards do not show its 12 tasks
FAIL queue broken: asynq cannot describe it: attempt to perform arithmetic`
	got := levels(t, doctor.Queues(func(context.Context) ([]doctor.QueueState, error) { return states, nil }))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestSealing(t *testing.T) {
	healthy := func() error { return nil }
	broken := func() error { return errors.New("no keyset") }
	for name, tt := range map[string]struct {
		on    bool
		parse func() error
		found store.Sealing
		err   error
		want  string
	}{
		"Healthy": {true, healthy, store.Sealing{Seen: 7}, nil, "ok sealing: results are sealed"},
		"Off": {false, healthy, store.Sealing{}, nil,
			"warn sealing: store.encryption is off: results are stored unencrypted"},
		"NoKeyset": {true, broken, store.Sealing{}, nil, "FAIL sealing: the keyset cannot be used: no keyset"},
		"Older": {true, healthy, store.Sealing{Seen: 7, Unsealed: 2}, nil,
			"warn sealing: new results are sealed, but 2 of 7 sampled records are not"},
		"StoreUnavailable": {true, healthy, store.Sealing{}, errors.New("refused"),
			"warn sealing: results are sealed; older records could not be checked: refused"},
	} {
		t.Run(name, func(t *testing.T) {
			check := doctor.Sealing(tt.on, tt.parse, func(context.Context) (store.Sealing, error) { return tt.found, tt.err })
			if got := levels(t, check); got != tt.want {
				t.Errorf("findings = %s, want %s", got, tt.want)
			}
		})
	}
}

// A check that hangs does not stop the other checks. The findings keep the order of the checks.
func TestRun_KeepsOrder_StopsHangingChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := doctor.Check{Name: "hangs", Run: func(ctx context.Context) []doctor.Finding { <-ctx.Done(); return nil }}
		quick := doctor.Check{Name: "quick", Run: func(context.Context) []doctor.Finding {
			return []doctor.Finding{{Level: doctor.OK, Message: "fine"}}
		}}
		found := doctor.Run(t.Context(), []doctor.Check{hangs, quick})
		if len(found) != 2 || found[0].Check != "hangs" || found[0].Level != doctor.Fail || found[1].Check != "quick" {
			t.Errorf("findings = %+v, want the hanging check to fail, first", found)
		}
		if !doctor.Failed(found) || doctor.Failed(found[1:]) {
			t.Error("Failed does not distinguish FAIL from ok")
		}
	})
}
