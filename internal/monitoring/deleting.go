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

	"cloudidq/internal/queue"
	"cloudidq/tasks"
)

// Finisher gives the pending cloudIDs of a task a final status, and returns how many they were. It
// is called before a task is deleted. If it returns an error, the task is not deleted.
type Finisher interface {
	FinishTask(ctx context.Context, queue, taskID string) (finished int, err error)
}

// This file handles deletions in place of asynqmon, because each accepted cloudID must get a
// final status, even if its task is deleted. The routes and the responses are those of asynqmon
// v0.7.2 (handler.go:137-205, task_handlers.go). The responses also report how many cloudIDs
// were given a final status.

// deleteRoute matches the routes that delete tasks: one task by id, the tasks named in the body,
// or all tasks of a state or group.
var deleteRoute = regexp.MustCompile(
	`^/api/queues/([^/:]+)(?:/groups/([^/]+))?/(pending|scheduled|retry|archived|aggregating)_tasks(?:/([^/:]+)|:(delete_all|batch_delete))$`)

// archiveRoute matches the routes that archive tasks.
var archiveRoute = regexp.MustCompile(`^/api/queues/([^/:]+)(?:/groups/[^/]+)?/[a-z]+_tasks(?:/[^/:]+:archive|:archive_all|:batch_archive)$`)

// archiveNote is added to the response when tasks are archived.
const archiveNote = "open cloudIDs of an archived task can be run again " +
	"until their lifetime ends; then they expire"

const (
	deletePage = 100
	// deleteFor bounds the time that one request spends deleting tasks. The response says how many
	// tasks are left, and the caller sends the request again.
	deleteFor = 15 * time.Second
	// maxBatch bounds the body of a batch, in bytes. asynqmon's pages name at most a hundred tasks.
	maxBatch = 1 << 20
)

// deletion is the result of a request, with asynqmon's field names.
type deletion struct {
	Deleted    *int     `json:"deleted,omitempty"`
	DeletedIDs []string `json:"deleted_ids,omitzero"`
	FailedIDs  []string `json:"failed_ids,omitzero"`
	// FinishedCloudIDs is how many cloudIDs got the status failed because their task was deleted.
	FinishedCloudIDs int `json:"ended_cloudids"`
	// Left is how many tasks are left because the request reached its time limit.
	Left int `json:"left,omitempty"`
}

// hasCloudIDs reports whether the tasks of a queue contain cloudIDs.
func hasCloudIDs(queue string) bool {
	return queue == tasks.QueueEvents || queue == tasks.QueueBackfill
}

// handleDelete handles a request that deletes tasks with cloudIDs. It reports false for any other
// request.
func (p *pages) handleDelete(w http.ResponseWriter, r *http.Request) bool {
	parts := deleteRoute.FindStringSubmatch(strings.TrimPrefix(r.URL.Path, Path))
	if parts == nil || !hasCloudIDs(parts[1]) {
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

// answerDeletion responds with the deletion, or with the masked error.
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

// writeJSON responds with v as JSON.
func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the response cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// deleteOne finishes the pending cloudIDs of a task, then deletes the task. If a worker claims
// the task in between, the task is not deleted, and the worker finds its cloudIDs finished.
func (p *pages) deleteOne(ctx context.Context, queue, id string, d *deletion) error {
	n, err := p.finisher.FinishTask(ctx, queue, id)
	d.FinishedCloudIDs += n
	if err != nil {
		return err
	}
	return p.inspector.DeleteTask(queue, id)
}

// deleteNamed deletes the tasks that the body of a batch request names.
func (p *pages) deleteNamed(w http.ResponseWriter, r *http.Request, queue string, d *deletion) error {
	var named struct {
		TaskIDs []string `json:"task_ids"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBatch)).Decode(&named); err != nil {
		return err
	}
	d.DeletedIDs, d.FailedIDs = []string{}, []string{} // the pages expect lists, not null
	for _, id := range named.TaskIDs {
		if p.deleteOne(r.Context(), queue, id, d) == nil {
			d.DeletedIDs = append(d.DeletedIDs, id)
		} else {
			d.FailedIDs = append(d.FailedIDs, id)
		}
	}
	return nil
}

// deleteAll deletes tasks page by page. It leaves the tasks that a worker has claimed, because
// these cannot be deleted.
func (p *pages) deleteAll(ctx context.Context, name, group, state string, d *deletion) error {
	deleted, until := 0, time.Now().Add(deleteFor)
	d.Deleted = &deleted
	for {
		infos, err := p.list(name, group, state)
		if errors.Is(err, asynq.ErrQueueNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing tasks: %w", err)
		}
		before := deleted
		var last error
		for _, info := range infos {
			if last = p.deleteOne(ctx, name, info.ID, d); last == nil {
				deleted++
			}
		}
		switch {
		case len(infos) == 0:
			return nil
		case deleted == before:
			return fmt.Errorf("after %d tasks: %w", deleted, last)
		case time.Now().After(until):
			d.Left, err = queue.CountWaiting(ctx, p.rdb, name, state, group)
			return err
		}
	}
}

// list returns the first page of the tasks in a state.
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

// noteArchived adds a note to asynqmon's response that says what happens to the cloudIDs of an
// archived task.
func noteArchived(r *http.Request, status int, body []byte) (int, []byte) {
	parts := archiveRoute.FindStringSubmatch(strings.TrimPrefix(r.URL.Path, Path))
	if parts == nil || !hasCloudIDs(parts[1]) || r.Method != http.MethodPost ||
		status >= http.StatusBadRequest {
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
