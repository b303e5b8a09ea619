package store

import (
	"context"
	"fmt"

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

// InspectSealing looks at records in Redis and changes nothing. Of a cluster, rdb is a client of one node.
func InspectSealing(ctx context.Context, rdb redis.Cmdable) (Sealing, error) {
	var s Sealing
	cursor := uint64(0)
	for range sealingSteps {
		found, next, err := rdb.Scan(ctx, cursor, keyPrefix+"*", sealingPage).Result()
		if err != nil {
			return s, fmt.Errorf("looking for records: %w", err)
		}
		if err := s.look(ctx, rdb, found); err != nil {
			return s, err
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	return s, nil
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
