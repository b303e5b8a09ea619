package main

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/redistest"
)

// inspectRedis returns the address of a cluster's node, but no address for a single server.
func TestInspectRedis_ClusterAndServer(t *testing.T) {
	node := redistest.Start(t, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
	if err := node.Client(t).ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{node.Addr}})
	defer func() { _ = cluster.Close() }()
	for addr, rdb := range map[string]redis.UniversalClient{node.Addr: cluster, "": redistest.Start(t).Client(t)} {
		states, err := inspectRedis(t.Context(), rdb)
		if err != nil || len(states) != 1 || states[0].Addr != addr || states[0].Version == "" {
			t.Errorf("inspectRedis() = %+v, %v, want one state with address %q", states, err, addr)
		}
	}
}
