package worker

import (
	"bytes"
	"encoding/json"
	"errors"

	"cloudidq/store"
	"cloudidq/tasks"
)

// deliveryMessage is the body of a delivery. docs/webhooks.md documents it for receivers.
type deliveryMessage struct {
	Type      string       `json:"type"`
	Timestamp store.Time   `json:"timestamp"`
	Data      deliveryData `json:"data"`
}

type deliveryData struct {
	AppID   string            `json:"appid"`
	Results []json.RawMessage `json:"results"` // as stored: already JSON
}

// Errors of body. Neither text contains a stored value.
var (
	errMessageAppID   = errors.New("the appid of the delivery is none")
	errMessageResults = errors.New("a result of the delivery is not a JSON object, or its moment no time")
)

// body returns the webhook message of a delivery. It uses stored values only, so every attempt
// sends the same bytes. Do not change its output: one version may make the first attempt, and
// the next version the second.
//
// The body is signed, so a stored value must not be able to add members to it. body refuses an
// appid that needs escaping (errMessageAppID) and a result that is not one JSON object
// (errMessageResults). cloudidq never stores such values, but anyone with write access to Redis
// could.
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
	// Encode ends its output with a newline.
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
