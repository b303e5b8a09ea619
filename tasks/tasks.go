// Package tasks is the contract between producers and workers: the queues, the task types, their
// payloads, and the [Client] that enqueues tasks in Redis.
//
// A producer that shares the Redis with cloudidq needs only this package, which imports no other
// package of the project. Other asynq clients can enqueue the same payload;
// docs/resolve.schema.json describes it.
//
// This package never calls WeChat and never reads a result.
package tasks

import "time"

// The queues. Each queue has its own workers, so a backfill cannot delay an event.
const (
	QueueEvents   = "events"   // cloudIDs that a user has just produced
	QueueBackfill = "backfill" // cloudIDs from a file
	QueueWebhooks = "webhooks" // results to be delivered to a webhook endpoint
)

// TypeResolve is the asynq type of a task that exchanges cloudIDs for their open data.
const TypeResolve = "cloudid:resolve"

// Limits of a payload. Producers must keep them; a worker rejects a payload that exceeds them.
const (
	MaxItems        = 100 // cloudIDs in one task and in one call
	MaxCloudIDBytes = 512 // observed cloudIDs have 62 bytes; WeChat documents no length
	MaxAppIDBytes   = 64
	MaxOpenIDBytes  = 128
	MaxRefBytes     = 256 // Item.Reference
	MaxNameBytes    = 64  // ResolvePayload.Webhook, ResolvePayload.Backfill
	// MaxClockSkew is how far obtained_at may be in the future at acceptance. Workers do not
	// check this limit later.
	MaxClockSkew = time.Minute
)

// asynq options of every task. The handler alone decides when a cloudID is final, because each
// item's lifetime starts at its obtained_at. Therefore asynq must never run out of retries.
// asynq's Deadline option is not used: after the deadline, asynq would use up the retries
// without calling the handler (asynq v0.26.0 processor.go:212-219). If an external producer sets
// other options and asynq archives its task, the worker enqueues the task again with these
// options.
const (
	MaxRetry    = 1 << 20
	TaskTimeout = time.Minute // longer than one attempt of the worker; it frees a slot whose handler hangs
)
