package wechat

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// An answer in its captured form, and one item's failure under errcode 0:
//
//	{"errcode":0,"errmsg":"ok","data_list":[{"cloud_id":"69_x","json":"{ \"cloudID\":\"69_x\", \"data\":{…} }"}]}
//	{"cloudID":"73_y","errCode":-601007,"errMsg":"cloudID not belong to user."}
//
// The documentation shows json as an object too, and all keys in camelCase:
// https://developers.weixin.qq.com/miniprogram/dev/server/API/cloudbase/others/api_getopendata.html.
// Content-Type is not looked at: text/plain occurs (wx-server-sdk@4.0.2 index.js:2456).

// The texts of faults that are no code of WeChat's.
const (
	textNotJSON = "answer is not JSON"
	textEmpty   = "answer is empty"
	textStrange = "answer has an unknown form"
	textMissing = "cloudID is missing from the answer"
)

// parseResponse reads an answer to a request that carried sent.cloudIDs. It returns one outcome for each of them, in
// their order and without Attempts, or the error of the request as a whole.
func parseResponse(reply reply, sent submitted, appID string) ([]Outcome, *Error) {
	list, failure := parseTop(reply, sent)
	if failure != nil {
		return nil, failure
	}
	outcomes := make([]Outcome, len(sent.cloudIDs))
	next := 0
	for entry := range elements(list) {
		id, detail, fault := splitEntry(entry)
		at := find(sent.cloudIDs, id, next)
		if at < 0 {
			continue // nothing that was asked for
		}
		next = at + 1
		outcome := parseDetail(detail, fault, sent, appID)
		if prefer(outcome, outcomes[at]) {
			outcomes[at] = outcome
		}
	}
	missing := transient(textMissing)
	for i, id := range sent.cloudIDs {
		outcomes[i].CloudID = id
		if outcomes[i].Data == nil && outcomes[i].Err == nil {
			outcomes[i].Err = missing
		}
	}
	return outcomes, nil
}

// parseTop reads all but the entries. Errors come with status 200; another status is of a machine on the way, unless its
// body holds an errcode.
func parseTop(reply reply, sent submitted) (list []byte, failure *Error) {
	top, failure := parseErrcode(reply.body)
	switch {
	case failure == nil && top.code != 0:
		return nil, routed(newError(topClass(top.code, sent), top.code, top.message, sent), reply, sent)
	case reply.status != http.StatusOK:
		return nil, statusError(reply.status, sent.hosted)
	case failure != nil:
		return nil, failure
	case !top.hasCode && top.list == nil:
		return nil, transient(textStrange)
	default:
		return top.list, nil
	}
}

// topClass classifies the errcode of an answer to what was sent.
func topClass(code int, sent submitted) Class {
	class := classOfCall(code)
	switch {
	case code == codeTokenMissing && sent.hosted:
		// The platform adds the token: its service is off or still starting. The page is that of statusError.
		return ClassApp
	case (class == ClassItem || class == ClassExpired) && len(sent.cloudIDs) > 1:
		return ClassBatch // one item's trouble on top of a request of several: the caller finds out whose
	default:
		return class
	}
}

// routed adds to a refused credential what the way of the answer tells: whether it passed the side-car of cloud hosting.
// The page is that of statusError.
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

// top is an answer without its entries' details.
type top struct {
	hasCode bool
	code    int
	message string
	list    []byte // data_list as it stands, nil if there is none
}

// parseErrcode reads the first level of an answer, of the token endpoints too.
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
			text, _ := unquote(value) // a text of a wrong type is no text
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

// find returns the index of id among the cloudIDs asked for, or -1. It begins where the last hit ended: answers come in
// the order asked, in practice, but nothing promises that.
func find(asked []string, id []byte, start int) int {
	for i := range asked {
		at := (start + i) % len(asked)
		if asked[at] == string(id) {
			return at
		}
	}
	return -1
}

// prefer reports whether of two outcomes of one cloudID the newer is the better: data before a failure, a code before
// an entry that says nothing; else the first stays.
func prefer(newer, older Outcome) bool {
	return rank(newer) > rank(older)
}

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
