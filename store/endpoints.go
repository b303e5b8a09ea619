package store

import (
	"context"
	_ "embed" // the script
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// EndpointState is the record of an endpoint's failures and successes, shared by all processes.
type EndpointState struct {
	FirstFailure Time `json:"first_failure_at,omitzero"` // the first since the last success
	LastFailure  Time `json:"last_failure_at,omitzero"`
	// InRow counts the consecutive attempts, up to the latest, after which the endpoint was
	// taken to be unavailable, such as timeouts. It is reset by an answer that shows that it
	// accepts deliveries.
	InRow int `json:"in_row,omitzero"`
	// OpenUntil is when the next attempt may start while the circuit is open: one delivery as a
	// probe, and more if the probe is answered. Zero = the circuit is closed.
	OpenUntil Time   `json:"shut_until,omitzero"`
	Disabled  Time   `json:"disabled_at,omitzero"` // zero = enabled
	Reason    string `json:"reason,omitempty"`     // why it is disabled
}

//go:embed probe.lua
var probeLua string

var probeScript = redis.NewScript(probeLua)

// endpointKey returns the Redis key of a hash: first, last, shut, disabled (Unix ms), inrow,
// reason.
func endpointKey(name string) string { return "cloudidq:endpoint:" + name }

// Endpoint returns the state of an endpoint. An endpoint without records has the zero state.
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
		InRow: inRow, OpenUntil: moment("shut"),
	}, nil
}

// EndpointFailed records a failed attempt. answered reports whether the endpoint nevertheless
// accepts deliveries, for instance because it refused only this one. Then its circuit closes and
// InRow is 0. EndpointFailed returns the state before the failure, except that FirstFailure is
// set and InRow counts this failure.
func (d *Deliveries) EndpointFailed(ctx context.Context, name string, answered bool, now time.Time) (EndpointState, error) {
	before, err := d.Endpoint(ctx, name)
	if err != nil {
		return EndpointState{}, err
	}
	key := endpointKey(name)
	var inRow *redis.IntCmd
	// If the endpoint did not answer, its circuit stays as it is. The caller decides about
	// opening it.
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
		return EndpointState{}, fmt.Errorf("recording a failure of an endpoint: %w", err)
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

// EndpointOK records a successful attempt. It clears all earlier failures and closes the
// circuit.
func (d *Deliveries) EndpointOK(ctx context.Context, name string) error {
	if err := d.rdb.HDel(ctx, endpointKey(name), "first", "last", "inrow", "shut").Err(); err != nil {
		return fmt.Errorf("recording a success of an endpoint: %w", err)
	}
	return nil
}

// OpenCircuit opens the circuit of an endpoint: no process sends to it until the given time.
func (d *Deliveries) OpenCircuit(ctx context.Context, name string, until time.Time) error {
	if err := d.rdb.HSet(ctx, endpointKey(name), "shut", until.UnixMilli()).Err(); err != nil {
		return fmt.Errorf("opening the circuit of an endpoint: %w", err)
	}
	return nil
}

// Probe reports whether the caller may send to an endpoint whose circuit is open. Once the time
// of OpenCircuit has passed, one caller may. The next may after interval, unless an
// attempt's result is recorded before. If the circuit is closed, every caller may.
func (d *Deliveries) Probe(
	ctx context.Context, name string, now time.Time, interval time.Duration,
) (bool, error) {
	may, err := probeScript.Run(
		ctx, d.rdb, []string{endpointKey(name)}, now.UnixMilli(), interval.Milliseconds(),
	).Bool()
	if err != nil {
		return false, fmt.Errorf("requesting a probe of an endpoint: %w", err)
	}
	return may, nil
}

// Disable records that an endpoint is disabled, and why. No process sends to it until Enable.
func (d *Deliveries) Disable(ctx context.Context, name, reason string, now time.Time) error {
	if err := d.rdb.HSet(ctx, endpointKey(name), "disabled", now.UnixMilli(), "reason", reason).Err(); err != nil {
		return fmt.Errorf("disabling an endpoint: %w", err)
	}
	return nil
}

// Enable enables a disabled endpoint and clears its failures. Its circuit stays open with a
// probe due now, so the first delivery is sent alone.
func (d *Deliveries) Enable(ctx context.Context, name string) error {
	_, err := d.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, endpointKey(name))
		// The first delivery is a probe, because the endpoint may still fail.
		p.HSet(ctx, endpointKey(name), "shut", time.Now().UnixMilli())
		return nil
	})
	if err != nil {
		return fmt.Errorf("enabling an endpoint: %w", err)
	}
	return nil
}
