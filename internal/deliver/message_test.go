package deliver

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"pgregory.net/rapid"

	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

// forgedAppID is an appid with a quote. An earlier version signed such an appid, so anyone who
// could choose it could forge results.
const forgedAppID = `wx1","results":[{"cloud_id":"73_forged","status":"resolved"}]},"more":{"appid":"wx1`

// A signed body contains only the stored results, even if the appid of the delivery would end
// its JSON string.
func TestDeliver_SignsNothingThatAnAppIDAdds(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	id := b.delivery(1)
	row := "cloudidq:{" + id[len("msg_"):len("msg_")+8] + "}:d:" + id
	if err := b.rdb.HSet(t.Context(), row, "appid", forgedAppID).Err(); err != nil {
		t.Fatal(err)
	}
	err := b.attempt(id)
	for _, body := range b.sender.bodies {
		t.Errorf("sent: %s", body)
	}
	if !errors.Is(err, asynq.SkipRetry) || strings.Contains(err.Error(), "forged") {
		t.Errorf("ProcessTask = %v, want the end of the task, and no stored value", err)
	}
	if d := b.state(id); d.State != store.DeliveryExhausted {
		t.Errorf("delivery = %+v, want exhausted: an operator sees it", d)
	}
}

// The bytes of a body never change. Receivers detect duplicates by them, and different versions
// may make the attempts of one delivery.
func TestBody_StaysAsItIs(t *testing.T) {
	d := &store.Delivery{
		AppID: "wx0000000000000001", Created: store.At(time.Date(2026, 11, 23, 8, 0, 0, 120_000_000, time.UTC)),
		Items: []json.RawMessage{
			json.RawMessage(`{"cloud_id":"73_<a&b>","status":"failed","error":{"code":-601007,"message":"no","rid":""}}`),
			json.RawMessage(`{"data":{"big":123456789012345678901234567890,"exp":1E400,"twice":1,"twice":2,"sep":"` + "\u2028" + `","esc":"\u003c\/","bytes":"` + "\xff\xed" + `"}}`),
		},
	}
	const want = `{"type":"resolutions.finished","timestamp":"2026-11-23T08:00:00.120Z","data":{"appid":"wx0000000000000001","results":[` +
		`{"cloud_id":"73_<a&b>","status":"failed","error":{"code":-601007,"message":"no","rid":""}},` +
		`{"data":{"big":123456789012345678901234567890,"exp":1E400,"twice":1,"twice":2,"sep":"` + "\u2028" + `","esc":"\u003c\/","bytes":"` + "\xff\xed" + `"}}]}}`
	if got, err := body(d); err != nil || string(got) != want {
		t.Errorf("body = %s, %v\nwant   %s", got, err, want)
	}
	d.Items = nil
	if got, err := body(d); err != nil || !bytes.HasSuffix(got, []byte(`"results":[]}}`)) {
		t.Errorf("body of no results = %s, %v", got, err)
	}
}

// A signed body decodes to exactly the stored values: one appid, and each result unchanged.
func TestBody_ReadsBackAsWhatIsStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		appID := rapid.OneOf(rapid.StringMatching(tasks.NamePattern), rapid.String(), rapid.Just(forgedAppID)).Draw(t, "appid")
		item := rapid.Custom(func(t *rapid.T) json.RawMessage {
			text, err := json.Marshal(rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "members"))
			if err != nil {
				t.Fatal(err)
			}
			return text
		})
		holdBody(t, appID, rapid.SliceOf(item).Draw(t, "items"))
	})
}

func FuzzBody(f *testing.F) {
	f.Add("wx1", []byte(`{"cloud_id":"73_x"}`))
	f.Add(forgedAppID, []byte(`{}`))
	f.Add("wx1", []byte(`{}],"more":[{}`))
	f.Add("wx1", []byte(`{}{}`))
	f.Add("wx1", []byte(` {"a":1}`))
	f.Fuzz(func(t *testing.T, appID string, item []byte) { holdBody(t, appID, []json.RawMessage{item}) })
}

// holdBody compares the body of a delivery with the stored values. If body returns an error, a
// stored value must be one that may not be signed.
func holdBody(t interface{ Fatalf(string, ...any) }, appID string, items []json.RawMessage) {
	created := store.At(time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC))
	text, err := body(&store.Delivery{AppID: appID, Created: created, Items: items})
	if err != nil {
		good := tasks.ValidAppID(appID)
		for _, item := range items {
			good = good && len(item) > 0 && item[0] == '{' && json.Valid(item)
		}
		if good {
			t.Fatalf("body = %v, of what is well stored", err)
		}
		return
	}
	var m message
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("%s: something follows", text)
	}
	if m.Type != "resolutions.finished" || !m.Timestamp.Equal(created.Time) || m.Data.AppID != appID || len(m.Data.Results) != len(items) {
		t.Fatalf("%s of appid %q and %d results", text, appID, len(items))
	}
	for i, item := range items {
		var want bytes.Buffer
		if err := json.Compact(&want, item); err != nil || !bytes.Equal(m.Data.Results[i], want.Bytes()) {
			t.Fatalf("result %d is %s, want %s", i, m.Data.Results[i], item)
		}
	}
}

// A thin result has ids and a link instead of the record.
func TestThinResult(t *testing.T) {
	rec := store.Record{AppID: "wx1", OpenID: "o1", CloudID: "73_a/b+c=?<&", Status: store.Resolved, Data: []byte(`{"a":1}`)}
	const want = `{"cloud_id":"73_a/b+c=?<&","status":"resolved","url":"/v1/resolutions/wx1/73_a%2Fb%2Bc%3D%3F%3C%26"}`
	if got := ThinResult(&rec); string(got) != want {
		t.Errorf("ThinResult = %s, want %s", got, want)
	}
	if to := (Destination{Endpoint: "orders", Thin: true}).Outlet(&rec, ""); string(to.Result) != want || to.Endpoint != "orders" {
		t.Errorf("Outlet = %+v, want the thin result for orders", to)
	}
	if to := (Destination{Endpoint: "orders"}).Outlet(&rec, "00-1"); to.Result != nil || to.Trace != "00-1" {
		t.Errorf("Outlet = %+v, want the record itself, traced", to)
	}
}

// BenchmarkBody measures a body of 100 results.
func BenchmarkBody(b *testing.B) {
	d := &store.Delivery{AppID: testApp, Created: store.At(time.Now())}
	for range 100 {
		d.Items = append(d.Items, json.RawMessage(`{"appid":"wx0000000000000001","openid":"oWx_0123456789abcdefghijklmn","cloud_id":"73_0123456789012345678901234567890123456789012345678901234567","status":"resolved","kind":"phone","data":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86","watermark":{"timestamp":1686993965,"appid":"wx0000000000000001"}},"attempts":1,"accepted_at":"2026-11-22T08:00:00.000Z","finished_at":"2026-11-22T08:00:00.120Z"}`))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := body(d); err != nil {
			b.Fatal(err)
		}
	}
}
