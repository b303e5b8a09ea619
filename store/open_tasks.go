package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/seal"
)

// OpenTask holds the cloudIDs that an attempt of a task left pending.
type OpenTask struct {
	TaskID   string   `json:"-"`
	AppID    string   `json:"appid"`
	CloudIDs []string `json:"ids"`
}

// The layout of open tasks in Redis, all in one slot of a cluster. An entry lives for the
// lifetime of its cloudIDs and some minutes:
//
//	cloudidq:{open}:due     sorted set of task ids, by when their records become overdue (Unix ms)
//	cloudidq:{open}:tasks   hash by task id: appid and cloudIDs as JSON, sealed
const (
	openDue   = "cloudidq:{open}:due"
	openTasks = "cloudidq:{open}:tasks"
	openKept  = 24 * time.Hour // TTL of both keys, if no worker handles them
)

// OpenTasks stores which cloudIDs should have a final status by when, so that those whose task
// has vanished are found without a search. It uses Redis even if the records are in PostgreSQL.
// It is safe for concurrent use.
type OpenTasks struct {
	rdb   redis.Cmdable
	codec codec
}

// NewOpenTasks returns the open tasks in rdb. The caller closes rdb. The options are the same
// as the store's.
func NewOpenTasks(rdb redis.Cmdable, options ...Option) *OpenTasks {
	var with settings
	for _, option := range options {
		option(&with)
	}
	return &OpenTasks{rdb, codec{with.keyset}}
}

// Note stores the cloudIDs that a task has open now, until their records become overdue at due.
// It replaces an earlier entry of the task.
func (o *OpenTasks) Note(ctx context.Context, task OpenTask, due time.Time) error {
	text, err := json.Marshal(task)
	if err != nil {
		return fmt.Errorf("noting an open task: %w", errJSON)
	}
	if o.codec.keyset != nil {
		if text, err = o.codec.keyset.Seal(nil, text, openAD(task.TaskID)); err != nil {
			return fmt.Errorf("noting an open task: %w", errSeal)
		}
	}
	_, err = o.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, openTasks, task.TaskID, text)
		p.ZAdd(ctx, openDue, redis.Z{Score: float64(due.UnixMilli()), Member: task.TaskID})
		p.PExpire(ctx, openTasks, openKept)
		p.PExpire(ctx, openDue, openKept)
		return nil
	})
	if err != nil {
		return fmt.Errorf("noting an open task: %w", err)
	}
	return nil
}

// Due returns up to most tasks whose records are overdue, the oldest first. A task whose entry
// cannot be read has no cloudIDs.
func (o *OpenTasks) Due(ctx context.Context, now time.Time, most int) ([]OpenTask, error) {
	ids, err := o.rdb.ZRangeByScore(ctx, openDue, &redis.ZRangeBy{
		Min: "-inf", Max: strconv.FormatInt(now.UnixMilli(), 10), Count: int64(most),
	}).Result()
	if err != nil || len(ids) == 0 {
		return nil, wrapped("listing open tasks", err)
	}
	texts, err := o.rdb.HMGet(ctx, openTasks, ids...).Result()
	if err != nil || len(texts) != len(ids) {
		return nil, wrapped("reading open tasks", err)
	}
	due := make([]OpenTask, len(ids))
	for i, id := range ids {
		text, _ := texts[i].(string)
		due[i] = o.read(id, text)
	}
	return due, nil
}

// Forget removes the entries of tasks.
func (o *OpenTasks) Forget(ctx context.Context, taskIDs ...string) error {
	if len(taskIDs) == 0 {
		return nil
	}
	members := make([]any, len(taskIDs))
	for i, id := range taskIDs {
		members[i] = id
	}
	_, err := o.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, openDue, members...)
		p.HDel(ctx, openTasks, taskIDs...)
		return nil
	})
	return wrapped("forgetting open tasks", err)
}

// read parses a stored entry. If the entry is missing or cannot be opened, the OpenTask has
// only its TaskID.
func (o *OpenTasks) read(taskID, text string) OpenTask {
	if text != "" && text[0] != '{' && o.codec.keyset != nil {
		if open, err := o.codec.keyset.Open(nil, []byte(text), openAD(taskID)); err == nil {
			text = string(open)
		}
	}
	var task OpenTask
	if json.Unmarshal([]byte(text), &task) != nil {
		task = OpenTask{}
	}
	task.TaskID = taskID
	return task
}

// openAD binds the sealed text to its task.
func openAD(taskID string) seal.AD { return seal.AD{Field: "open", CloudID: taskID} }

// wrapped returns err with a prefix, or nil if err is nil.
func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
