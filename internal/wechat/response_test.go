package wechat_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cloudidq/internal/wechat"
)

// Answers captured in 2023, with replaced values, and the examples of the documentation.
const (
	capturedPhone = `{"errcode":0,"errmsg":"ok","data_list":[{"cloud_id":"69_x","json":"{ \"cloudID\":\"69_x\", \"data\":` +
		`{\"phoneNumber\":\"138********\",\"purePhoneNumber\":\"138********\",\"countryCode\":\"86\",\"watermark\":` +
		`{\"timestamp\":1686993965,\"appid\":\"wx00\"}} }"}]}`
	capturedOtherUser = `{"errcode":0,"errmsg":"ok","data_list":[{"cloud_id":"73_y","json":"{ \"cloudID\":\"73_y\", ` +
		`\"errCode\":-601007, \"errMsg\":\"cloudID not belong to user.\" }"}]}`
	capturedUser = `{"errcode":0,"errmsg":"ok","data_list":[{"cloud_id":"27_z","json":"{ \"cloudID\":\"27_z\", \"data\":` +
		`{\"nickName\":\"N\",\"avatarUrl\":\"https:\\/\\/thirdwx.qlogo.cn\\/x\",\"gender\":0,\"watermark\":` +
		`{\"appid\":\"wx00\",\"timestamp\":1686993965}} }"}]}`
	documentedHTTPS = `{"errcode": 0, "errmsg": "ok", "data_list": [{"cloud_id": "xxx",
  "json": {"cloudID": "xxx", "data": {"stepInfoList": [{"timestamp": 1603641600, "step": 1234}]}}}]}`
	documentedCloud = `{"errCode": 0, "errMsg": "openapi.cloudbase.getOpenData:ok", "dataList": [{"cloudId": "xxx",
  "json": {"cloudID": "xxx", "data": {"stepInfoList": [{"timestamp": 1603641600, "step": 1234}]}}}]}`
)

const steps = `{"stepInfoList":[{"timestamp":1603641600,"step":1234}]}`

// entry returns one element of data_list with detail as a string.
func entry(id, detail string) string {
	return fmt.Sprintf(`{"cloud_id":%q,"json":%q}`, id, detail)
}

func list(entries ...string) string {
	return `{"errcode":0,"errmsg":"ok","data_list":[` + strings.Join(entries, ",") + `]}`
}

func data(id, kind, text string) wechat.Outcome {
	return wechat.Outcome{CloudID: id, Kind: kind, Data: json.RawMessage(text)}
}

func refusal(id string, class wechat.Class, code int, message string) wechat.Outcome {
	return wechat.Outcome{CloudID: id, Err: &wechat.Error{Class: class, Code: code, Message: message}}
}

func TestParseResponse_Outcomes(t *testing.T) {
	const (
		noData   = "entry holds neither data nor errCode"
		badEntry = "entry has an unknown form"
		missing  = "cloudID is missing from the answer"
	)
	aData := data("a", "werun", steps)
	detail := `{"cloudID":"a","data":` + steps + `}`
	tests := []struct {
		name string
		body string
		want []wechat.Outcome
	}{
		{"CapturedPhone", capturedPhone, []wechat.Outcome{data("69_x", "phone",
			`{"phoneNumber":"138********","purePhoneNumber":"138********","countryCode":"86","watermark":{"timestamp":1686993965,"appid":"wx00"}}`)}},
		{"CapturedOtherUser", capturedOtherUser, []wechat.Outcome{
			refusal("73_y", wechat.ClassItem, -601007, "cloudID not belong to user.")}},
		{"CapturedUser_EscapesKept", capturedUser, []wechat.Outcome{data("27_z", "user",
			`{"nickName":"N","avatarUrl":"https:\/\/thirdwx.qlogo.cn\/x","gender":0,"watermark":{"appid":"wx00","timestamp":1686993965}}`)}},
		{"DocumentedHTTPS", documentedHTTPS, []wechat.Outcome{data("xxx", "werun", steps)}},
		{"DocumentedCloudFunction", documentedCloud, []wechat.Outcome{data("xxx", "werun", steps)}},

		{"CloudIDKey", `{"errcode":0,"data_list":[{"cloudID":"a","json":` + detail + `}]}`, []wechat.Outcome{aData}},
		{"NoErrcode", `{"data_list":[` + entry("a", detail) + `]}`, []wechat.Outcome{aData}},
		{"ErrcodeInQuotes", `{"errcode":"0","data_list":[` + entry("a", detail) + `]}`, []wechat.Outcome{aData}},
		{"ErrcodeAfterList", `{"data_list":[` + entry("a", detail) + `],"errcode":0}`, []wechat.Outcome{aData}},
		{"UnknownFieldsKept", list(entry("a", `{"new":[{}],"data":{"b":{"c":[1]},"stepInfoList":[]}}`)), []wechat.Outcome{
			data("a", "werun", `{"b":{"c":[1]},"stepInfoList":[]}`)}},
		{"BigNumbersKept", list(entry("a", `{"data":{"n":123456789012345678901234567890,"f":1.10,"e":1E400}}`)), []wechat.Outcome{
			data("a", "other", `{"n":123456789012345678901234567890,"f":1.10,"e":1E400}`)}},
		{"NoHTMLEscaping", list(entry("a", `{"data":{"nickName":"<b>&"}}`)), []wechat.Outcome{
			data("a", "user", `{"nickName":"<b>&"}`)}},
		{"EscapedKeys", `{"errcode":0,"data_list":[{"cloud\u005fid":"\u0061","json":` + detail + `}]}`, []wechat.Outcome{aData}},
		{"ErrCodeZeroBesideData", list(entry("a", `{"errCode":0,"errMsg":"","data":`+steps+`}`)), []wechat.Outcome{aData}},
		{"ErrCodeBesideData", list(entry("a", `{"errCode":-601005,"errMsg":"invalid cloudID","data":`+steps+`}`)), []wechat.Outcome{
			refusal("a", wechat.ClassItem, -601005, "invalid cloudID")}},
		{"EmptyDataIsData", list(entry("a", `{"data":{}}`)), []wechat.Outcome{data("a", "other", `{}`)}},

		{"OutOfOrder", list(entry("b", `{"data":{"opengid":"G"}}`), entry("a", detail)), []wechat.Outcome{
			aData, data("b", "group", `{"opengid":"G"}`)}},
		{"NotRequested", list(entry("z", `{"data":{"phoneNumber":"1"}}`), entry("a", detail)),
			[]wechat.Outcome{aData}},
		{"Missing", list(entry("b", detail)), []wechat.Outcome{
			refusal("a", wechat.ClassRetry, 0, missing), data("b", "werun", steps)}},
		{"NoList", `{"errcode":0,"errmsg":"ok"}`, []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, missing)}},
		{"NullList", `{"errcode":0,"data_list":null}`, []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, missing)}},
		{"Duplicate_DataAfterFailure", list(entry("a", `{"errCode":-601001}`), entry("a", detail)), []wechat.Outcome{aData}},
		{"Duplicate_DataBeforeFailure", list(entry("a", detail), entry("a", `{"errCode":-601005}`)), []wechat.Outcome{aData}},
		{"Duplicate_CodeBeforeEmpty", list(entry("a", ``), entry("a", `{"errCode":-601006}`)), []wechat.Outcome{
			refusal("a", wechat.ClassExpired, -601006, "cloudID expired")}},
		{"Duplicate_FirstDataStays", list(entry("a", detail), entry("a", `{"data":{}}`)), []wechat.Outcome{aData}},

		{"Expired", list(entry("a", `{"cloudID":"a","errCode":-601006,"errMsg":"cloudID expired."}`)), []wechat.Outcome{
			refusal("a", wechat.ClassExpired, -601006, "cloudID expired.")}},
		{"ItemBusy", list(entry("a", `{"errCode":-601001,"errMsg":"system error"}`)), []wechat.Outcome{
			refusal("a", wechat.ClassRetry, -601001, "system error")}},
		{"ItemUnknownCode", list(entry("a", `{"errCode":-601999,"errMsg":"x"}`)), []wechat.Outcome{
			refusal("a", wechat.ClassItem, -601999, "x")}},
		{"ItemWithACallsCode", list(entry("a", `{"errCode":40001,"errMsg":"x"}`)), []wechat.Outcome{
			refusal("a", wechat.ClassItem, 40001, "x")}},
		{"ItemCodeInQuotes", list(entry("a", `{"errcode":"-601005","errmsg":"x"}`)), []wechat.Outcome{
			refusal("a", wechat.ClassItem, -601005, "x")}},
		{"ItemWithoutText", list(entry("a", `{"errCode":-601009}`)), []wechat.Outcome{
			refusal("a", wechat.ClassItem, -601009, "missing mobile phone")}},

		{"EmptyJSON", list(entry("a", ``)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, noData)}},
		{"NullJSON", `{"errcode":0,"data_list":[{"cloud_id":"a","json":null}]}`, []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, noData)}},
		{"NoJSON", `{"errcode":0,"data_list":[{"cloud_id":"a"}]}`, []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, noData)}},
		{"NullInJSON", list(entry("a", `null`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, noData)}},
		{"NullData", list(entry("a", `{"data":null}`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, noData)}},
		{"EmptyDetail", list(entry("a", `{}`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, noData)}},

		{"JSONNumber", `{"errcode":0,"data_list":[{"cloud_id":"a","json":7}]}`, []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, badEntry)}},
		{"JSONArray", `{"errcode":0,"data_list":[{"cloud_id":"a","json":[]}]}`, []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, badEntry)}},
		{"JSONCutShort", list(entry("a", `{"data":{"stepInfo`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, badEntry)}},
		{"JSONIsText", list(entry("a", `"x"`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, badEntry)}},
		{"DataString", list(entry("a", `{"data":"x"}`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, badEntry)}},
		{"DataArray", list(entry("a", `{"data":[1]}`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, badEntry)}},
		{"ErrCodeObject", list(entry("a", `{"errCode":{},"data":{}}`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, badEntry)}},
		{"ErrCodeFraction", list(entry("a", `{"errCode":1.5,"data":{}}`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, badEntry)}},
		{"ErrMsgObject", list(entry("a", `{"errCode":-601005,"errMsg":{}}`)), []wechat.Outcome{
			refusal("a", wechat.ClassItem, -601005, "invalid cloudID")}},
		{"EntriesOfWrongTypes", list(`null`, `7`, `"a"`, `[]`, `{}`, `{"cloud_id":7}`, entry("a", detail)), []wechat.Outcome{aData}},

		{"WatermarkOwn", list(entry("a", `{"data":{"watermark":{"appid":"wx00"}}}`)), []wechat.Outcome{
			data("a", "other", `{"watermark":{"appid":"wx00"}}`)}},
		{"WatermarkOfAnotherApp",
			list(entry("a", `{"data":{"phoneNumber":"1","watermark":{"timestamp":1,"appid":"wx99"}}}`)),
			[]wechat.Outcome{refusal("a", wechat.ClassItem, 0, "watermark names another app")}},
		{"WatermarkTwice", list(entry("a", `{"data":{"watermark":{"appid":"wx99"},"watermark":{"appid":"wx00"}}}`)), []wechat.Outcome{
			refusal("a", wechat.ClassItem, 0, "watermark names another app")}},
		{"WatermarkNull", list(entry("a", `{"data":{"watermark":null}}`)), []wechat.Outcome{data("a", "other", `{"watermark":null}`)}},
		{"WatermarkText", list(entry("a", `{"data":{"watermark":"wx00"}}`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, badEntry)}},
		{"WatermarkAppIDNumber", list(entry("a", `{"data":{"watermark":{"appid":7}}}`)), []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, badEntry)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ids := make([]string, len(tt.want))
			for i, o := range tt.want {
				ids[i] = o.CloudID
			}
			got, err := wechat.ParseResponse(200, []byte(tt.body), "wx00", ids)
			if err != nil {
				t.Fatalf("ParseResponse = %v, want outcomes", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseResponse (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseResponse_CallErrors(t *testing.T) {
	const rid = "68aeab00-21ea7900-3a442400"
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write([]byte(documentedHTTPS)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		status int
		body   string
		want   wechat.Error
	}{
		{"Busy", 200, `{"errcode":-1,"errmsg":"system error"}`, wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "system error"}},
		{"WithRID", 200, `{"errcode":40003,"errmsg":"invalid openid rid: ` + rid + `"}`,
			wechat.Error{Class: wechat.ClassCall, Code: 40003, Message: "invalid openid", RID: rid}},
		{"CamelCase", 200, `{"errCode":45009,"errMsg":"reach max"}`, wechat.Error{Class: wechat.ClassQuota, Code: 45009, Message: "reach max"}},
		{"BesideAList", 200, `{"errcode":45011,"data_list":[` + entry("a", `{"data":{}}`) + `]}`, wechat.Error{Class: wechat.ClassRate,
			Code: 45011, Message: "api minute-quota reach limit, must slower, retry next minute"}},
		{"NoText", 200, `{"errcode":47001}`, wechat.Error{Class: wechat.ClassBatch, Code: 47001, Message: "data format error"}},
		{"ErrmsgOfWrongType", 200, `{"errcode":40097,"errmsg":[1]}`, wechat.Error{Class: wechat.ClassBatch, Code: 40097, Message: "invalid args"}},
		{"Unknown", 200, `{"errcode":12345,"errmsg":"x"}`, wechat.Error{Class: wechat.ClassCall, Code: 12345, Message: "x"}},
		{"UnknownWithoutText", 200, `{"errcode":12345}`, wechat.Error{Class: wechat.ClassCall, Code: 12345, Message: "no text"}},
		{"UnknownBusy", 200, `{"errcode":-1001,"errmsg":"x"}`, wechat.Error{Class: wechat.ClassRetry, Code: -1001, Message: "x"}},
		{"UnknownSixDigits", 200, `{"errcode":-501001,"errmsg":"x"}`, wechat.Error{Class: wechat.ClassCall, Code: -501001, Message: "x"}},
		{"ItemsCodeOnTop", 200, `{"errcode":-601006,"errmsg":"x"}`, wechat.Error{Class: wechat.ClassBatch, Code: -601006, Message: "x"}},
		{"TokenMissing", 200, `{"errcode":41001,"errmsg":"access_token missing"}`,
			wechat.Error{Class: wechat.ClassBug, Code: 41001, Message: "access_token missing"}},
		{"ErrcodeWithStatus500", 500, `{"errcode":40001,"errmsg":"x"}`, wechat.Error{Class: wechat.ClassToken, Code: 40001, Message: "x"}},

		{"Empty", 200, ` `, wechat.Error{Class: wechat.ClassRetry, Message: "answer is empty"}},
		{"HTML", 200, `<html><body>502</body></html>`, wechat.Error{Class: wechat.ClassRetry, Message: "answer is not JSON"}},
		{"CutShort", 200, capturedPhone[:len(capturedPhone)-3], wechat.Error{Class: wechat.ClassRetry, Message: "answer is not JSON"}},
		{"TwoValues", 200, `{} {}`, wechat.Error{Class: wechat.ClassRetry, Message: "answer is not JSON"}},
		{"Gzip", 200, zipped.String(), wechat.Error{Class: wechat.ClassRetry, Message: "answer is not JSON"}},
		{"Array", 200, `[1]`, wechat.Error{Class: wechat.ClassRetry, Message: "answer has an unknown form"}},
		{"Null", 200, `null`, wechat.Error{Class: wechat.ClassRetry, Message: "answer has an unknown form"}},
		{"NeitherCodeNorList", 200, `{"x":1}`, wechat.Error{Class: wechat.ClassRetry, Message: "answer has an unknown form"}},
		{"ErrcodeText", 200, `{"errcode":"ok"}`, wechat.Error{Class: wechat.ClassRetry, Message: "answer has an unknown form"}},
		{"ErrcodeNull", 200, `{"errcode":null}`, wechat.Error{Class: wechat.ClassRetry, Message: "answer has an unknown form"}},
		{"ErrcodeTooLong", 200, `{"errcode":99999999999999999999}`, wechat.Error{Class: wechat.ClassRetry, Message: "answer has an unknown form"}},
		{"ListObject", 200, `{"errcode":0,"data_list":{}}`, wechat.Error{Class: wechat.ClassRetry, Message: "answer has an unknown form"}},

		{"Status500", 500, ``, wechat.Error{Class: wechat.ClassRetry, Message: "HTTP 500"}},
		{"Status502", 502, `<html>`, wechat.Error{Class: wechat.ClassRetry, Message: "HTTP 502"}},
		{"Status413", 413, ``, wechat.Error{Class: wechat.ClassBatch, Message: "HTTP 413"}},
		{"Status429", 429, ``, wechat.Error{Class: wechat.ClassRate, Message: "HTTP 429"}},
		{"Status408", 408, ``, wechat.Error{Class: wechat.ClassRetry, Message: "HTTP 408"}},
		{"Status302", 302, ``, wechat.Error{Class: wechat.ClassApp, Message: "HTTP 302"}},
		{"Status404", 404, `not found`, wechat.Error{Class: wechat.ClassApp, Message: "HTTP 404"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wechat.ParseResponse(tt.status, []byte(tt.body), "wx00", []string{"a", "b"})
			if err == nil {
				t.Fatalf("ParseResponse = %+v, want an error", got)
			}
			if diff := cmp.Diff(&tt.want, err); diff != "" {
				t.Errorf("ParseResponse (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseResponse_CloudHosting(t *testing.T) {
	tests := []struct {
		status int
		body   string
		want   wechat.Error
	}{
		{200, `{"errcode":41001,"errmsg":"access_token missing"}`, wechat.Error{Class: wechat.ClassApp, Code: 41001,
			Message: "access_token missing: the call did not pass the side-car, which is switched off or still starting"}},
		{502, ``, wechat.Error{Class: wechat.ClassApp, Message: "HTTP 502"}},
		{503, ``, wechat.Error{Class: wechat.ClassRetry, Message: "HTTP 503"}},
	}
	for _, tt := range tests {
		_, err := wechat.ParseHosted(tt.status, []byte(tt.body), []string{"a"})
		if diff := cmp.Diff(&tt.want, err); diff != "" {
			t.Errorf("ParseHosted(%d, %q) (-want +got):\n%s", tt.status, tt.body, diff)
		}
	}
}

func TestKind(t *testing.T) {
	tests := map[string]string{
		steps:                                   "werun",
		`{"purePhoneNumber":"1"}`:               "phone",
		`{"phoneNumber":"1"}`:                   "phone",
		`{"opengid":"G"}`:                       "group",
		`{"openGId":"G"}`:                       "group",
		`{"opengid":"G","chat_type":3}`:         "chat_tool",
		`{"group_openid":"O"}`:                  "chat_tool",
		`{"open_single_roomid":"R"}`:            "chat_tool",
		`{"avatarUrl":"https://x","gender":0}`:  "user",
		`{"nickName":""}`:                       "user",
		`{"KVDataList":[]}`:                     "other",
		`{"a":{"phoneNumber":"1"}}`:             "other",
		`{}`:                                    "other",
		``:                                      "other",
		`{"phoneNumber`:                         "other",
		`[{"phoneNumber":"1"}]`:                 "other",
		`{"nickName":"n","stepInfoList":[]}`:    "werun",
		"{ \"phoneNumber\" :\n\"1\" , \"x\":1}": "phone",
	}
	for text, want := range tests {
		if got := wechat.Kind(json.RawMessage(text)); got != want {
			t.Errorf("Kind(%s) = %q, want %q", text, got, want)
		}
	}
}

// Each cloudID gets the outcome of its own entry, in any order of the entries and beside any other
// content of the answer.
func TestParseResponse_MatchesByCloudID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "items")
		ids, want := make([]string, n), make([]wechat.Outcome, n)
		var entries []string
		for i := range n {
			ids[i] = "69_" + strconv.Itoa(i)
			switch rapid.IntRange(0, 3).Draw(t, "form") {
			case 0:
				text := fmt.Sprintf(`{"n":%d}`, i)
				want[i] = data(ids[i], "other", text)
				entries = append(entries, entry(ids[i], `{"data": `+text+` }`))
			case 1:
				text := fmt.Sprintf(`{"n":%d}`, i)
				want[i] = data(ids[i], "other", text)
				entries = append(entries, `{"cloudId":"`+ids[i]+`","json":{"data":`+text+`}}`)
			case 2:
				want[i] = refusal(ids[i], wechat.ClassItem, -601005, "invalid cloudID")
				entries = append(entries, entry(ids[i], `{"errCode":-601005}`))
			default:
				want[i] = refusal(ids[i], wechat.ClassRetry, 0, "cloudID is missing from the answer")
				entries = append(entries, entry("foreign"+ids[i], `{"data":{}}`))
			}
		}
		got, err := wechat.ParseResponse(200, []byte(list(rapid.Permutation(entries).Draw(t, "order")...)), "wx00", ids)
		if err != nil {
			t.Fatalf("ParseResponse = %v, want outcomes", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("ParseResponse (-want +got):\n%s", diff)
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	for _, seed := range []string{
		capturedPhone, capturedOtherUser, capturedUser, documentedHTTPS, documentedCloud,
		list(entry("a", `{"errCode":-601006}`), entry("a", `{"data":{"watermark":{"appid":"wx00"}}}`)),
		`{"errcode":40001,"errmsg":"x rid: 68aeab00-21ea7900-3a442400"}`, `{"data_list":[null,[],{"json":"{\"data\":{}"}]}`,
		`{"errcode":0,"data_list":[{"cloud_id":"a","json":{"data":{"\ud800":"\/"}}}]}`, "", "\x1f\x8b\x08", "[[[[", `{"a":`,
	} {
		f.Add([]byte(seed))
	}
	ids := []string{"a", "69_x", "73_y", "27_z", "xxx"}
	f.Fuzz(func(t *testing.T, body []byte) {
		wechat.Kind(body)
		outcomes, failure := wechat.ParseResponse(200, body, "wx00", ids)
		if failure != nil {
			checkError(t, failure)
			if outcomes != nil {
				t.Error("ParseResponse returned outcomes and an error")
			}
			return
		}
		if len(outcomes) != len(ids) {
			t.Fatalf("%d outcomes, want %d", len(outcomes), len(ids))
		}
		for i, o := range outcomes {
			if o.CloudID != ids[i] || (o.Data == nil) == (o.Err == nil) {
				t.Fatalf("outcome %d = %+v, want data or an error for %s", i, o, ids[i])
			}
			if o.Err != nil {
				checkError(t, o.Err)
				continue
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, o.Data); err != nil || !bytes.Equal(compact.Bytes(), o.Data) || o.Kind == "" {
				t.Errorf("data %q of kind %q is not compact JSON: %v", o.Data, o.Kind, err)
			}
		}
	})
}

func checkError(t *testing.T, err *wechat.Error) {
	t.Helper()
	if err.Class.String() == "none" || err.Class.String() == "unknown" || err.Message == "" || len(err.Message) > 200 {
		t.Errorf("error %d %q has class %v", err.Code, err.Message, err.Class)
	}
}

// For valid JSON, the functions of walk.go return the same values as encoding/json.
func FuzzMembers(f *testing.F) {
	f.Add([]byte(` { "a" : [1,{"b":"}"}] , "\u0063":"\"\\" ,"d":null}`))
	f.Add([]byte(`[1,"a]",[],{} , -1.5e3 ,true]`))
	f.Add([]byte(`{"a":1`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, values := wechat.Members(text)
		elements := wechat.Elements(text)
		var array []json.RawMessage
		if json.Unmarshal(text, &array) == nil && !bytes.Equal(bytes.TrimSpace(text), []byte("null")) {
			got := make([]json.RawMessage, len(elements))
			for i, v := range elements {
				got[i] = json.RawMessage(v)
			}
			if diff := cmp.Diff(array, got); diff != "" {
				t.Errorf("elements (-want +got):\n%s", diff)
			}
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(text, &object) == nil {
			got := map[string]json.RawMessage{}
			for i, key := range keys {
				got[key] = json.RawMessage(values[i])
			}
			if len(object) != len(got) {
				t.Fatalf("members = %q, want %q", got, object)
			}
			for key, want := range object {
				if !bytes.Equal(got[key], want) {
					t.Errorf("member %q = %s, want %s", key, got[key], want)
				}
			}
		}
	})
}
