package httpapi

import (
	"encoding/json"
	"net/http"
)

// problem is an error as RFC 9457 has it. Its texts are ours: nothing that was submitted is repeated.
type problem struct {
	Type   string  `json:"type" doc:"about:blank: the status says what kind it is"`
	Title  string  `json:"title" doc:"the text of the status"`
	Status int     `json:"status"`
	Detail string  `json:"detail,omitempty" doc:"what is wrong, and what to do about it"`
	Errors []fault `json:"errors,omitempty" doc:"every fault of the request"`

	header http.Header
}

// fault is one thing that is wrong with a request.
type fault struct {
	Location string `json:"location" doc:"the field, such as body.cloud_ids[3]"`
	Message  string `json:"message" doc:"what is wrong with it"`
}

func newProblem(status int, detail string, errors ...fault) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Errors: errors}
}

// retryAfter says when to come again, in seconds.
func (p *problem) retryAfter(seconds string) *problem {
	p.header = http.Header{"Retry-After": {seconds}}
	return p
}

// Error implements error.
func (p *problem) Error() string { return p.Detail }

// GetStatus is what huma asks (its StatusError).
func (p *problem) GetStatus() int { return p.Status }

// GetHeaders is what huma asks (its HeadersError).
func (p *problem) GetHeaders() http.Header { return p.header }

// ContentType is what huma asks (its ContentTypeFilter).
func (p *problem) ContentType(string) string { return "application/problem+json" }

// refuse answers with a problem. The headers that go with the status are set before.
func refuse(w http.ResponseWriter, status int, detail string) { write(w, newProblem(status, detail)) }

func write(w http.ResponseWriter, p *problem) {
	text, err := json.Marshal(p)
	if err != nil { // impossible: texts and a number
		p.Status, text = http.StatusInternalServerError, nil
	}
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	h.Set("Content-Type", "application/problem+json")
	h.Del("Content-Length")
	w.WriteHeader(p.Status)
	_, _ = w.Write(text) // a client that is gone needs no answer
}
