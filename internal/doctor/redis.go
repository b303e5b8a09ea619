package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloudidq/store"
)

const (
	noEviction = "noeviction"
	// maxClockSkew is the largest tolerated difference between two clocks. The end of an app's
	// pause and the due time of a delivery come from the clock of the machine that writes them.
	maxClockSkew = 2 * time.Second
	// nearlyFull is the share of maxmemory above which a warning is due. At 100 %, Redis with
	// noeviction rejects all writes, and cloudidq stops.
	nearlyFull = 0.9
)

// minVersion is the oldest supported version. asynq's archive uses ZRANGE … BYSCORE (asynq
// v0.26.0 internal/rdb/rdb.go:840-883), which Redis has since 6.2
// (https://redis.io/docs/latest/commands/zrange/).
var minVersion = [2]int{6, 2}

// Redis checks the servers that hold the queues. inspect queries each server, like
// [store.InspectRedis].
func Redis(inspect func(context.Context) ([]store.RedisState, error)) Check {
	return Check{Name: "redis", Run: func(ctx context.Context) []Finding {
		states, err := inspect(ctx)
		if err != nil {
			return []Finding{fail("start it, or correct redis.url", "%v", err)}
		}
		var all []Finding
		for _, state := range states {
			for _, f := range checkRedis(state) {
				if state.Addr != "" {
					f.Check = "redis " + state.Addr
				}
				all = append(all, f)
			}
		}
		return all
	}}
}

// checkRedis checks one server.
func checkRedis(s store.RedisState) []Finding {
	if s.Unsaid {
		return []Finding{warn("use redis-server or Valkey if accepted cloudIDs must survive a restart",
			"the server does not report whether it persists data")}
	}
	var found []Finding
	add := func(f Finding) { found = append(found, f) }
	if !atLeast(s.Version, minVersion) {
		add(fail("upgrade it", "version %s is older than %d.%d, which asynq needs", s.Version,
			minVersion[0], minVersion[1]))
	}
	if s.Replica {
		add(fail("set redis.url to the master or to Sentinel",
			"the server is a replica and accepts no writes"))
	}
	found = append(found, checkPersistence(s)...)
	if s.Eviction != noEviction {
		add(fail("CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
			"maxmemory-policy is %s: under memory pressure Redis evicts tasks with accepted cloudIDs",
			s.Eviction))
	}
	// A maxmemory of 0 means no limit.
	if full := float64(s.UsedBytes) / float64(max(1, s.MaxBytes)); s.MaxBytes > 0 && full > nearlyFull {
		add(warn("raise maxmemory, or shorten store.result_ttl",
			"memory is %.0f %% full; at 100 %% Redis rejects writes", 100*full))
	}
	found = append(found, checkClock(s.Ahead)...)
	return orOK(found, "version %s, append-only file (%s), %s", s.Version, fsyncOf(s), s.Eviction)
}

// checkClock compares a server's clock with the clock of this machine.
func checkClock(ahead time.Duration) []Finding {
	if ahead.Abs() < maxClockSkew {
		return nil
	}
	return []Finding{warn("run NTP on both machines",
		"the server's clock differs from this machine's by %s",
		ahead.Abs().Round(time.Millisecond))}
}

// checkPersistence checks whether a server keeps accepted cloudIDs across a restart.
func checkPersistence(s store.RedisState) []Finding {
	const on = "CONFIG SET appendonly yes, and the same in redis.conf"
	switch {
	case !s.AOF:
		return []Finding{fail(on, "no append-only file: a restart of Redis loses accepted cloudIDs")}
	case s.AOFBroken:
		return []Finding{fail("check the server's log; the disk may be full",
			"the last write of the append-only file failed")}
	case s.Fsync == "no":
		return []Finding{warn("CONFIG SET appendfsync everysec, and the same in redis.conf",
			"appendfsync is no: a crash of the machine may lose half a minute of accepted cloudIDs")}
	default:
		return nil
	}
}

// fsyncOf describes how often the append-only file is synced.
func fsyncOf(s store.RedisState) string {
	if s.Fsync == "" {
		return "sync interval unknown"
	}
	return "synced " + s.Fsync
}

// atLeast reports whether version is least or newer. It compares only the first two numbers.
func atLeast(version string, least [2]int) bool {
	parts := append(strings.SplitN(version, ".", 3), "", "")
	for i, want := range least {
		got, err := strconv.Atoi(parts[i])
		if err != nil || got < want {
			return false
		}
		if got > want {
			return true
		}
	}
	return true
}

// Postgres checks the database that holds the results. inspect queries it, like
// [store.InspectPostgres] with its DSN.
func Postgres(inspect func(context.Context) (store.PostgresState, error)) Check {
	return Check{Name: "store", Run: func(ctx context.Context) []Finding {
		s, err := inspect(ctx)
		if err != nil {
			return []Finding{fail("start it, or correct store.dsn", "%v", err)}
		}
		return checkPostgres(s)
	}}
}

// checkPostgres checks one database.
func checkPostgres(s store.PostgresState) []Finding {
	var found []Finding
	add := func(f Finding) { found = append(found, f) }
	if s.Replica {
		add(fail("set store.dsn to the primary", "the server is a replica and accepts no writes"))
	}
	if s.Isolation != "read committed" {
		add(fail("ALTER DATABASE … SET default_transaction_isolation = 'read committed'", "default_transaction_isolation is %s", s.Isolation))
	}
	if !s.Fsync {
		add(fail("set fsync = on in postgresql.conf",
			"fsync is off: a crash of the machine may corrupt the database"))
	}
	if s.SyncCommit == "off" {
		add(warn("set synchronous_commit = on for the database",
			"synchronous_commit is off: a crash may lose the latest results"))
	}
	if s.Expired > 0 {
		add(warn("run a worker, which deletes them", "%s expired records have not been deleted",
			counted(s.Expired)))
	}
	found = append(found, checkClock(s.Ahead)...)
	switch {
	case s.Schema > s.SchemaKnown:
		add(warn("upgrade this process too",
			"the schema version %d is newer than version %d, which this process supports", s.Schema,
			s.SchemaKnown))
	case s.Schema < s.SchemaKnown:
		add(warn("start an API or a worker, which migrates it", "the schema is at version %d of %d",
			s.Schema, s.SchemaKnown))
	}
	return orOK(found, "PostgreSQL %s, schema %d", s.Version, s.Schema)
}

// counted formats a count that stops at 100,000.
func counted(n int64) string {
	if n >= 100_000 {
		return "at least 100000"
	}
	return fmt.Sprint(n)
}
