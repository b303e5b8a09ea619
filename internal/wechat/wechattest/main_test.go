package wechattest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cloudidq/internal/wechat/wechattest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	appA = "wx00000000000000aa"
	appB = "wx00000000000000bb"
)

// start is the moment at which the clock of every test stands still.
var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// world is a simulator behind a real HTTP server.
type world struct {
	*wechattest.Simulator
	url    string
	client *http.Client
}

func newSim(tb testing.TB, cfg wechattest.Config) *wechattest.Simulator {
	tb.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return start }
	}
	sim, err := wechattest.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return sim
}

func newWorld(tb testing.TB, cfg wechattest.Config) *world {
	tb.Helper()
	sim := newSim(tb, cfg)
	srv := httptest.NewServer(sim)
	tb.Cleanup(srv.Close)
	return &world{Simulator: sim, url: srv.URL, client: srv.Client()}
}

// answer is what came back for one request.
type answer struct {
	status int
	form   string
	body   string
	err    error
}

// call sends one request.
func (w *world) call(tb testing.TB, method, path string, query url.Values, body string) answer {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, w.url+path+"?"+query.Encode(),
		bytes.NewReader([]byte(body)))
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	read, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(read), err}
}

// exchange asks for cloudIDs of appA with its static token.
func (w *world) exchange(tb testing.TB, openID string, cloudIDs ...string) answer {
	tb.Helper()
	query := url.Values{"access_token": {w.StaticToken(appA)}}
	if openID != "" {
		query.Set("openid", openID)
	}
	body, err := json.Marshal(map[string][]string{"cloudid_list": cloudIDs})
	if err != nil {
		tb.Fatal(err)
	}
	return w.call(tb, http.MethodPost, "/wxa/getopendata", query, string(body))
}

// reply is an answer of getopendata as a client reads it.
type reply struct {
	ErrCode int    `json:"errcode"`
	ErrMsg  string `json:"errmsg"`
	List    []struct {
		CloudID string `json:"cloud_id"`
		JSON    string `json:"json"`
	} `json:"data_list"`
}

// entry is the json of one item.
type entry struct {
	CloudID string          `json:"cloudID"`
	Data    json.RawMessage `json:"data"`
	ErrCode int             `json:"errCode"`
	ErrMsg  string          `json:"errMsg"`
}

// read parses a, which has to be whole.
func read(tb testing.TB, a answer) (reply, map[string]entry) {
	tb.Helper()
	var r reply
	if a.err != nil || json.Unmarshal([]byte(a.body), &r) != nil {
		tb.Fatalf("answer %+v is not whole JSON", a)
	}
	entries := make(map[string]entry)
	for _, item := range r.List {
		var e entry
		if item.JSON != "" {
			if err := json.Unmarshal([]byte(item.JSON), &e); err != nil || e.CloudID != item.CloudID {
				tb.Fatalf("entry %q: json %q: %v", item.CloudID, item.JSON, err)
			}
		}
		entries[item.CloudID] = e
	}
	return r, entries
}
