package monitoring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/tasks"
)

// Ender ends what is open of a task. It is called before the task is deleted, and an error keeps the task.
type Ender interface {
	EndTask(ctx context.Context, queue, taskID string) (ended int, err error)
}

// This file deletes tasks in asynqmon's place: an accepted cloudID gets an end, also when its task is deleted. Its routes
// and answers are those of asynqmon v0.7.2 (handler.go:137-205, task_handlers.go), with what was ended beside them.

// deleteRoute is a route that deletes tasks: one by its id, those that the body names, or all of a state or group.
var deleteRoute = regexp.MustCompile(
	`^/api/queues/([^/:]+)(?:/groups/([^/]+))?/(pending|scheduled|retry|archived|aggregating)_tasks(?:/([^/:]+)|:(delete_all|batch_delete))$`)

// archiveRoute is a route that archives tasks.
var archiveRoute = regexp.MustCompile(`^/api/queues/([^/:]+)(?:/groups/[^/]+)?/[a-z]+_tasks(?:/[^/:]+:archive|:archive_all|:batch_archive)$`)

// archiveNote is what is said of archived tasks.
const archiveNote = "open cloudIDs of an archived task can be run again until their lifetime ends, and end expired then"

const (
	deletePage = 100
	// deleteFor is how long one request deletes. Its answer says how many tasks are left; the caller asks again.
	deleteFor = 15 * time.Second
	// maxBatch bounds the body of a batch: asynqmon's pages ask for a hundred tasks at most.
	maxBatch = 1 << 20
)

// deletion is what a request has come to, in asynqmon's names.
type deletion struct {
	Deleted    *int     `json:"deleted,omitempty"`
	DeletedIDs []string `json:"deleted_ids,omitzero"`
	FailedIDs  []string `json:"failed_ids,omitzero"`
	// EndedCloudIDs have ended as failed, since their task is deleted.
	EndedCloudIDs int `json:"ended_cloudids"`
	// Left is how many tasks are left, since the request has taken long enough.
	Left int `json:"left,omitempty"`
}

// ends reports whether cloudIDs wait in a queue.
func ends(queue string) bool { return queue == tasks.QueueEvents || queue == tasks.QueueBackfill }

// deletes serves a request that deletes tasks with cloudIDs, and reports false for any other.
func (p *pages) deletes(w http.ResponseWriter, r *http.Request) bool {
	parts := deleteRoute.FindStringSubmatch(strings.TrimPrefix(r.URL.Path, Path))
	if parts == nil || !ends(parts[1]) {
		return false
	}
	queue, group, state, id, action := parts[1], parts[2], parts[3], parts[4], parts[5]
	var d deletion
	var err error
	switch {
	case action == "batch_delete" && r.Method == http.MethodPost:
		err = p.deleteNamed(w, r, queue, &d)
	case action == "delete_all" && r.Method == http.MethodDelete:
		err = p.deleteAll(r.Context(), queue, group, state, &d)
	case action == "" && r.Method == http.MethodDelete:
		one := 1
		d.Deleted = &one
		err = p.deleteOne(r.Context(), queue, id, &d)
	default:
		return false
	}
	p.answerDeletion(w, d, err)
	return true
}

func (p *pages) answerDeletion(w http.ResponseWriter, d deletion, err error) {
	if err != nil {
		status := http.StatusInternalServerError
		if _, bad := errors.AsType[*json.SyntaxError](err); bad {
			status = http.StatusBadRequest
		}
		http.Error(w, mask(err.Error()), status)
		return
	}
	writeJSON(w, d)
}

func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// deleteOne ends what is open of a task, and deletes it. One that a worker has got hold of between stays, and finds its
// cloudIDs done.
func (p *pages) deleteOne(ctx context.Context, queue, id string, d *deletion) error {
	n, err := p.ender.EndTask(ctx, queue, id)
	d.EndedCloudIDs += n
	if err != nil {
		return err
	}
	return p.inspector.DeleteTask(queue, id)
}

func (p *pages) deleteNamed(w http.ResponseWriter, r *http.Request, queue string, d *deletion) error {
	var named struct {
		TaskIDs []string `json:"task_ids"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBatch)).Decode(&named); err != nil {
		return err
	}
	d.DeletedIDs, d.FailedIDs = []string{}, []string{} // the pages want lists, not null
	for _, id := range named.TaskIDs {
		if p.deleteOne(r.Context(), queue, id, d) == nil {
			d.DeletedIDs = append(d.DeletedIDs, id)
		} else {
			d.FailedIDs = append(d.FailedIDs, id)
		}
	}
	return nil
}

// deleteAll deletes page by page. Tasks that cannot be deleted, since a worker has got hold of them, are left behind.
func (p *pages) deleteAll(ctx context.Context, queue, group, state string, d *deletion) error {
	deleted, until := 0, time.Now().Add(deleteFor)
	d.Deleted = &deleted
	for {
		infos, err := p.list(queue, group, state)
		if errors.Is(err, asynq.ErrQueueNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing tasks: %w", err)
		}
		before := deleted
		var last error
		for _, info := range infos {
			if last = p.deleteOne(ctx, queue, info.ID, d); last == nil {
				deleted++
			}
		}
		switch {
		case len(infos) == 0:
			return nil
		case deleted == before:
			return fmt.Errorf("after %d tasks: %w", deleted, last)
		case time.Now().After(until):
			d.Left, err = p.left(ctx, queue, group, state)
			return err
		}
	}
}

// list is the first page of the tasks of a state.
func (p *pages) list(queue, group, state string) ([]*asynq.TaskInfo, error) {
	size := asynq.PageSize(deletePage)
	switch state {
	case "pending":
		return p.inspector.ListPendingTasks(queue, size)
	case "scheduled":
		return p.inspector.ListScheduledTasks(queue, size)
	case "retry":
		return p.inspector.ListRetryTasks(queue, size)
	case "archived":
		return p.inspector.ListArchivedTasks(queue, size)
	default:
		return p.inspector.ListAggregatingTasks(queue, group, size)
	}
}

// left is how many tasks of a state there are (asynq v0.26.0 internal/base/base.go:106-232).
func (p *pages) left(ctx context.Context, queue, group, state string) (int, error) {
	prefix := "asynq:{" + queue + "}:"
	count := p.rdb.ZCard
	key := prefix + state
	switch state {
	case "pending":
		count = p.rdb.LLen
	case "aggregating":
		key = prefix + "g:" + group
	}
	n, err := count(ctx, key).Result()
	if err != nil {
		return 0, fmt.Errorf("counting tasks: %w", err)
	}
	return int(n), nil
}

// noteArchived says beside asynqmon's answer what archiving a task with cloudIDs means.
func noteArchived(r *http.Request, status int, body []byte) (int, []byte) {
	parts := archiveRoute.FindStringSubmatch(strings.TrimPrefix(r.URL.Path, Path))
	if parts == nil || !ends(parts[1]) || r.Method != http.MethodPost || status >= http.StatusBadRequest {
		return status, body
	}
	answer := make(map[string]any)
	if len(body) > 0 && json.Unmarshal(body, &answer) != nil {
		return status, body
	}
	answer["note"] = archiveNote
	text, err := json.Marshal(answer)
	if err != nil {
		return status, body
	}
	return http.StatusOK, text
}
