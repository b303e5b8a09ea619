package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"cloudidq/tasks"
)

// payloadSummary is the summary of a payload that the pages show.
type payloadSummary struct {
	AppID    string `json:"appid,omitempty"`
	CloudIDs int    `json:"cloudids,omitempty"`
	Webhook  string `json:"webhook,omitempty"`
	Redacted bool   `json:"redacted"`
}

// describePayload returns a summary of a payload without its contents.
func describePayload(taskType string, payload []byte) string {
	about := payloadSummary{Redacted: true}
	if taskType == tasks.TypeResolve {
		if p, err := tasks.ParseResolve(payload); err == nil {
			about.AppID, about.CloudIDs, about.Webhook = p.AppID, len(p.Items), p.Webhook
		} else {
			about.AppID, about.CloudIDs = archivedPayload(payload)
		}
	}
	text, err := json.Marshal(about)
	if err != nil { // impossible: the struct has only strings, a number and a bool
		return ""
	}
	return string(text)
}

// archivedPayload reads the redacted payload that the worker leaves in an archived task.
func archivedPayload(payload []byte) (appID string, cloudIDs int) {
	var left struct {
		Redacted bool   `json:"redacted"`
		AppID    string `json:"appid"`
		Items    int    `json:"items"`
	}
	if json.Unmarshal(payload, &left) != nil || !left.Redacted {
		return "", 0
	}
	return left.AppID, left.Items
}

// describeResult returns the size of a result without its contents.
func describeResult(_ string, result []byte) string {
	if len(result) == 0 {
		return ""
	}
	return fmt.Sprintf("redacted, %d bytes", len(result))
}

// possibleIDs matches text that might be a cloudID, an openid or a token: a long run of their
// characters. mask redacts such a run if it contains a digit. cloudidq's own errors contain no
// such text. Errors of another worker on the same queue, or of a later asynq, might.
var possibleIDs = regexp.MustCompile(`[A-Za-z0-9_@=+/%.-]{16,}`)

const mark = "[redacted]"

// mask redacts the parts of a text that might be ids.
func mask(text string) string {
	return possibleIDs.ReplaceAllStringFunc(text, func(run string) string {
		if strings.ContainsAny(run, "0123456789") {
			return mark
		}
		return run
	})
}

// serveAPI serves asynqmon's JSON API. It masks the errors of tasks and asynqmon's own errors.
func (p *pages) serveAPI(w http.ResponseWriter, r *http.Request) {
	answer := &buffered{ResponseWriter: w}
	p.inner.ServeHTTP(answer, r)
	status, body := answer.status, answer.body.Bytes()
	if status == 0 {
		status = http.StatusOK
	}
	// One unreadable queue makes asynqmon's list fail. Read the queues separately then.
	if status == http.StatusInternalServerError && r.Method == http.MethodGet && r.URL.Path == Path+"/api/queues" {
		if list, err := p.listQueuesSeparately(r.Context()); err == nil {
			status, body = http.StatusOK, list
		}
	}
	status, body = noteArchived(r, status, body)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case status >= http.StatusBadRequest:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		body = []byte(mask(string(body)))
	// A body that cannot be parsed might hide ids, so it is not passed on.
	case len(body) > 0:
		var ok bool
		if body, ok = maskErrors(body); !ok {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			status, body = http.StatusBadGateway, []byte("asynqmon's response is not valid JSON")
		}
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// buffered stores a response, so that it can be changed before it is sent.
type buffered struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

// WriteHeader implements [http.ResponseWriter].
func (b *buffered) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

// Write implements [http.ResponseWriter].
func (b *buffered) Write(text []byte) (int, error) { return b.body.Write(text) }

// maskErrors masks every error_message in a JSON text. It preserves numbers exactly.
func maskErrors(text []byte) ([]byte, bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil, false
	}
	maskIn(v)
	masked, err := json.Marshal(v)
	return masked, err == nil
}

// maskIn masks every error_message in a decoded JSON value.
func maskIn(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			maskIn(e)
		}
	case map[string]any:
		for key, e := range v {
			if text, ok := e.(string); ok && key == "error_message" {
				v[key] = mask(text)
				continue
			}
			maskIn(e)
		}
	}
}
