package httpapi_test

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// find returns the operation for a method and an escaped path, the JSON pointer to it, and the
// values of the path parameters.
func (d *description) find(method, path string) (op operation, at string, values url.Values, err error) {
	method = strings.ToLower(method)
	for template, methods := range d.Paths {
		got, ok := match(template, path)
		if !ok || values != nil && len(got) > len(values) { // if two templates match, use the one with fewer parameters
			continue
		}
		op, ok = methods[method]
		if !ok {
			return operation{}, "", nil, fmt.Errorf("%s is not described for %s", method, template)
		}
		at, values = pointer("paths", template, method), got
	}
	if values == nil {
		return operation{}, "", nil, fmt.Errorf("no path is described for %s", path)
	}
	return op, at, values, nil
}

// match compares a path with a template, and returns the values of the template's parameters.
func match(template, path string) (url.Values, bool) {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	values := url.Values{}
	for i, segment := range want {
		text, err := url.PathUnescape(got[i])
		name, isParameter := strings.CutPrefix(segment, "{")
		switch {
		case err != nil:
			return nil, false
		case isParameter && text != "":
			values.Add(strings.TrimSuffix(name, "}"), text)
		case text != segment:
			return nil, false
		}
	}
	return values, true
}

// request returns nil if the description allows a request.
func (d *description) request(method, target string, header http.Header, body string) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	op, at, inPath, err := d.find(method, u.EscapedPath())
	if err != nil {
		return err
	}
	return errors.Join(d.parameters(op, at, inPath, u.Query(), header), d.requestBody(op, at, header, body))
}

// parameters checks the parameters of a request against the description. It rejects a query
// parameter that is not described.
func (d *description) parameters(op operation, at string, inPath, inQuery url.Values, header http.Header) error {
	var errs []error
	described := map[string]bool{}
	for i, p := range op.Parameters {
		values := map[string][]string{"path": inPath[p.Name], "query": inQuery[p.Name], "header": header.Values(p.Name)}[p.In]
		if p.In == "query" {
			described[p.Name] = true
		}
		if p.Required && len(values) == 0 {
			errs = append(errs, fmt.Errorf("parameter %s is missing", p.Name))
		}
		schema, err := d.schemaAt(fmt.Sprintf("%s/parameters/%d/schema", at, i))
		if err != nil {
			return err
		}
		for _, value := range values {
			if err := validText(schema, value); err != nil {
				errs = append(errs, fmt.Errorf("parameter %s: %w", p.Name, err))
			}
		}
	}
	for name := range inQuery {
		if !described[name] {
			errs = append(errs, fmt.Errorf("query parameter %s is not described", name))
		}
	}
	return errors.Join(errs...)
}

// requestBody checks the body of a request against the described content.
func (d *description) requestBody(op operation, at string, header http.Header, body string) error {
	switch {
	case op.RequestBody == nil && body != "":
		return errors.New("the request has a body, which is not described")
	case op.RequestBody == nil:
		return nil
	case body == "" && op.RequestBody.Required:
		return errors.New("the request has no body")
	case body == "":
		return nil
	}
	return d.content(op.RequestBody.Content, at+"/requestBody/content", header, body)
}

// answer returns nil if the description allows a response to the request: its status, headers,
// content type and body.
func (d *description) answer(method, target string, got reply) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	op, at, _, err := d.find(method, u.EscapedPath())
	if err != nil {
		return err
	}
	status := strconv.Itoa(got.status)
	want, ok := op.Responses[status]
	if !ok {
		return fmt.Errorf("status %s is not described", status)
	}
	at += pointer("responses", status)
	var errs []error
	for name, h := range want.Headers {
		errs = append(errs, d.header(name, h.Required, at+pointer("headers", name, "schema"), got.header))
	}
	if len(want.Content) == 0 && got.body != "" {
		errs = append(errs, errors.New("the answer has a body, which is not described"))
	}
	if len(want.Content) > 0 {
		errs = append(errs, d.content(want.Content, at+"/content", got.header, got.body))
	}
	return errors.Join(errs...)
}

// header checks a header of a response against its schema.
func (d *description) header(name string, required bool, at string, header http.Header) error {
	values := header.Values(name)
	if required && len(values) == 0 {
		return fmt.Errorf("header %s is missing", name)
	}
	schema, err := d.schemaAt(at)
	if err != nil {
		return err
	}
	for _, value := range values {
		if err := validText(schema, value); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
	}
	return nil
}

// content checks a body against the schema of its media type.
func (d *description) content(described map[string]mediaType, at string, header http.Header, body string) error {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("content type: %w", err)
	}
	want, ok := described[media]
	if !ok {
		return fmt.Errorf("content type %s is not described", media)
	}
	if want.Schema == nil {
		return nil
	}
	schema, err := d.schemaAt(at + pointer(media, "schema"))
	if err != nil {
		return err
	}
	documents, isJSON := jsonOf(media, body)
	if !isJSON {
		return schema.Validate(body)
	}
	for i, text := range documents {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err == nil {
			err = schema.Validate(doc)
		}
		if err != nil {
			return fmt.Errorf("body, document %d: %w", i, err)
		}
	}
	return nil
}

// jsonOf returns the JSON documents in a body: the whole body, one per line, or one per event.
func jsonOf(media, body string) (documents []string, isJSON bool) {
	switch {
	case media == "application/json", strings.HasSuffix(media, "+json"):
		return []string{body}, true
	case media == "application/x-ndjson":
		for line := range strings.Lines(body) {
			documents = append(documents, line)
		}
		return documents, true
	case media == "text/event-stream":
		for line := range strings.Lines(body) {
			if data, ok := strings.CutPrefix(line, "data:"); ok {
				documents = append(documents, data)
			}
		}
		return documents, true
	}
	return nil, false
}

// validText returns nil if a schema accepts a text, either as a string or as the number or
// boolean that it spells.
func validText(schema *jsonschema.Schema, text string) error {
	err := schema.Validate(text)
	if err == nil {
		return nil
	}
	value, unread := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if unread != nil {
		return err
	}
	return schema.Validate(value)
}
