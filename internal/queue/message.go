package queue

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"cloudidq/tasks"
)

// Field numbers of asynq's TaskMessage (asynq v0.26.0 internal/proto/asynq.proto).
const (
	fieldType       protowire.Number = 1
	fieldPayload    protowire.Number = 2
	fieldRetry      protowire.Number = 5
	fieldTimeout    protowire.Number = 8 // seconds
	fieldDeadline   protowire.Number = 9 // Unix seconds; 0 = none
	fieldLastFailed protowire.Number = 11
)

// message holds the fields of asynq's TaskMessage that this package reads.
type message struct {
	kind       string
	payload    []byte
	retry      uint64 // how often asynq retries the task
	deadline   uint64 // Unix seconds; 0 = none
	lastFailed uint64 // Unix seconds
}

// parseMessage parses a TaskMessage. It reports false if text is not one.
func parseMessage(text string) (m message, ok bool) {
	ok = eachField([]byte(text), func(number protowire.Number, wire protowire.Type, _, value []byte) {
		switch wire {
		case protowire.BytesType:
			bytes, _ := protowire.ConsumeBytes(value)
			switch number {
			case fieldType:
				m.kind = string(bytes)
			case fieldPayload:
				m.payload = bytes
			}
		case protowire.VarintType:
			n, _ := protowire.ConsumeVarint(value)
			switch number {
			case fieldRetry:
				m.retry = n
			case fieldDeadline:
				m.deadline = n
			case fieldLastFailed:
				m.lastFailed = n
			}
		}
	})
	return m, ok
}

// mayGiveUp reports whether asynq may give up the task because of options that its producer has
// chosen.
func (m *message) mayGiveUp() bool {
	return m.kind == tasks.TypeResolve && (m.retry < tasks.MaxRetry || m.deadline != 0)
}

// withOwnOptions returns the message with the retries and the timeout that our own producers
// set, and without a deadline. It reports false if text is no TaskMessage.
func withOwnOptions(text string) ([]byte, bool) {
	out := make([]byte, 0, len(text)+8)
	ok := eachField([]byte(text), func(number protowire.Number, _ protowire.Type, field, _ []byte) {
		if number != fieldRetry && number != fieldTimeout && number != fieldDeadline {
			out = append(out, field...)
		}
	})
	// protobuf allows fields in any order, so the new ones are appended.
	for _, option := range []struct {
		number protowire.Number
		value  uint64
	}{{fieldRetry, tasks.MaxRetry}, {fieldTimeout, uint64(tasks.TaskTimeout / time.Second)}} {
		out = protowire.AppendTag(out, option.number, protowire.VarintType)
		out = protowire.AppendVarint(out, option.value)
	}
	return out, ok
}

// withPayload returns the message of a cloudid:resolve task with its payload replaced by
// change. It reports false for any other message, and if change reports false.
func withPayload(
	text []byte, change func(payload []byte) (changed []byte, ok bool),
) (message []byte, ok bool) {
	out := make([]byte, 0, len(text))
	kind, done, refused := "", false, false
	parsed := eachField(text, func(number protowire.Number, _ protowire.Type, field, value []byte) {
		switch number {
		case fieldType:
			bytes, _ := protowire.ConsumeBytes(value)
			kind = string(bytes)
		case fieldPayload:
			payload, _ := protowire.ConsumeBytes(value)
			changed, ok := change(payload)
			if !ok {
				refused = true
				return
			}
			field = protowire.AppendTag(nil, fieldPayload, protowire.BytesType)
			field, done = protowire.AppendBytes(field, changed), true
		}
		out = append(out, field...)
	})
	return out, parsed && done && !refused && kind == tasks.TypeResolve
}

// eachField calls visit for each field of a protobuf message. field includes the field's tag,
// value does not. It reports false if text is no protobuf message.
func eachField(
	text []byte, visit func(number protowire.Number, wire protowire.Type, field, value []byte),
) bool {
	for rest := text; len(rest) > 0; {
		number, wire, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return false
		}
		size := protowire.ConsumeFieldValue(number, wire, rest[n:])
		if size < 0 {
			return false
		}
		visit(number, wire, rest[:n+size], rest[n:n+size])
		rest = rest[n+size:]
	}
	return true
}
