package tasks

import (
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/hibiken/asynq"
)

// TypeDeliver is the asynq type of a task that delivers results to a webhook endpoint. Only
// workers enqueue it.
const TypeDeliver = "webhook:deliver"

// deliverPayload holds only the id of the delivery. The outbox has the sealed content.
type deliverPayload struct {
	Delivery string `json:"delivery"`
}

// NewDeliverTask returns the task of a delivery. The task's id is the delivery's id, so there is
// at most one task per delivery ([asynq.ErrTaskIDConflict]).
func NewDeliverTask(deliveryID string) (*asynq.Task, error) {
	body, err := json.Marshal(deliverPayload{Delivery: deliveryID})
	if err != nil {
		return nil, fmt.Errorf("encoding the payload: %w", err)
	}
	return asynq.NewTask(TypeDeliver, body,
		asynq.Queue(QueueWebhooks),
		asynq.TaskID(deliveryID),
		asynq.MaxRetry(MaxRetry),
		asynq.Timeout(TaskTimeout),
	), nil
}

var deliveryID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ParseDeliver returns the delivery id of a webhook:deliver task. Its error wraps [ErrUnreadable].
func ParseDeliver(payload []byte) (string, error) {
	var p deliverPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return "", fmt.Errorf("%w: %s", ErrUnreadable, jsonFault(err))
	}
	if !deliveryID.MatchString(p.Delivery) {
		return "", fmt.Errorf("%w: delivery is no id", ErrUnreadable)
	}
	return p.Delivery, nil
}
