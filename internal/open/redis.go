package open

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/config"
)

const (
	// RepeatCommands is how often go-redis repeats a command whose answer is lost. All commands
	// of cloudidq can be repeated safely.
	RepeatCommands = 3
	// NeverRepeat is for the asynq servers: a repeated dequeue leaves the first task orphaned.
	NeverRepeat = -1

	pingTimeout = 5 * time.Second
)

// Redis returns a client that has successfully reached its Redis. The caller closes it.
func Redis(ctx context.Context, cfg *config.Config, maxRetries int) (redis.UniversalClient, error) {
	rdb, err := cfg.Redis.Open(maxRetries)
	if errors.Is(err, config.ErrEmbedded) {
		return nil, cfg.Refuse("redis.url", errors.New("is embedded: a Redis inside the process of `cloudidq serve`, at a port that "+
			"nothing else knows; embedded://127.0.0.1:6379 names one, or give the URL of a server"))
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("reaching Redis: %w", err), rdb.Close())
	}
	return rdb, nil
}

// clockOf returns a function that reads Redis's clock.
func clockOf(rdb redis.Cmdable) func(context.Context) (time.Time, error) {
	return func(ctx context.Context) (time.Time, error) { return rdb.Time(ctx).Result() }
}

// LogRedis makes go-redis log to log. Otherwise it writes to stderr in its own format.
func LogRedis(log *slog.Logger) { redis.SetLogger(redisLog{log}) }

// redisLog adapts slog to go-redis's logger. go-redis logs about connections; its messages
// contain no commands or values.
type redisLog struct{ log *slog.Logger }

// Printf implements the logging interface of go-redis. It logs at level debug, because the
// caller reports the resulting error.
func (l redisLog) Printf(_ context.Context, format string, v ...any) {
	l.log.Debug(fmt.Sprintf(format, v...), "from", "go-redis")
}
