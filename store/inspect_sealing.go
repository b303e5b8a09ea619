package store

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Sealing is the result of a scan over some of the records.
type Sealing struct {
	Seen     int64 // records that were checked
	Unsealed int64 // of these, the records that are stored in plain text
}

// A scan takes a fixed number of steps over a fixed number of keys each, however many keys
// exist. SCAN returns keys in hash order, so the keys seen are a fair sample.
const (
	sealingSteps = 20
	sealingPage  = 1000
)

// InspectSealing checks a sample of the records in Redis and changes nothing. In a cluster, rdb
// is a client of one node.
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

// look counts the records among keys. A key that has the length of a record key but holds no
// string is not a record.
func (s *Sealing) look(ctx context.Context, rdb redis.Cmdable, keys []string) error {
	// The first byte of the body shows whether it is sealed, so read no further than that.
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
