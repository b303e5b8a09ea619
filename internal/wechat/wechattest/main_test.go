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

// start is the time of the clock in every test.
var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// testEnv is a simulator behind a real HTTP server.
type testEnv struct {
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

func newEnv(tb testing.TB, cfg wechattest.Config) *testEnv {
	tb.Helper()
	sim := newSim(tb, cfg)
	srv := httptest.NewServer(sim)
	tb.Cleanup(srv.Close)
	return &testEnv{Simulator: sim, url: srv.URL, client: srv.Client()}
}

// answer is the result of one request.
type answer struct {
	status int
	form   string
	body   string
	err    error
}

// call sends one request.
func (env *testEnv) call(tb testing.TB, method, path string, query url.Values, body string) answer {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, env.url+path+"?"+query.Encode(),
		bytes.NewReader([]byte(body)))
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := env.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	read, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(read), err}
}

// exchange sends cloudIDs to getopendata with the static token of appA.
func (env *testEnv) exchange(tb testing.TB, openID string, cloudIDs ...string) answer {
	tb.Helper()
	query := url.Values{"access_token": {env.StaticToken(appA)}}
	if openID != "" {
		query.Set("openid", openID)
	}
	body, err := json.Marshal(map[string][]string{"cloudid_list": cloudIDs})
	if err != nil {
		tb.Fatal(err)
	}
	return env.call(tb, http.MethodPost, "/wxa/getopendata", query, string(body))
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

// read parses a, which must be complete.
func read(tb testing.TB, a answer) (reply, map[string]entry) {
	tb.Helper()
	var r reply
	if a.err != nil || json.Unmarshal([]byte(a.body), &r) != nil {
		tb.Fatalf("answer %+v is not complete JSON", a)
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
