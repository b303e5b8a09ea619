package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/redistest"
	"cloudidq/store"
	"cloudidq/store/storetest"
)

func TestRedis_Contract(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	storetest.Run(t, func(_ *testing.T, ttl time.Duration) store.Results {
		return store.NewRedis(rdb, ttl)
	})
}

// Like any cluster, a cluster of one node refuses a script whose keys are in several slots.
func TestRedisCluster_Contract(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, "--cluster-enabled", "yes")
	node := srv.Client(t)
	if err := node.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool {
		return strings.Contains(node.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{srv.Addr}})
	t.Cleanup(func() { _ = rdb.Close() })
	storetest.Run(t, func(_ *testing.T, ttl time.Duration) store.Results {
		return store.NewRedis(rdb, ttl)
	})
}

func TestMiniredis_Contract(t *testing.T) {
	t.Parallel()
	mini, rdb := startMini(t)
	age(t, mini)
	storetest.Run(t, func(_ *testing.T, ttl time.Duration) store.Results {
		return store.NewRedis(rdb, ttl)
	})
}

// startMini starts the Redis that the embedded mode uses.
func startMini(t *testing.T) (*miniredis.Miniredis, *redis.Client) {
	t.Helper()
	mini := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: mini.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	return mini, rdb
}

// age advances the clock of mini, which does not advance by itself.
func age(t *testing.T, mini *miniredis.Miniredis) {
	t.Helper()
	stop, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		const step = 10 * time.Millisecond
		tick := time.NewTicker(step)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				mini.FastForward(step)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-gone })
}

// eventually polls until ok returns true, for as long as a busy machine may need.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("timed out waiting: %s", what)
		}
	}
}
