package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisState is what a Redis server says of itself, as far as what cloudidq keeps there depends on it.
type RedisState struct {
	Addr      string // of a node of a cluster, which the caller knows; empty where there is one server
	Version   string
	Replica   bool
	AOF       bool   // the append-only file is on
	AOFBroken bool   // its last write, or its last rewrite, has failed
	Fsync     string // appendfsync; empty if the server does not tell, as many that are rented do not
	Eviction  string // maxmemory-policy
	UsedBytes int64
	MaxBytes  int64         // maxmemory; 0 = the machine's
	Ahead     time.Duration // the server's clock beside ours
	Unsaid    bool          // it does not say how it persists: no redis-server, such as the embedded one
}

// InspectRedis asks a server three things and changes nothing. Of a cluster, rdb is a client of one node.
func InspectRedis(ctx context.Context, rdb redis.Cmdable) (RedisState, error) {
	info, err := rdb.Info(ctx).Result()
	if err != nil {
		return RedisState{}, fmt.Errorf("asking Redis for its state: %w", err)
	}
	state := parseInfo(info)
	if ahead, err := skew(time.Now, func() (time.Time, error) { return rdb.Time(ctx).Result() }); err == nil {
		state.Ahead = ahead
	}
	if said, err := rdb.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		state.Fsync = said["appendfsync"]
	}
	return state, nil
}

// parseInfo reads the answer to INFO: lines of name:value (https://redis.io/docs/latest/commands/info/).
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
	_, says := fields["aof_enabled"]
	return RedisState{
		Version: fields["redis_version"], Replica: fields["role"] == "slave",
		AOF: fields["aof_enabled"] == "1", AOFBroken: failed("aof_last_write_status") || failed("aof_last_bgrewrite_status"),
		Eviction: fields["maxmemory_policy"], UsedBytes: number("used_memory"), MaxBytes: number("maxmemory"),
		Unsaid: !says,
	}
}
