package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// EndpointState is how an endpoint has done, for all processes together.
type EndpointState struct {
	FirstFailure Time   `json:"first_failure_at,omitzero"` // of those since the last success
	LastFailure  Time   `json:"last_failure_at,omitzero"`
	Disabled     Time   `json:"disabled_at,omitzero"` // zero = it is not
	Reason       string `json:"reason,omitempty"`     // of its being disabled
}

// endpointKey is a hash: first, last, disabled (Unix ms), reason.
func endpointKey(name string) string { return "cloudidq:endpoint:" + name }

// Endpoint returns how an endpoint has done.
func (d *Deliveries) Endpoint(ctx context.Context, name string) (EndpointState, error) {
	fields, err := d.rdb.HGetAll(ctx, endpointKey(name)).Result()
	if err != nil {
		return EndpointState{}, fmt.Errorf("looking up an endpoint: %w", err)
	}
	moment := func(field string) Time {
		ms, err := strconv.ParseInt(fields[field], 10, 64)
		if err != nil {
			return Time{}
		}
		return At(time.UnixMilli(ms))
	}
	return EndpointState{
		FirstFailure: moment("first"), LastFailure: moment("last"), Disabled: moment("disabled"), Reason: fields["reason"],
	}, nil
}

// EndpointFailed notes a failure and returns the state before it, with FirstFailure set.
func (d *Deliveries) EndpointFailed(ctx context.Context, name string, now time.Time) (EndpointState, error) {
	before, err := d.Endpoint(ctx, name)
	if err != nil {
		return EndpointState{}, err
	}
	_, err = d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSetNX(ctx, endpointKey(name), "first", now.UnixMilli())
		p.HSet(ctx, endpointKey(name), "last", now.UnixMilli())
		return nil
	})
	if err != nil {
		return EndpointState{}, fmt.Errorf("noting a failure of an endpoint: %w", err)
	}
	if before.FirstFailure.IsZero() {
		before.FirstFailure = At(now)
	}
	return before, nil
}

// EndpointOK notes a success: what failed before is forgotten.
func (d *Deliveries) EndpointOK(ctx context.Context, name string) error {
	if err := d.rdb.HDel(ctx, endpointKey(name), "first", "last").Err(); err != nil {
		return fmt.Errorf("noting a success of an endpoint: %w", err)
	}
	return nil
}

// Disable stops all attempts at an endpoint, in every process.
func (d *Deliveries) Disable(ctx context.Context, name, reason string, now time.Time) error {
	if err := d.rdb.HSet(ctx, endpointKey(name), "disabled", now.UnixMilli(), "reason", reason).Err(); err != nil {
		return fmt.Errorf("disabling an endpoint: %w", err)
	}
	return nil
}

// Enable ends that, and forgets the failures.
func (d *Deliveries) Enable(ctx context.Context, name string) error {
	if err := d.rdb.Del(ctx, endpointKey(name)).Err(); err != nil {
		return fmt.Errorf("enabling an endpoint: %w", err)
	}
	return nil
}
