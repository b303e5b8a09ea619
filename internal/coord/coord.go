// Package coord holds the state that all processes of one installation share in Redis: pauses of
// apps, access tokens, request rates, leases, and the API's idempotency keys. Tasks and records
// are not part of it. Every value has a key of its own, so no operation needs more than one slot
// of a cluster.
package coord

import (
	_ "embed" // the script

	"github.com/redis/go-redis/v9"
)

//go:embed compare_and_delete.lua
var deleteIfEqualLua string

// deleteIfEqual deletes a key whose value is still the caller's. Locks, leases and claims are
// released by it.
var deleteIfEqual = redis.NewScript(deleteIfEqualLua)
