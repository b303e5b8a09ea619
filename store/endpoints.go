package store

import (
	"context"
	_ "embed" // the script
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// EndpointState is how an endpoint has done, for all processes together.
type EndpointState struct {
	FirstFailure Time `json:"first_failure_at,omitzero"` // of those since the last success
	LastFailure  Time `json:"last_failure_at,omitzero"`
	// InRow counts the attempts in a row, the last one among them, that found nobody who takes deliveries.
	InRow int `json:"in_row,omitzero"`
	// Shut is when something is sent again to an endpoint that has not answered for a while: one delivery, and more if that
	// arrives. Zero = nothing stands in the way.
	Shut     Time   `json:"shut_until,omitzero"`
	Disabled Time   `json:"disabled_at,omitzero"` // zero = it is not
	Reason   string `json:"reason,omitempty"`     // of its being disabled
}

//go:embed probe.lua
var probeLua string

var probeScript = redis.NewScript(probeLua)

// endpointKey is a hash: first, last, shut, disabled (Unix ms), inrow, reason.
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
	inRow, _ := strconv.Atoi(fields["inrow"])
	return EndpointState{
		FirstFailure: moment("first"), LastFailure: moment("last"), Disabled: moment("disabled"), Reason: fields["reason"],
		InRow: inRow, Shut: moment("shut"),
	}, nil
}

// EndpointFailed notes a failure and returns the state before it, but with FirstFailure set and with an InRow that counts
// it. An endpoint that has answered, if not as we would have it, is not shut any more.
func (d *Deliveries) EndpointFailed(ctx context.Context, name string, answered bool, now time.Time) (EndpointState, error) {
	before, err := d.Endpoint(ctx, name)
	if err != nil {
		return EndpointState{}, err
	}
	key := endpointKey(name)
	var inRow *redis.IntCmd
	_, err = d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSetNX(ctx, key, "first", now.UnixMilli())
		p.HSet(ctx, key, "last", now.UnixMilli())
		if answered {
			p.HDel(ctx, key, "inrow", "shut")
		} else {
			inRow = p.HIncrBy(ctx, key, "inrow", 1)
		}
		return nil
	})
	if err != nil {
		return EndpointState{}, fmt.Errorf("noting a failure of an endpoint: %w", err)
	}
	if before.FirstFailure.IsZero() {
		before.FirstFailure = At(now)
	}
	before.InRow = 0
	if !answered {
		before.InRow = int(inRow.Val())
	}
	return before, nil
}

// EndpointOK notes a success: what failed before is forgotten.
func (d *Deliveries) EndpointOK(ctx context.Context, name string) error {
	if err := d.rdb.HDel(ctx, endpointKey(name), "first", "last", "inrow", "shut").Err(); err != nil {
		return fmt.Errorf("noting a success of an endpoint: %w", err)
	}
	return nil
}

// Shut keeps all attempts from an endpoint until a moment, in every process.
func (d *Deliveries) Shut(ctx context.Context, name string, until time.Time) error {
	if err := d.rdb.HSet(ctx, endpointKey(name), "shut", until.UnixMilli()).Err(); err != nil {
		return fmt.Errorf("shutting an endpoint: %w", err)
	}
	return nil
}

// Probe reports whether the caller may make an attempt at an endpoint that is shut: one may when its time has come, and
// the next one after hold, unless something is heard of the endpoint before.
func (d *Deliveries) Probe(ctx context.Context, name string, now time.Time, hold time.Duration) (bool, error) {
	may, err := probeScript.Run(ctx, d.rdb, []string{endpointKey(name)}, now.UnixMilli(), hold.Milliseconds()).Bool()
	if err != nil {
		return false, fmt.Errorf("asking for leave to try an endpoint: %w", err)
	}
	return may, nil
}

// Disable stops all attempts at an endpoint, in every process.
func (d *Deliveries) Disable(ctx context.Context, name, reason string, now time.Time) error {
	if err := d.rdb.HSet(ctx, endpointKey(name), "disabled", now.UnixMilli(), "reason", reason).Err(); err != nil {
		return fmt.Errorf("disabling an endpoint: %w", err)
	}
	return nil
}

// Enable ends that, and forgets the failures. What is sent first is sent alone.
func (d *Deliveries) Enable(ctx context.Context, name string) error {
	_, err := d.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, endpointKey(name))
		p.HSet(ctx, endpointKey(name), "shut", time.Now().UnixMilli())
		return nil
	})
	if err != nil {
		return fmt.Errorf("enabling an endpoint: %w", err)
	}
	return nil
}
