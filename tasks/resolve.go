package tasks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
)

// PayloadVersion is the version of [ResolvePayload] that this package writes and reads.
const PayloadVersion = 1

// ResolvePayload is the payload of a cloudid:resolve task: up to [MaxItems] cloudIDs of one app, of any number of
// users. It is JSON; docs/resolve.schema.json is its schema.
type ResolvePayload struct {
	Version    int       `json:"v"`
	AppID      string    `json:"appid"`
	Items      []Item    `json:"items"`
	AcceptedAt time.Time `json:"accepted_at,omitzero"` // when the producer's call came in
	Webhook    string    `json:"webhook,omitempty"`    // endpoint for the results; empty = the app's default
	Backfill   string    `json:"backfill,omitempty"`   // id of the backfill that the items belong to
	// Erased is how many items have been taken out, since their person was erased. A payload that has lost all of them is a
	// task that does nothing.
	Erased int `json:"erased,omitempty"`
}

// TakeOut takes items out and returns them. The payload tells how many are gone.
func (p *ResolvePayload) TakeOut(which func(Item) bool) (out []Item) {
	stay := make([]Item, 0, len(p.Items))
	for _, it := range p.Items {
		if which(it) {
			out = append(out, it)
		} else {
			stay = append(stay, it)
		}
	}
	p.Items, p.Erased = stay, p.Erased+len(out)
	return out
}

// Item is one cloudID to be resolved.
type Item struct {
	CloudID string `json:"cloud_id"`
	// OpenID is the user the cloudID belongs to. WeChat requires it for sensitive data.
	OpenID string `json:"openid,omitempty"`
	// ObtainedAt is when the front end received the cloudID; its lifetime of 5 minutes runs from here. Zero means the
	// moment of acceptance.
	ObtainedAt time.Time `json:"obtained_at,omitzero"`
	// Reference is the producer's own key for the item; it comes back in the record.
	Reference string `json:"reference,omitempty"`
}

// ErrUnreadable is the error of [ParseResolve] for a payload that no retry can make readable.
var ErrUnreadable = errors.New("payload cannot be read")

// ErrNewer is the error of [ParseResolve] for a payload of a version after [PayloadVersion]: a newer worker reads it.
var ErrNewer = errors.New("payload is of a newer version")

// NewResolveTask makes the task of a valid payload. It sets the version and the options every resolve task has; the
// task's id is new, so that a repeated write of the same task is told from a second one ([asynq.ErrTaskIDConflict]).
func NewResolveTask(p ResolvePayload, queue string) (*asynq.Task, error) {
	return newResolveTask(p, queue, uuid.NewString(), nil)
}

func newResolveTask(p ResolvePayload, queue, id string, headers map[string]string) (*asynq.Task, error) {
	p.Version = PayloadVersion
	if err := p.Validate(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding the payload: %w", err)
	}
	return asynq.NewTaskWithHeaders(TypeResolve, body, headers,
		asynq.Queue(queue),
		asynq.TaskID(id),
		asynq.MaxRetry(MaxRetry),
		asynq.Timeout(TaskTimeout),
	), nil
}

// ParseResolve reads the payload of a cloudid:resolve task, whoever wrote it. Its error wraps [ErrUnreadable] or
// [ErrNewer] and holds no submitted value. No moment is judged by the reader's clock: whoever uses obtained_at bounds it by
// the moment of acceptance.
func ParseResolve(payload []byte) (ResolvePayload, error) {
	var p ResolvePayload
	dec := json.NewDecoder(bytes.NewReader(payload))
	err := dec.Decode(&p)
	if err != nil {
		p.Version = versionOf(payload)
	}
	if p.Version > PayloadVersion {
		return ResolvePayload{}, fmt.Errorf("%w: v is %d, this version reads %d", ErrNewer, p.Version, PayloadVersion)
	}
	if err != nil {
		return ResolvePayload{}, fmt.Errorf("%w: %s", ErrUnreadable, jsonFault(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return ResolvePayload{}, fmt.Errorf("%w: something follows the JSON object", ErrUnreadable)
	}
	if p.Version != PayloadVersion {
		return ResolvePayload{}, fmt.Errorf("%w: v is %d, this version reads %d", ErrUnreadable, p.Version, PayloadVersion)
	}
	if err := p.validate(time.Time{}); err != nil {
		return ResolvePayload{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return p, nil
}

// versionOf is the version of a payload, whose other fields a newer one may have changed; 0 if it has none.
func versionOf(payload []byte) int {
	var head struct {
		Version int `json:"v"`
	}
	if json.Unmarshal(payload, &head) != nil {
		return 0
	}
	return head.Version
}

// jsonFault says what is wrong with a JSON text without quoting from it.
func jsonFault(err error) string {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	var when *time.ParseError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("not JSON at byte %d", syntax.Offset)
	case errors.As(err, &wrong):
		return fmt.Sprintf("%s must be a %s", wrong.Field, wrong.Type)
	case errors.As(err, &when):
		return "a time is not in the form of RFC 3339"
	default:
		return "not a JSON object"
	}
}
