package httpapi

import (
	"encoding/json"
	"net/http"
)

// problem is an error response as RFC 9457 defines it. Its texts are fixed: they repeat nothing
// that the client sent.
type problem struct {
	Type   string  `json:"type" doc:"about:blank: the status identifies the kind of problem"`
	Title  string  `json:"title" doc:"the text of the status"`
	Status int     `json:"status"`
	Detail string  `json:"detail,omitempty" doc:"what is wrong, and how to fix it"`
	Errors []fault `json:"errors,omitempty" doc:"all faults of the request"`

	header http.Header
}

// fault describes one thing that is wrong with a request.
type fault struct {
	Location string `json:"location" doc:"the field, such as body.cloud_ids[3]"`
	Message  string `json:"message" doc:"what is wrong with it"`
}

func newProblem(status int, detail string, errors ...fault) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Errors: errors}
}

// retryAfter sets the Retry-After header, in seconds.
func (p *problem) retryAfter(seconds string) *problem {
	p.header = http.Header{"Retry-After": {seconds}}
	return p
}

// Error implements error.
func (p *problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *problem) GetHeaders() http.Header { return p.header }

// ContentType implements huma.ContentTypeFilter.
func (p *problem) ContentType(string) string { return "application/problem+json" }

// httpError responds with a problem. The caller sets the headers that go with the status before it
// calls httpError.
func httpError(w http.ResponseWriter, status int, detail string) {
	writeProblem(w, newProblem(status, detail))
}

// writeProblem sends p as the response.
func writeProblem(w http.ResponseWriter, p *problem) {
	text, err := json.Marshal(p)
	if err != nil { // impossible: the struct has only strings and a number
		p.Status, text = http.StatusInternalServerError, nil
	}
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	h.Set("Content-Type", "application/problem+json")
	h.Del("Content-Length")
	w.WriteHeader(p.Status)
	_, _ = w.Write(text) // the client may have disconnected
}
