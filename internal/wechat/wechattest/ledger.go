package wechattest

import (
	"sync"
	"time"
)

// Entry is the ledger's entry for one cloudID.
type Entry struct {
	Sent        int       // requests that carried it
	Answered    int       // answers with its data that were written completely
	Lost        int       // answers with its data that were lost or truncated by a fault, or whose client disconnected
	First, Last time.Time // first and last arrival; zero if it never arrived
}

// Sent returns how many requests carried cloudID, whatever their outcome. With [Config.NoLedger]
// it is always 0.
func (s *Simulator) Sent(cloudID string) int { return s.Entry(cloudID).Sent }

// Entry returns the ledger's entry for cloudID. It is zero if the cloudID never arrived, and
// always with [Config.NoLedger].
func (s *Simulator) Entry(cloudID string) Entry {
	if s.ledger == nil {
		return Entry{}
	}
	l, found := s.ledger.get(hashString(cloudID))
	if !found {
		return Entry{}
	}
	return Entry{
		Sent:     int(l.sent),
		Answered: int(l.answered),
		Lost:     int(l.lost),
		First:    time.Unix(0, l.first),
		Last:     time.Unix(0, l.last),
	}
}

// ledger counts by the hash of the cloudID. It has no pointers, so the garbage collector does
// not scan it. The probability that two of ten million cloudIDs share a hash is 3 in a million.
type ledger struct {
	shards [64]shard
}

// shard is a part of the ledger with its own lock, to reduce contention.
type shard struct {
	mu      sync.Mutex
	entries map[uint64]counts // guarded by mu
}

// counts is the stored form of an [Entry].
type counts struct {
	sent, answered, lost uint32
	first, last          int64 // Unix nanoseconds
}

func newLedger() *ledger {
	l := new(ledger)
	for i := range l.shards {
		l.shards[i].entries = make(map[uint64]counts)
	}
	return l
}

func (l *ledger) shard(id uint64) *shard { return &l.shards[id%uint64(len(l.shards))] }

// arrive records an arrival and returns the previous counts.
func (l *ledger) arrive(id uint64, now time.Time) counts {
	sh := l.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	before := sh.entries[id]
	after := before
	after.sent++
	after.last = now.UnixNano()
	if before.sent == 0 {
		after.first = after.last
	}
	sh.entries[id] = after
	return before
}

// addAnswers adds to answered and lost. Negative numbers revert an earlier call.
func (l *ledger) addAnswers(id uint64, answered, lost int32) {
	sh := l.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	after := sh.entries[id]
	after.answered += uint32(answered)
	after.lost += uint32(lost)
	sh.entries[id] = after
}

func (l *ledger) get(id uint64) (counts, bool) {
	sh := l.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	found, ok := sh.entries[id]
	return found, ok
}
