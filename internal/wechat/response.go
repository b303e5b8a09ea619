package wechat

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// An answer as captured, and the failure of one item under errcode 0:
//
//	{"errcode":0,"errmsg":"ok","data_list":[
//	{"cloud_id":"69_x","json":"{ \"cloudID\":\"69_x\", \"data\":{…} }"}]}
//	{"cloudID":"73_y","errCode":-601007,"errMsg":"cloudID not belong to user."}
//
// The documentation also shows json as an object, and all keys in camelCase:
// developers.weixin.qq.com/miniprogram/dev/server/API/cloudbase/others/api_getopendata.html.
// Content-Type is ignored because WeChat may send text/plain (wx-server-sdk@4.0.2
// index.js:2456).

// Error texts for failures without a code of WeChat's.
const (
	textNotJSON = "answer is not JSON"
	textEmpty   = "answer is empty"
	textStrange = "answer has an unknown form"
	textMissing = "cloudID is missing from the answer"
)

// parseResponse parses the answer to a request with sent.cloudIDs. It returns one outcome for
// each cloudID, in the order of sent.cloudIDs and without Attempts. If the request failed as a
// whole, it returns the error instead.
func parseResponse(reply reply, sent submitted, appID string) ([]Outcome, *Error) {
	list, failure := parseTop(reply, sent)
	if failure != nil {
		return nil, failure
	}
	outcomes := make([]Outcome, len(sent.cloudIDs))
	next := 0
	for entry := range elements(list) {
		id, detail, problem := splitEntry(entry)
		at := find(sent.cloudIDs, id, next)
		if at < 0 {
			continue // not a cloudID of the request
		}
		next = at + 1
		outcome := parseDetail(detail, problem, sent, appID)
		if prefer(outcome, outcomes[at]) {
			outcomes[at] = outcome
		}
	}
	// WeChat may omit entries. The missing cloudIDs are requested again.
	missing := transient(textMissing)
	for i, id := range sent.cloudIDs {
		outcomes[i].CloudID = id
		if outcomes[i].Data == nil && outcomes[i].Err == nil {
			outcomes[i].Err = missing
		}
	}
	return outcomes, nil
}

// parseTop parses everything except the entries. WeChat's errors have status 200. Another status
// comes from another machine on the path, unless the body holds an errcode.
func parseTop(reply reply, sent submitted) (list []byte, failure *Error) {
	top, failure := parseErrcode(reply.body)
	switch {
	case failure == nil && top.code != 0:
		return nil, routed(newError(topClass(top.code, sent), top.code, top.message, sent), reply, sent)
	case reply.status != http.StatusOK:
		return nil, statusError(reply.status, sent.hosted)
	case failure != nil:
		return nil, failure
	// Neither errcode nor data_list: this is not an answer of getopendata.
	case !top.hasCode && top.list == nil:
		return nil, transient(textStrange)
	default:
		return top.list, nil
	}
}

// topClass classifies the errcode of an answer to the request sent.
func topClass(code int, sent submitted) Class {
	class := classOfCall(code)
	switch {
	case code == codeTokenMissing && sent.hosted:
		// The platform adds the token, so its service is off or still starting. For the source
		// see statusError.
		return ClassApp
	case (class == ClassItem || class == ClassExpired) && len(sent.cloudIDs) > 1:
		// One item's error for a request with several: the caller splits the request to find it.
		return ClassBatch
	default:
		return class
	}
}

// routed adds to a refused credential what the path of the answer shows: whether it passed the
// side-car of cloud hosting. For the source see statusError.
func routed(failure *Error, reply reply, sent submitted) *Error {
	switch {
	case failure.Code == codeTokenMissing && sent.hosted && !reply.sidecar:
		failure.Message += ": the call did not pass the side-car, which is switched off or still starting"
	case failure.Class == ClassToken && !sent.hosted && reply.sidecar:
		failure.Class = ClassApp
		failure.Message += ": a token was sent through the side-car of cloud hosting; use mode sidecar"
	}
	return failure
}

// top is the first level of an answer.
type top struct {
	hasCode bool
	code    int
	message string
	list    []byte // data_list as raw JSON, nil if there is none
}

// parseErrcode parses the first level of an answer, also for the token endpoints.
func parseErrcode(body []byte) (top, *Error) {
	var t top
	if len(bytes.TrimSpace(body)) == 0 {
		return t, transient(textEmpty)
	}
	if !json.Valid(body) {
		return t, transient(textNotJSON)
	}
	if !isObject(body) {
		return t, transient(textStrange)
	}
	for key, value := range members(body) {
		ok := true
		switch string(key) {
		case "errcode", "errCode":
			t.code, ok = integer(value)
			t.hasCode = true
		case "errmsg", "errMsg":
			text, _ := unquote(value) // a text of a wrong type counts as empty
			t.message = string(text)
		case "data_list", "dataList":
			t.list = value
			ok = value[0] == '[' || isNull(value)
		}
		if !ok {
			return t, transient(textStrange)
		}
	}
	return t, nil
}

// find returns the index of id in requested, or -1. It starts at start, the position after the last
// hit. Answers normally have the order of the request, but WeChat does not promise it.
func find(requested []string, id []byte, start int) int {
	for i := range requested {
		at := (start + i) % len(requested)
		if requested[at] == string(id) {
			return at
		}
	}
	return -1
}

// prefer reports whether newer is the better of two outcomes for one cloudID. Data is better
// than a failure, and a code is better than an entry without information. In a tie the first
// outcome stays.
func prefer(newer, older Outcome) bool {
	return rank(newer) > rank(older)
}

// rank returns how much an outcome says; 0 means that there is no outcome.
func rank(o Outcome) int {
	switch {
	case o.Data != nil:
		return 3
	case o.Err == nil:
		return 0
	case o.Err.Code != 0 || o.Err.Class != ClassRetry:
		return 2
	default:
		return 1
	}
}
