package deliver

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"cloudidq/store"
	"cloudidq/tasks"
)

// message is the body of a delivery. docs/webhooks.md documents it for receivers.
type message struct {
	Type      string      `json:"type"`
	Timestamp store.Time  `json:"timestamp"`
	Data      messageData `json:"data"`
}

type messageData struct {
	AppID   string            `json:"appid"`
	Results []json.RawMessage `json:"results"` // as stored: already JSON
}

// Errors of body. Neither text contains a stored value.
var (
	errMessageAppID   = errors.New("the appid of the delivery is invalid")
	errMessageResults = errors.New("a result of the delivery is not a JSON object, or its time is invalid")
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
	m := message{
		Type: "resolutions.finished", Timestamp: d.Created,
		// Without items, the results are [] and not null.
		Data: messageData{AppID: d.AppID, Results: append([]json.RawMessage{}, d.Items...)},
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

// thinResult is one result of a thin payload: the data that the receiver needs to fetch the
// record.
type thinResult struct {
	CloudID string       `json:"cloud_id"`
	Status  store.Status `json:"status"`
	URL     string       `json:"url"` // of the HTTP API, without scheme and host
}

// ThinResult returns the result that a thin endpoint receives in place of a final record.
func ThinResult(rec *store.Record) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	thin := thinResult{rec.CloudID, rec.Status, RecordPath(rec.AppID, rec.CloudID)}
	_ = enc.Encode(thin) // strings can always be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// RecordPath returns the path of a record in the HTTP API.
func RecordPath(appID, cloudID string) string {
	return "/v1/resolutions/" + pathSegment(appID) + "/" + pathSegment(cloudID)
}

// pathSegment escapes all bytes but letters, digits and -._~ (RFC 3986, section 2.3). Any
// router can then decode the segment.
func pathSegment(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			strings.IndexByte("-._~", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteString(strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:]))
		}
	}
	return b.String()
}
