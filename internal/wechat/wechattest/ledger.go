package wechattest

import (
	"sync"
	"time"
)

// Entry is what the ledger holds of one cloudID.
type Entry struct {
	Sent        int       // requests that carried it
	Answered    int       // answers with its data that were written completely
	Lost        int       // answers with its data that were cut or cut short: faults lost and truncated, clients gone
	First, Last time.Time // when it arrived for the first and the last time; zero if never
}

// Sent returns how many requests carried cloudID, with whatever outcome. With [Config.NoLedger] it is 0.
func (s *Simulator) Sent(cloudID string) int { return s.Entry(cloudID).Sent }

// Entry returns the ledger's entry of cloudID, the zero one for a cloudID that never came and with [Config.NoLedger].
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

// ledger counts by the hash of the cloudID: no pointers, so the garbage collector does not look into it. Two of ten
// million cloudIDs share a hash with a probability of 3 in a million.
type ledger struct {
	shards [64]shard
}

type shard struct {
	mu    sync.Mutex
	lines map[uint64]line // guarded by mu
}

type line struct {
	sent, answered, lost uint32
	first, last          int64 // Unix nanoseconds
}

func newLedger() *ledger {
	l := new(ledger)
	for i := range l.shards {
		l.shards[i].lines = make(map[uint64]line)
	}
	return l
}

func (l *ledger) shard(id uint64) *shard { return &l.shards[id%uint64(len(l.shards))] }

// arrive enters an arrival and returns the line as it was before.
func (l *ledger) arrive(id uint64, now time.Time) line {
	sh := l.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	before := sh.lines[id]
	after := before
	after.sent++
	after.last = now.UnixNano()
	if before.sent == 0 {
		after.first = after.last
	}
	sh.lines[id] = after
	return before
}

// settle adds to the answered and the lost ones; a negative number takes back.
func (l *ledger) settle(id uint64, answered, lost int32) {
	sh := l.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	after := sh.lines[id]
	after.answered += uint32(answered)
	after.lost += uint32(lost)
	sh.lines[id] = after
}

func (l *ledger) get(id uint64) (line, bool) {
	sh := l.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	found, ok := sh.lines[id]
	return found, ok
}
