package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisState is the part of a Redis server's state on which cloudidq's data depends.
type RedisState struct {
	Addr      string // of a cluster node, set by the caller; empty for a single server
	Version   string
	Replica   bool
	AOF       bool   // the append-only file is enabled
	AOFBroken bool   // the last write or rewrite of the file failed
	Fsync     string // appendfsync; empty if the server does not report it, as many managed ones do not
	Eviction  string // maxmemory-policy
	UsedBytes int64
	MaxBytes  int64         // maxmemory; 0 = the memory of the machine
	Ahead     time.Duration // how far the server's clock is ahead of ours
	Unsaid    bool          // it does not report how it persists: no redis-server, but for instance the embedded one
}

// InspectRedis reads the state of a server: INFO, its clock and appendfsync. It changes
// nothing. In a cluster, rdb is a client of one node. The clock and appendfsync are optional:
// without an answer their fields stay zero.
func InspectRedis(ctx context.Context, rdb redis.Cmdable) (RedisState, error) {
	info, err := rdb.Info(ctx).Result()
	if err != nil {
		return RedisState{}, fmt.Errorf("reading the state of Redis: %w", err)
	}
	state := parseInfo(info)
	if ahead, err := skew(time.Now, func() (time.Time, error) { return rdb.Time(ctx).Result() }); err == nil {
		state.Ahead = ahead
	}
	// Managed servers often refuse CONFIG, so an error leaves the field empty.
	if said, err := rdb.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		state.Fsync = said["appendfsync"]
	}
	return state, nil
}

// parseInfo parses the answer to INFO: lines of name:value
// (https://redis.io/docs/latest/commands/info/).
func parseInfo(info string) RedisState {
	fields := make(map[string]string)
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = value
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(fields[name], 10, 64)
		return n
	}
	failed := func(name string) bool { return fields[name] == "err" }
	// A server that does not report this field does not report how it persists.
	_, says := fields["aof_enabled"]
	return RedisState{
		Version: fields["redis_version"], Replica: fields["role"] == "slave",
		AOF: fields["aof_enabled"] == "1", AOFBroken: failed("aof_last_write_status") || failed("aof_last_bgrewrite_status"),
		Eviction: fields["maxmemory_policy"], UsedBytes: number("used_memory"), MaxBytes: number("maxmemory"),
		Unsaid: !says,
	}
}
