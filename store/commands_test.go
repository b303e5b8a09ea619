package store_test

import (
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/redistest"
	"cloudidq/store"
)

// commands returns how many commands Redis has run since CONFIG RESETSTAT, including those in
// scripts.
func commands(t *testing.T, rdb *redis.Client) (all int, each map[string]int) {
	t.Helper()
	each = map[string]int{}
	for _, found := range regexp.MustCompile(`cmdstat_(\S+):calls=(\d+)`).FindAllStringSubmatch(rdb.Info(t.Context(), "commandstats").Val(), -1) {
		n, _ := strconv.Atoi(found[2])
		if found[1] != "config|resetstat" && found[1] != "info" {
			each[found[1]], all = n, all+n
		}
	}
	return all, each
}

// The cost of a claim and a save of 100 cloudIDs in Redis is counted in commands, which do not depend
// on the load of the machine. The check of a record's user, and of the user's erasure, costs one more
// command for each user of the call, and no round trip.
func TestRedis_CommandsOfABatch(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	results := store.NewRedis(rdb, time.Hour)
	const n = 100
	var serial atomic.Int64
	pending, resolved := benchBatch(&serial, n)
	count := func(call func() error) (all int, each map[string]int) {
		t.Helper()
		if err := rdb.ConfigResetStat(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		return commands(t, rdb)
	}
	claim := func(records []store.Record) error {
		_, err := results.Claim(t.Context(), claimOf("task", records...))
		return err
	}
	save := func(records []store.Record) error { return results.Save(t.Context(), "task", records) }
	warm, final := benchBatch(&serial, 1) // load the scripts into the server
	count(func() error { return claim(warm) })
	count(func() error { return save(final) })

	all, each := count(func() error { return claim(pending) })
	if all > 6*n || each["hget"] != 1 || each["evalsha"] != 1 || each["set"] != n {
		t.Errorf("a claim of %d took %d commands: %v", n, all, each)
	}
	all, each = count(func() error { return save(resolved) })
	if all > 2*n+1 || each["hget"] != 0 || each["evalsha"] != 1 || each["set"] != n {
		t.Errorf("a save of %d took %d commands: %v", n, all, each)
	}

	// A new user needs no check for an erasure. So a claim of cloudIDs of many new users costs fewer
	// commands than one of the same number of cloudIDs of one known user.
	pending, resolved = benchBatch(&serial, n)
	for i := range n {
		openID := fmt.Sprintf("o%027d", i)
		pending[i].OpenID, resolved[i].OpenID = openID, openID
	}
	if all, each = count(func() error { return claim(pending) }); all > 4*n+3 || each["hget"] != 0 {
		t.Errorf("a claim of %d, each of another user, took %d commands: %v", n, all, each)
	}
	if all, each = count(func() error { return save(resolved) }); all > 2*n+1 {
		t.Errorf("a save of %d, each of another user, took %d commands: %v", n, all, each)
	}
}
