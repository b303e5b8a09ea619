package store

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Sealing is what a look at some of the records has found.
type Sealing struct {
	Seen     int64 // records that were looked at
	Unsealed int64 // those among them that lie legible in the store
}

// A look at Redis takes so many steps over so many keys each, however many there are: SCAN goes through keys in the order of
// their hashes, so that they are a fair sample.
const (
	sealingSteps = 20
	sealingPage  = 1000
)

// InspectSealing looks at records in Redis, at each master of a cluster, and changes nothing.
func InspectSealing(ctx context.Context, rdb redis.UniversalClient) (Sealing, error) {
	var all Sealing
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		err := all.sample(ctx, rdb)
		return all, err
	}
	var mu sync.Mutex
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		var one Sealing
		err := one.sample(ctx, master)
		mu.Lock()
		defer mu.Unlock()
		all.Seen, all.Unsealed = all.Seen+one.Seen, all.Unsealed+one.Unsealed
		return err
	})
	return all, err
}

func (s *Sealing) sample(ctx context.Context, rdb redis.Cmdable) error {
	cursor := uint64(0)
	for range sealingSteps {
		found, next, err := rdb.Scan(ctx, cursor, keyPrefix+"*", sealingPage).Result()
		if err != nil {
			return fmt.Errorf("looking for records: %w", err)
		}
		if err := s.look(ctx, rdb, found); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	return nil
}

// look counts the records among keys. A key as long as theirs that holds no string is not one.
func (s *Sealing) look(ctx context.Context, rdb redis.Cmdable, keys []string) error {
	var heads []*redis.StringCmd
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			if len(key) == keyLen {
				heads = append(heads, p.GetRange(ctx, key, 0, int64(headerLen+markLen)))
			}
		}
		return nil
	})
	if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return fmt.Errorf("reading records: %w", err)
	}
	for _, head := range heads {
		value := head.Val()
		if !validHeader(value) || value[0] == rankErased {
			continue
		}
		s.Seen++
		if body := bodyOf(value); body != "" && body[0] == '{' {
			s.Unsealed++
		}
	}
	return nil
}
