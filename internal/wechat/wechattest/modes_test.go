package wechattest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/wechat/wechattest"
)

// clock stands still until a test moves it.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// granted is an answer of an endpoint that gives tokens.
type granted struct {
	ErrCode    int    `json:"errcode"`
	Access     string `json:"access_token"`
	Component  string `json:"component_access_token"`
	Authorizer string `json:"authorizer_access_token"`
	AppID      string `json:"authorizer_appid"`
	Refresh    string `json:"authorizer_refresh_token"`
	Life       int    `json:"expires_in"`

	Authorization *granted `json:"authorization_info"`
}

func (w *world) ask(tb testing.TB, method, path string, query url.Values, body string) granted {
	tb.Helper()
	a := w.call(tb, method, path, query, body)
	var g granted
	if a.err != nil || a.status != http.StatusOK || json.Unmarshal([]byte(a.body), &g) != nil {
		tb.Fatalf("%s answered %+v, want JSON", path, a)
	}
	return g
}

// with calls getopendata for appA with a credential and returns the errcode.
func (w *world) with(tb testing.TB, param, token string) int {
	tb.Helper()
	tap := w.CloudID(appA, 1, 0, start)
	query := url.Values{"openid": {tap.OpenID}}
	if param != "" {
		query.Set(param, token)
	}
	r, _ := read(tb, w.call(tb, http.MethodPost, "/wxa/getopendata", query, `{"cloudid_list":["`+tap.CloudID+`"]}`))
	return r.ErrCode
}

func TestLegacyToken_EachCallReplacesTheOneBefore(t *testing.T) {
	c := &clock{start}
	w := newWorld(t, wechattest.Config{Now: c.Now, Secret: "s"})
	query := url.Values{"grant_type": {"client_credential"}, "appid": {appA}, "secret": {"s"}}
	first := w.ask(t, "GET", "/cgi-bin/token", query, "")
	second := w.ask(t, "GET", "/cgi-bin/token", query, "")
	if first.Access == second.Access || first.Life != 7200 {
		t.Errorf("two calls brought %q (%d s) and %q, want two tokens of 7200 s", first.Access, first.Life, second.Access)
	}
	if code := w.with(t, "access_token", first.Access); code != 0 {
		t.Errorf("the first one at once: %d, want 0", code)
	}
	c.now = c.now.Add(5 * time.Minute)
	if code := w.with(t, "access_token", first.Access); code != 40001 {
		t.Errorf("the first one after 5 minutes: %d, want 40001", code)
	}
	if code := w.with(t, "access_token", second.Access); code != 0 {
		t.Errorf("the second one: %d, want 0", code)
	}
	for code, change := range map[int]url.Values{
		40002: {"grant_type": {"x"}}, 41002: {"appid": {""}}, 41004: {"secret": {""}}, 40125: {"secret": {"wrong"}},
	} {
		bad := url.Values{"grant_type": query["grant_type"], "appid": query["appid"], "secret": query["secret"]}
		for k, v := range change {
			bad[k] = v
		}
		if got := w.ask(t, "GET", "/cgi-bin/token", bad, ""); got.ErrCode != code {
			t.Errorf("token(%v) = %d, want %d", change, got.ErrCode, code)
		}
	}
	if got := w.ask(t, "POST", "/cgi-bin/token", query, ""); got.ErrCode != 43001 {
		t.Errorf("POST = %d, want 43001", got.ErrCode)
	}
}

func TestRemoteToken(t *testing.T) {
	w := newWorld(t, wechattest.Config{})
	if a := w.call(t, "GET", "/sim/remote_token", url.Values{"appid": {appA}}, ""); a.status != http.StatusUnauthorized {
		t.Errorf("without the header: %+v, want 401", a)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/sim/remote_token?appid="+appA, nil)
	if err != nil {
		t.Fatal(err)
	}
	name, value, _ := strings.Cut(wechattest.RemoteHeader, ": ")
	req.Header.Set(name, value)
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var g granted
	if err := json.NewDecoder(resp.Body).Decode(&g); err != nil || w.with(t, "access_token", g.Access) != 0 {
		t.Errorf("answer %+v, %v, want a good token", g, err)
	}
	if calls := w.AppStats(appA).TokenCalls; calls != 1 {
		t.Errorf("%d token calls, want 1", calls)
	}
}

func TestSidecar(t *testing.T) {
	c := &clock{start}
	w := newWorld(t, wechattest.Config{Now: c.Now, SidecarAppID: appA, SidecarAfter: time.Minute})
	if code := w.with(t, "", ""); code != 41001 {
		t.Errorf("while it starts: %d, want 41001", code)
	}
	c.now = c.now.Add(time.Minute)
	if code := w.with(t, "", ""); code != 0 {
		t.Errorf("without a token: %d, want 0", code)
	}
	if code := w.with(t, "access_token", w.StaticToken(appA)); code != 42001 {
		t.Errorf("with an own token: %d, want 42001", code)
	}
	tap := w.CloudID(appB, 1, 0, start)
	query := url.Values{"openid": {tap.OpenID}, "from_appid": {appB}}
	if r, _ := read(t, w.call(t, "POST", "/wxa/getopendata", query, `{"cloudid_list":["`+tap.CloudID+`"]}`)); r.ErrCode != 0 {
		t.Errorf("for another app: %d, want 0", r.ErrCode)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/wxa/getopendata", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.Header.Get("x-openapi-seqid") == "" {
		t.Error("the answer lacks x-openapi-seqid")
	}
}

func TestCloudbaseToken_Life(t *testing.T) {
	c := &clock{start}
	w := newWorld(t, wechattest.Config{Now: c.Now})
	first, second := w.CloudbaseToken(appA), w.CloudbaseToken(appA)
	for _, token := range []string{first, second} {
		if code := w.with(t, "cloudbase_access_token", token); code != 0 {
			t.Errorf("a fresh one: %d, want 0", code)
		}
	}
	c.now = c.now.Add(30 * time.Minute)
	if code := w.with(t, "cloudbase_access_token", second); code != 42001 {
		t.Errorf("after 30 minutes: %d, want 42001", code)
	}
}

var component = wechattest.Component{
	AppID: "wxcomponent", Secret: "s", VerifyToken: "v", AESKey: "ral5WFnchimotHtwtDo3n3UDc56aATJQMDrOTrXCHB8",
}

func TestPlatform_FromTicketToData(t *testing.T) {
	c := &clock{start}
	w := newWorld(t, wechattest.Config{Now: c.Now, Components: []wechattest.Component{component}})
	ticket, err := w.Ticket("wxcomponent")
	if err != nil {
		t.Fatal(err)
	}
	body := func(fields ...string) string {
		m := map[string]string{"component_appid": "wxcomponent"}
		for i := 0; i < len(fields); i += 2 {
			m[fields[i]] = fields[i+1]
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const componentPath, authPath, tokenPath = "/cgi-bin/component/api_component_token",
		"/cgi-bin/component/api_query_auth", "/cgi-bin/component/api_authorizer_token"
	for name, tt := range map[string]struct {
		body string
		code int
	}{
		"OtherComponent": {body("component_appid", "wxother"), 61011},
		"WrongSecret":    {body("component_appsecret", "x", "component_verify_ticket", ticket), 40125},
		"NoTicket":       {body("component_appsecret", "s"), 61006},
		"WrongTicket":    {body("component_appsecret", "s", "component_verify_ticket", "x"), 61006},
		"NoJSON":         {"x", 47001},
		"Empty":          {"", 44002},
	} {
		if got := w.ask(t, "POST", componentPath, nil, tt.body); got.ErrCode != tt.code {
			t.Errorf("%s: %d, want %d", name, got.ErrCode, tt.code)
		}
	}
	own := w.ask(t, "POST", componentPath, nil, body("component_appsecret", "s", "component_verify_ticket", ticket))
	if own.Component == "" || own.Life != 7200 {
		t.Fatalf("component token = %+v, want one of 7200 s", own)
	}
	if code := w.with(t, "access_token", own.Component); code != 40001 {
		t.Errorf("getopendata takes a component's token: %d", code)
	}

	code, refresh, err := w.Authorize("wxcomponent", appA)
	if err != nil {
		t.Fatal(err)
	}
	as := url.Values{"access_token": {own.Component}}
	got := w.ask(t, "POST", authPath, as, body("authorization_code", code))
	if a := got.Authorization; a == nil || a.AppID != appA || a.Refresh != refresh || w.with(t, "access_token", a.Authorizer) != 0 {
		t.Errorf("query_auth = %+v, want the tokens of %s", got, appA)
	}
	if got := w.ask(t, "POST", authPath, as, body("authorization_code", code)); got.ErrCode != 61010 {
		t.Errorf("the code a second time: %d, want 61010", got.ErrCode)
	}
	older := url.Values{"component_access_token": {own.Component}}
	token := w.ask(t, "POST", tokenPath, older, body("authorizer_appid", appA, "authorizer_refresh_token", refresh))
	if token.Refresh != refresh || w.with(t, "access_token", token.Authorizer) != 0 {
		t.Errorf("authorizer token = %+v, want a good one", token)
	}
	for name, tt := range map[string]struct {
		query url.Values
		body  string
		code  int
	}{
		"WrongRefresh":  {as, body("authorizer_appid", appA, "authorizer_refresh_token", "x"), 61023},
		"NotAuthorised": {as, body("authorizer_appid", appB, "authorizer_refresh_token", refresh), 61003},
		"NoToken":       {nil, body(), 41001},
		"OrdinaryToken": {url.Values{"access_token": {w.StaticToken(appA)}}, body(), 61014},
		"OtherAppID":    {as, body("component_appid", "wxother"), 61011},
	} {
		if got := w.ask(t, "POST", tokenPath, tt.query, tt.body); got.ErrCode != tt.code {
			t.Errorf("%s: %d, want %d", name, got.ErrCode, tt.code)
		}
	}
	if err := w.Unauthorize("wxcomponent", appA); err != nil {
		t.Fatal(err)
	}
	if code := w.with(t, "access_token", token.Authorizer); code != 61003 {
		t.Errorf("after the withdrawal: %d, want 61003", code)
	}
	c.now = c.now.Add(12 * time.Hour)
	if got := w.ask(t, "POST", componentPath, nil, body("component_appsecret", "s", "component_verify_ticket", ticket)); got.ErrCode != 61005 {
		t.Errorf("with an old ticket: %d, want 61005", got.ErrCode)
	}
}

func TestPush_WantsSuccess(t *testing.T) {
	w := newWorld(t, wechattest.Config{Components: []wechattest.Component{component}})
	say := "success"
	var query url.Values
	var body string
	platform := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		query = r.URL.Query()
		text, _ := io.ReadAll(r.Body)
		body = string(text)
		_, _ = io.WriteString(rw, say)
	}))
	defer platform.Close()
	push := func(event, appID string) error {
		return w.Push(context.Background(), "wxcomponent", event, appID, platform.URL)
	}
	for _, event := range []string{"authorized", "updateauthorized", "unauthorized", "ticket"} {
		if err := push(event, appA); err != nil {
			t.Errorf("Push(%s) = %v", event, err)
		}
	}
	if len(query.Get("msg_signature")) != 40 || query.Get("encrypt_type") != "aes" || !strings.HasPrefix(body, "<xml><AppId><![CDATA[wxcomponent]]></AppId><Encrypt>") {
		t.Errorf("pushed %v %s, want a signed envelope", query, body)
	}
	for _, bad := range []error{push("authorized", ""), push("x", appA), w.Push(context.Background(), "wxother", "ticket", "", platform.URL)} {
		if bad == nil {
			t.Error("a push that cannot be was made")
		}
	}
	say = "ok"
	if err := push("ticket", ""); err == nil {
		t.Error("an answer other than success is no error")
	}
}

func TestQuota_AndDailyLimit(t *testing.T) {
	w := newWorld(t, wechattest.Config{DailyLimit: 2})
	token := url.Values{"access_token": {w.StaticToken(appA)}}
	for n, want := range []int{0, 0, 45009} {
		if code := w.with(t, "access_token", w.StaticToken(appA)); code != want {
			t.Errorf("call %d: %d, want %d", n+1, code, want)
		}
	}
	got := w.call(t, "POST", "/cgi-bin/openapi/quota/get", token, `{"cgi_path":"/wxa/getopendata"}`)
	const want = `{"errcode":0,"errmsg":"ok","quota":{"daily_limit":2,"remain":0,"used":2},"rate_limit":{"call_count":5000,"refresh_second":60}}`
	if got.body != want {
		t.Errorf("quota = %s, want %s", got.body, want)
	}
	for body, code := range map[string]int{`{"cgi_path":"wxa/getopendata"}`: 76003, `{"cgi_path":"/wxa/x"}`: 76021, "": 44002} {
		if got := w.ask(t, "POST", "/cgi-bin/openapi/quota/get", token, body); got.ErrCode != code {
			t.Errorf("quota(%s) = %d, want %d", body, got.ErrCode, code)
		}
	}
}

func TestSetFaults_OfOneAppForAWhile(t *testing.T) {
	c := &clock{start}
	w := newWorld(t, wechattest.Config{Now: c.Now, Faults: wechattest.Faults{"busy": 1}})
	a := w.call(t, "POST", "/sim/faults", nil, `{"appid":"`+appA+`","faults":{"quota":1},"for":"5s"}`)
	if a.status != http.StatusOK {
		t.Fatalf("faults = %+v", a)
	}
	if code := w.with(t, "access_token", w.StaticToken(appA)); code != 45009 {
		t.Errorf("at once: %d, want 45009", code)
	}
	tap := w.CloudID(appB, 1, 0, start)
	other := url.Values{"access_token": {w.StaticToken(appB)}, "openid": {tap.OpenID}}
	if r, _ := read(t, w.call(t, "POST", "/wxa/getopendata", other, `{"cloudid_list":["x"]}`)); r.ErrCode != -1 {
		t.Errorf("another app: %d, want -1", r.ErrCode)
	}
	c.now = c.now.Add(5 * time.Second)
	if code := w.with(t, "access_token", w.StaticToken(appA)); code != -1 {
		t.Errorf("after 5 s: %d, want -1", code)
	}
	if err := w.SetFaults("", wechattest.Faults{}, 0); err != nil || w.with(t, "access_token", w.StaticToken(appA)) != 0 {
		t.Errorf("SetFaults for all apps = %v, want no faults at all", err)
	}
	if err := w.SetFaults("", nil, 0); err != nil || w.with(t, "access_token", w.StaticToken(appA)) != -1 {
		t.Errorf("SetFaults(nil) = %v, want those of the configuration", err)
	}
	for _, body := range []string{`{"faults":{"foreign":1}}`, `{"faults":{"x":1}}`, `{"faults":{"busy":2}}`, `{"for":"x"}`, "x"} {
		if a := w.call(t, "POST", "/sim/faults", nil, body); a.status != http.StatusBadRequest {
			t.Errorf("faults(%s) = %+v, want 400", body, a)
		}
	}
	if stats := w.AppStats(appA); stats.Requests != 4 || stats.Answered != 1 || !stats.LastRequest.Equal(c.now) {
		t.Errorf("stats = %+v, want 4 requests, one answered, the last one now", stats)
	}
}
