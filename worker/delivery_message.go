package worker

import (
	"bytes"
	"encoding/json"
	"errors"

	"cloudidq/store"
	"cloudidq/tasks"
)

// deliveryMessage is the body of a delivery: docs/webhooks.md shows it to receivers.
type deliveryMessage struct {
	Type      string       `json:"type"`
	Timestamp store.Time   `json:"timestamp"`
	Data      deliveryData `json:"data"`
}

type deliveryData struct {
	AppID   string            `json:"appid"`
	Results []json.RawMessage `json:"results"` // as the store has them: they are JSON already
}

// Why there is no body of a delivery. Neither text holds a stored value.
var (
	errMessageAppID   = errors.New("the appid of the delivery is none")
	errMessageResults = errors.New("a result of the delivery is not a JSON object, or its moment no time")
)

// body is the message of a delivery, made of nothing but what is stored, so that it is the same at every attempt.
// It must stay as it is: a delivery may be begun by one version and tried again by the next.
//
// It is signed, so it holds what is stored and nothing that a stored value could add: an appid that needs an escape and a
// result that is not one JSON object are refused. What is stored has neither; whoever can write into Redis could.
func body(d *store.Delivery) ([]byte, error) {
	if !tasks.ValidAppID(d.AppID) {
		return nil, errMessageAppID
	}
	size := 128
	for _, item := range d.Items {
		if len(item) == 0 || item[0] != '{' {
			return nil, errMessageResults
		}
		size += len(item) + 1
	}
	m := deliveryMessage{
		Type: "resolutions.finished", Timestamp: d.Created,
		Data: deliveryData{AppID: d.AppID, Results: append([]json.RawMessage{}, d.Items...)}, // [] and not null
	}
	var b bytes.Buffer
	b.Grow(size)
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // data is WeChat's text, unchanged
	if err := enc.Encode(m); err != nil {
		return nil, errMessageResults
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
