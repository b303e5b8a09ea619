package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
)

// relayedStep is the step after Redis has stored results that PostgreSQL still has.
const relayedStep = "InRedisAndStillInPostgres"

// outboxes counts the unrelayed results in PostgreSQL, and the outbox lists in Redis.
func (s *site) outboxes(t *testing.T) (unrelayed, lists int) {
	t.Helper()
	lists = len(s.redis.Client(t).Keys(t.Context(), "cloudidq:{*}:o:orders").Val())
	if s.dsn == "" {
		return 0, lists
	}
	conn, err := pgx.Connect(t.Context(), s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM cloudidq_outbox").Scan(&unrelayed); err != nil {
		t.Fatal(err)
	}
	return unrelayed, lists
}

// If a worker dies between any two steps from the save to the acknowledgement, there is one
// delivery with one id.
func TestWebhooks_CrashAtEachStep(t *testing.T) {
	t.Parallel()
	for step, mark := range map[string]string{
		"InPostgresAndNotInRedis": "}:x\r",
		relayedStep:               "local came, n = KEYS[1], #KEYS - 1", // of the script's source, which is sent to a new Redis once
		"SavedAndNotCut":          ":o:orders",
		"CutAndNotEnqueued":       "asynq:{webhooks}:t:msg_",
		"EnqueuedAndNotSent":      "cloudidq:endpoint:orders\r\n",
		"ReceivedAndNotAnswered":  "",
		"AnsweredAndNotRecorded":  `"class":"ok"`,
		"RecordedNotAcknowledged": "asynq:{webhooks}:processed",
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, wechattest.Config{Seed: 12})
			if mark == "}:x\r" || step == relayedStep {
				s.dsn = pgtest.Database(t)
			}
			wire := newTripwire(t, s.redis.Addr)
			at := crashPoint{mark: mark, arrives: step == relayedStep}
			r := newReceiver(t, func(_ int, rw http.ResponseWriter) {
				if mark == "" && wire.trip() {
					rw.WriteHeader(http.StatusServiceUnavailable) // the sender is dead and does not receive this
				}
			})
			r.listen()
			s.appSettings, s.redisAddr = ", webhook: orders", wire.addr
			s.configure(t, r.settings(""))
			twin := s.twin(t)
			victim := s.worker(t)
			wire.arm(at, victim)
			taps := s.enqueueMany(t, twin, 30, 10)
			wire.wait(t, victim)
			s.expireLeases(t)
			if at.arrives {
				waitFor(t, "Redis to have what PostgreSQL still has", func() bool {
					unrelayed, lists := s.outboxes(t)
					return unrelayed > 0 && lists > 0
				})
			}
			s.redisAddr = ""
			s.configure(t, r.settings(""))
			s.worker(t)
			waitFor(t, "all results to be delivered", func() bool { return r.arrived() == len(taps) })
			waitFor(t, "both outboxes to be empty", func() bool {
				unrelayed, lists := s.outboxes(t)
				return unrelayed+lists == 0
			})
			waitFor(t, "the deliveries to be completed", func() bool { return s.undelivered(t) == 0 })
			r.checkAgainst(twin, taps)
		})
	}
}

// The same holds for a delivery in the wait list of its endpoint, when it is parked and when it
// is unparked.
func TestWebhooks_CrashWhileParked(t *testing.T) {
	t.Parallel()
	const waitList = "\r\n$29\r\ncloudidq:endpoint:orders:line\r\n"
	for step, tt := range map[string]struct {
		mark  string
		parks bool // whether the process dies when it parks the delivery
	}{
		"NotYetParked":           {"zadd" + waitList, true},
		"UnparkedAndStillListed": {"zrem" + waitList, false},
		"UnparkedAndNotEnqueued": {"asynq:{webhooks}:t:msg_", false},
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, wechattest.Config{Seed: 17})
			wire := newTripwire(t, s.redis.Addr)
			r := newReceiver(t, nil)
			r.listen()
			s.appSettings, s.redisAddr = ", webhook: orders", wire.addr
			s.configure(t, r.settings(""))
			deliveries := store.NewDeliveries(s.redis.Client(t))
			openCircuit := func(d time.Duration) {
				t.Helper()
				if err := deliveries.OpenCircuit(t.Context(), "orders", time.Now().Add(d)); err != nil {
					t.Fatal(err)
				}
			}
			openCircuit(time.Hour)
			twin, victim := s.twin(t), s.worker(t)
			if tt.parks {
				wire.arm(crashPoint{mark: tt.mark}, victim)
			}
			taps := s.enqueueMany(t, twin, 30, 10)
			if !tt.parks {
				waitFor(t, "all deliveries to be parked", func() bool {
					_, finished := s.records(t, taps)
					n, err := deliveries.Parked(t.Context(), "orders")
					return err == nil && finished == len(taps) && n > 0 && n == s.undelivered(t) && s.inDeliveries(t) == len(taps)
				})
				wire.arm(crashPoint{mark: tt.mark}, victim)
				openCircuit(0)
			}
			wire.wait(t, victim)
			s.expireLeases(t)
			s.redisAddr = ""
			s.configure(t, r.settings(""))
			s.worker(t)
			openCircuit(0)
			waitFor(t, "all results to be delivered", func() bool { return r.arrived() == len(taps) })
			waitFor(t, "the deliveries to be completed", func() bool { return s.undelivered(t) == 0 })
			r.checkAgainst(twin, taps)
		})
	}
}

// inDeliveries counts the results that belong to a delivery.
func (s *site) inDeliveries(t *testing.T) (n int) {
	t.Helper()
	for _, d := range s.listed(t) {
		n += d.Results
	}
	return n
}
