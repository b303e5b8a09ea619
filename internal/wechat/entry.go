package wechat

import (
	"bytes"
	"encoding/json"
)

// Error texts for one entry.
const (
	textNoData   = "entry holds neither data nor errCode"
	textBadEntry = "entry has an unknown form"
	textOtherApp = "watermark names another app"
)

// splitEntry splits an entry of the list into its cloudID and the object in its json member, in
// compact form. json may hold the object itself or a string. If there is no usable object,
// problem says why.
func splitEntry(entry []byte) (id, detail []byte, problem string) {
	var inner []byte
	for key, value := range members(entry) {
		switch string(key) {
		case "cloud_id", "cloudId", "cloudID":
			id, _ = unquote(value)
		case "json":
			inner = value
		}
	}
	// json is usually a string that contains the object.
	if text, quoted := unquote(inner); quoted {
		inner = text
	}
	if len(bytes.TrimSpace(inner)) == 0 {
		return id, nil, textNoData // the SDK expects it, too: wx-server-sdk@4.0.2 index.js:2154
	}
	var compact bytes.Buffer
	compact.Grow(len(inner))
	if json.Compact(&compact, inner) != nil { // Compact also validates
		return id, nil, textBadEntry
	}
	switch detail = compact.Bytes(); {
	case isNull(detail):
		return id, nil, textNoData
	case !isObject(detail):
		return id, nil, textBadEntry
	default:
		return id, detail, ""
	}
}

// parseDetail parses the object of one cloudID. Data of the outcome is a part of detail,
// unchanged.
func parseDetail(detail []byte, problem string, sent submitted, appID string) Outcome {
	if problem != "" {
		return Outcome{Err: transient(problem)}
	}
	var data, message []byte
	code, ok := 0, true
	for key, value := range members(detail) {
		switch string(key) {
		case "errCode", "errcode":
			var isInt bool
			code, isInt = integer(value)
			ok = ok && isInt
		case "errMsg", "errmsg":
			message, _ = unquote(value)
		case "data":
			data = value[:len(value):len(value)]
		}
	}
	switch {
	case !ok:
		return Outcome{Err: transient(textBadEntry)}
	case code != 0:
		return Outcome{Err: newError(classOfItem(code), code, string(message), sent)}
	case data == nil, isNull(data):
		return Outcome{Err: transient(textNoData)}
	case !isObject(data):
		return Outcome{Err: transient(textBadEntry)}
	}
	return parseData(data, appID)
}

// parseData returns the outcome for data. It is an error if the watermark names another app.
func parseData(data []byte, appID string) Outcome {
	best := kindOther
	for key, value := range members(data) {
		best = min(best, kindOfKey(key))
		if string(key) != "watermark" {
			continue
		}
		if failure := checkWatermark(value, appID); failure != nil {
			return Outcome{Err: failure}
		}
	}
	return Outcome{Data: data, Kind: kindRank[best]}
}

// checkWatermark compares the appid of {"appid", "timestamp"} with the request's, as WeChat's
// documentation recommends:
// https://developers.weixin.qq.com/miniprogram/dev/framework/open-ability/signature.html. A
// watermark without an appid passes.
func checkWatermark(watermark []byte, appID string) *Error {
	if isNull(watermark) {
		return nil
	}
	if !isObject(watermark) {
		return transient(textBadEntry)
	}
	for key, value := range members(watermark) {
		if string(key) != "appid" {
			continue
		}
		owner, ok := unquote(value)
		if !ok {
			return transient(textBadEntry)
		}
		if appID != "" && string(owner) != appID {
			return &Error{Class: ClassItem, Message: textOtherApp}
		}
	}
	return nil
}
