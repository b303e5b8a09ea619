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

// described is what is shown of a payload.
type described struct {
	AppID    string `json:"appid,omitempty"`
	CloudIDs int    `json:"cloudids,omitempty"`
	Webhook  string `json:"webhook,omitempty"`
	Redacted bool   `json:"redacted"`
}

// describePayload says what a payload is about, and nothing of what is in it.
func describePayload(taskType string, payload []byte) string {
	about := described{Redacted: true}
	if taskType == tasks.TypeResolve {
		if p, err := tasks.ParseResolve(payload); err == nil {
			about.AppID, about.CloudIDs, about.Webhook = p.AppID, len(p.Items), p.Webhook
		} else {
			about.AppID, about.CloudIDs = archivedPayload(payload)
		}
	}
	text, err := json.Marshal(about)
	if err != nil { // texts and a number
		return ""
	}
	return string(text)
}

// archivedPayload reads what the worker has left of the payload of an archived task.
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

func describeResult(_ string, result []byte) string {
	if len(result) == 0 {
		return ""
	}
	return fmt.Sprintf("redacted, %d bytes", len(result))
}

// suspicious is what might be a cloudID, an openid or a token: a long run of their characters with a digit in it. The
// errors of cloudidq hold no such thing; those of another worker on the same queue, or of a later asynq, might.
var suspicious = regexp.MustCompile(`[A-Za-z0-9_@=+/%.-]{16,}`)

const mark = "[redacted]"

// mask takes out of a text what might be an id.
func mask(text string) string {
	return suspicious.ReplaceAllStringFunc(text, func(run string) string {
		if strings.ContainsAny(run, "0123456789") {
			return mark
		}
		return run
	})
}

// serveAPI serves asynqmon's JSON with its errors masked: those of tasks, and its own.
func (p *pages) serveAPI(w http.ResponseWriter, r *http.Request) {
	answer := &buffered{ResponseWriter: w}
	p.inner.ServeHTTP(answer, r)
	status, body := answer.status, answer.body.Bytes()
	if status == 0 {
		status = http.StatusOK
	}
	if status == http.StatusInternalServerError && r.Method == http.MethodGet && r.URL.Path == Path+"/api/queues" {
		if list, err := p.queuesApart(r.Context()); err == nil {
			status, body = http.StatusOK, list
		}
	}
	status, body = noteArchived(r, status, body)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case status >= http.StatusBadRequest:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		body = []byte(mask(string(body)))
	case len(body) > 0:
		var ok bool
		if body, ok = maskErrors(body); !ok {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			status, body = http.StatusBadGateway, []byte("asynqmon's answer is not understood")
		}
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// buffered keeps an answer back.
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

// maskErrors masks every error_message in a JSON text. Numbers stay as they are.
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
