// Package tasks is the contract between producers and workers: the queues, the task types, their payloads, and the
// [Client] that puts them into Redis.
//
// A producer that shares the Redis with cloudidq needs this package alone; it imports none of the project's others.
// Anything else that speaks asynq can enqueue the same payload: docs/resolve.schema.json describes it.
//
// This package never talks to WeChat and never reads a result.
package tasks

import "time"

// Queues. Each has workers of its own, so that a backfill cannot delay an event.
const (
	QueueEvents   = "events"   // cloudIDs that a user has just produced
	QueueBackfill = "backfill" // cloudIDs from a file
	QueueWebhooks = "webhooks" // results on their way to an endpoint
)

// TypeResolve is the asynq type of a task that exchanges cloudIDs for their open data.
const TypeResolve = "cloudid:resolve"

// Bounds of a payload. They bind producers; a worker refuses what exceeds them.
const (
	MaxItems        = 100 // cloudIDs in one task and in one call
	MaxCloudIDBytes = 512 // observed ids have 62; WeChat documents no length
	MaxAppIDBytes   = 64
	MaxOpenIDBytes  = 128
	MaxRefBytes     = 256 // Item.Reference
	MaxNameBytes    = 64  // ResolvePayload.Webhook, ResolvePayload.Backfill
	// MaxClockSkew is how far obtained_at may lie in the future when it is accepted. No worker refuses it later.
	MaxClockSkew = time.Minute
)

// What asynq is told about every task of ours. The handler alone decides when a cloudID has ended (its lifetime runs
// from obtained_at, per item), so asynq must never run out of retries, and its Deadline option is not used:
// past it asynq would burn the retries without calling the handler (asynq v0.26.0 processor.go:212-219). A task of another
// producer that asynq gives up by other options gets these from the worker.
const (
	MaxRetry    = 1 << 20
	TaskTimeout = time.Minute // longer than one try of the worker takes; it frees a slot whose handler hangs
)
