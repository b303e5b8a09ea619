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

// ResolvePayload is the payload of a cloudid:resolve task: up to [MaxItems] cloudIDs of one app,
// of any number of users. It is encoded as JSON; docs/resolve.schema.json is its schema.
type ResolvePayload struct {
	Version    int       `json:"v"`
	AppID      string    `json:"appid"`
	Items      []Item    `json:"items"`
	AcceptedAt time.Time `json:"accepted_at,omitzero"` // when the producer's call was accepted
	Webhook    string    `json:"webhook,omitempty"`    // endpoint for the results; empty means the app's default
	Backfill   string    `json:"backfill,omitempty"`   // id of the backfill that the items belong to
	// Erased is the number of items that were removed because their user was erased. A task
	// whose items were all removed does nothing.
	Erased int `json:"erased,omitempty"`
}

// TakeOut removes the items for which the function returns true, and returns them. It adds their
// number to Erased.
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
	// OpenID is the user that the cloudID belongs to. WeChat requires it for sensitive data.
	OpenID string `json:"openid,omitempty"`
	// ObtainedAt is when the front end received the cloudID. The lifetime of 5 minutes starts at
	// this time. Zero means the time of acceptance.
	ObtainedAt time.Time `json:"obtained_at,omitzero"`
	// Reference is the producer's own key for the item. The record repeats it.
	Reference string `json:"reference,omitempty"`
}

// ErrUnreadable is the error of [ParseResolve] for a payload that no retry can make readable.
var ErrUnreadable = errors.New("payload cannot be read")

// ErrNewer is the error of [ParseResolve] for a payload with a version after [PayloadVersion]. A
// newer worker can read it.
var ErrNewer = errors.New("payload is of a newer version")

// NewResolveTask returns the task of a valid payload. It sets the version and the options that
// every resolve task has. The task gets a new id, which distinguishes a repeated write of the task
// from a second task ([asynq.ErrTaskIDConflict]).
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

// ParseResolve parses the payload of a cloudid:resolve task of any producer. Its error wraps
// [ErrUnreadable] or [ErrNewer] and contains no submitted value. ParseResolve does not compare
// times with the reader's clock. Code that uses obtained_at must limit it to the time of
// acceptance.
func ParseResolve(payload []byte) (ResolvePayload, error) {
	var p ResolvePayload
	dec := json.NewDecoder(bytes.NewReader(payload))
	// A decoder instead of json.Unmarshal, so that trailing data gets its own error text.
	err := dec.Decode(&p)
	if err != nil {
		p.Version = versionOf(payload) // a newer version may have changed the types of other fields
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

// versionOf returns the version of a payload, even if its other fields cannot be decoded. It
// returns 0 if there is none.
func versionOf(payload []byte) int {
	var head struct {
		Version int `json:"v"`
	}
	if json.Unmarshal(payload, &head) != nil {
		return 0
	}
	return head.Version
}

// jsonFault describes a JSON error without quoting the text.
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
