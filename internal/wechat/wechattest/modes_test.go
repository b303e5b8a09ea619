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

// clock shows a fixed time until a test changes it.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// granted is the answer of a token endpoint.
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

// fetchToken calls a token endpoint.
func (env *testEnv) fetchToken(
	tb testing.TB, method, path string, query url.Values, body string,
) granted {
	tb.Helper()
	a := env.call(tb, method, path, query, body)
	var g granted
	if a.err != nil || a.status != http.StatusOK || json.Unmarshal([]byte(a.body), &g) != nil {
		tb.Fatalf("%s answered %+v, want JSON", path, a)
	}
	return g
}

// exchangeWith calls getopendata for appA with a credential and returns the errcode.
func (env *testEnv) exchangeWith(tb testing.TB, param, token string) int {
	tb.Helper()
	tap := env.CloudID(appA, 1, 0, start)
	query := url.Values{"openid": {tap.OpenID}}
	if param != "" {
		query.Set(param, token)
	}
	r, _ := read(tb, env.call(tb, http.MethodPost, "/wxa/getopendata", query,
		`{"cloudid_list":["`+tap.CloudID+`"]}`))
	return r.ErrCode
}

func TestLegacyToken_EachCallReplacesThePreviousToken(t *testing.T) {
	c := &clock{start}
	env := newEnv(t, wechattest.Config{Now: c.Now, Secret: "s"})
	query := url.Values{"grant_type": {"client_credential"}, "appid": {appA}, "secret": {"s"}}
	first := env.fetchToken(t, "GET", "/cgi-bin/token", query, "")
	second := env.fetchToken(t, "GET", "/cgi-bin/token", query, "")
	if first.Access == second.Access || first.Life != 7200 {
		t.Errorf("two calls returned %q (%d s) and %q, want two tokens of 7200 s", first.Access,
			first.Life, second.Access)
	}
	if code := env.exchangeWith(t, "access_token", first.Access); code != 0 {
		t.Errorf("first token at once: errcode %d, want 0", code)
	}
	c.now = c.now.Add(5 * time.Minute)
	if code := env.exchangeWith(t, "access_token", first.Access); code != 40001 {
		t.Errorf("first token after 5 minutes: errcode %d, want 40001", code)
	}
	if code := env.exchangeWith(t, "access_token", second.Access); code != 0 {
		t.Errorf("second token: errcode %d, want 0", code)
	}
	for code, change := range map[int]url.Values{
		40002: {"grant_type": {"x"}}, 41002: {"appid": {""}}, 41004: {"secret": {""}}, 40125: {"secret": {"wrong"}},
	} {
		bad := url.Values{"grant_type": query["grant_type"], "appid": query["appid"], "secret": query["secret"]}
		for k, v := range change {
			bad[k] = v
		}
		if got := env.fetchToken(t, "GET", "/cgi-bin/token", bad, ""); got.ErrCode != code {
			t.Errorf("token(%v) = %d, want %d", change, got.ErrCode, code)
		}
	}
	if got := env.fetchToken(t, "POST", "/cgi-bin/token", query, ""); got.ErrCode != 43001 {
		t.Errorf("POST = %d, want 43001", got.ErrCode)
	}
}

func TestRemoteToken(t *testing.T) {
	env := newEnv(t, wechattest.Config{})
	a := env.call(t, "GET", "/sim/remote_token", url.Values{"appid": {appA}}, "")
	if a.status != http.StatusUnauthorized {
		t.Errorf("without the header: %+v, want 401", a)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", env.url+"/sim/remote_token?appid="+appA,
		nil)
	if err != nil {
		t.Fatal(err)
	}
	name, value, _ := strings.Cut(wechattest.RemoteHeader, ": ")
	req.Header.Set(name, value)
	resp, err := env.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var g granted
	err = json.NewDecoder(resp.Body).Decode(&g)
	if err != nil || env.exchangeWith(t, "access_token", g.Access) != 0 {
		t.Errorf("answer %+v, %v, want a valid token", g, err)
	}
	if calls := env.AppStats(appA).TokenCalls; calls != 1 {
		t.Errorf("%d token calls, want 1", calls)
	}
}

func TestSidecar(t *testing.T) {
	c := &clock{start}
	env := newEnv(t, wechattest.Config{Now: c.Now, SidecarAppID: appA, SidecarAfter: time.Minute})
	if code := env.exchangeWith(t, "", ""); code != 41001 {
		t.Errorf("during the start: errcode %d, want 41001", code)
	}
	c.now = c.now.Add(time.Minute)
	if code := env.exchangeWith(t, "", ""); code != 0 {
		t.Errorf("without a token: errcode %d, want 0", code)
	}
	if code := env.exchangeWith(t, "access_token", env.StaticToken(appA)); code != 42001 {
		t.Errorf("with a token: errcode %d, want 42001", code)
	}
	tap := env.CloudID(appB, 1, 0, start)
	query := url.Values{"openid": {tap.OpenID}, "from_appid": {appB}}
	r, _ := read(t, env.call(t, "POST", "/wxa/getopendata", query,
		`{"cloudid_list":["`+tap.CloudID+`"]}`))
	if r.ErrCode != 0 {
		t.Errorf("for another app: errcode %d, want 0", r.ErrCode)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", env.url+"/wxa/getopendata",
		strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := env.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.Header.Get("x-openapi-seqid") == "" {
		t.Error("the answer has no header x-openapi-seqid")
	}
}

func TestCloudbaseToken_Lifetime(t *testing.T) {
	c := &clock{start}
	env := newEnv(t, wechattest.Config{Now: c.Now})
	first, second := env.CloudbaseToken(appA), env.CloudbaseToken(appA)
	for _, token := range []string{first, second} {
		if code := env.exchangeWith(t, "cloudbase_access_token", token); code != 0 {
			t.Errorf("new token: errcode %d, want 0", code)
		}
	}
	c.now = c.now.Add(30 * time.Minute)
	if code := env.exchangeWith(t, "cloudbase_access_token", second); code != 42001 {
		t.Errorf("after 30 minutes: errcode %d, want 42001", code)
	}
}

var component = wechattest.Component{
	AppID: "wxcomponent", Secret: "s", VerifyToken: "v", AESKey: "ral5WFnchimotHtwtDo3n3UDc56aATJQMDrOTrXCHB8",
}

func TestPlatform_FromTicketToData(t *testing.T) {
	c := &clock{start}
	env := newEnv(t, wechattest.Config{Now: c.Now, Components: []wechattest.Component{component}})
	ticket, err := env.Ticket("wxcomponent")
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
		if got := env.fetchToken(t, "POST", componentPath, nil, tt.body); got.ErrCode != tt.code {
			t.Errorf("%s: %d, want %d", name, got.ErrCode, tt.code)
		}
	}
	own := env.fetchToken(t, "POST", componentPath, nil, body("component_appsecret", "s",
		"component_verify_ticket", ticket))
	if own.Component == "" || own.Life != 7200 {
		t.Fatalf("component token = %+v, want one of 7200 s", own)
	}
	if code := env.exchangeWith(t, "access_token", own.Component); code != 40001 {
		t.Errorf("getopendata with a component's token: errcode %d, want an error", code)
	}

	code, refresh, err := env.Authorize("wxcomponent", appA)
	if err != nil {
		t.Fatal(err)
	}
	as := url.Values{"access_token": {own.Component}}
	got := env.fetchToken(t, "POST", authPath, as, body("authorization_code", code))
	if a := got.Authorization; a == nil || a.AppID != appA || a.Refresh != refresh ||
		env.exchangeWith(t, "access_token", a.Authorizer) != 0 {
		t.Errorf("query_auth = %+v, want the tokens of %s", got, appA)
	}
	got = env.fetchToken(t, "POST", authPath, as, body("authorization_code", code))
	if got.ErrCode != 61010 {
		t.Errorf("second use of the code: errcode %d, want 61010", got.ErrCode)
	}
	older := url.Values{"component_access_token": {own.Component}}
	token := env.fetchToken(t, "POST", tokenPath, older, body("authorizer_appid", appA,
		"authorizer_refresh_token", refresh))
	if token.Refresh != refresh || env.exchangeWith(t, "access_token", token.Authorizer) != 0 {
		t.Errorf("authorizer token = %+v, want a valid token", token)
	}
	for name, tt := range map[string]struct {
		query url.Values
		body  string
		code  int
	}{
		"WrongRefresh":  {as, body("authorizer_appid", appA, "authorizer_refresh_token", "x"), 61023},
		"NotAuthorised": {as, body("authorizer_appid", appB, "authorizer_refresh_token", refresh), 61003},
		"NoToken":       {nil, body(), 41001},
		"OrdinaryToken": {url.Values{"access_token": {env.StaticToken(appA)}}, body(), 61014},
		"OtherAppID":    {as, body("component_appid", "wxother"), 61011},
	} {
		if got := env.fetchToken(t, "POST", tokenPath, tt.query, tt.body); got.ErrCode != tt.code {
			t.Errorf("%s: %d, want %d", name, got.ErrCode, tt.code)
		}
	}
	if err := env.Unauthorize("wxcomponent", appA); err != nil {
		t.Fatal(err)
	}
	if code := env.exchangeWith(t, "access_token", token.Authorizer); code != 61003 {
		t.Errorf("after the withdrawal: errcode %d, want 61003", code)
	}
	c.now = c.now.Add(12 * time.Hour)
	got = env.fetchToken(t, "POST", componentPath, nil, body("component_appsecret", "s",
		"component_verify_ticket", ticket))
	if got.ErrCode != 61005 {
		t.Errorf("with an old ticket: errcode %d, want 61005", got.ErrCode)
	}
}

func TestPush_RequiresSuccess(t *testing.T) {
	env := newEnv(t, wechattest.Config{Components: []wechattest.Component{component}})
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
		return env.Push(context.Background(), "wxcomponent", event, appID, platform.URL)
	}
	for _, event := range []string{"authorized", "updateauthorized", "unauthorized", "ticket"} {
		if err := push(event, appA); err != nil {
			t.Errorf("Push(%s) = %v", event, err)
		}
	}
	if len(query.Get("msg_signature")) != 40 || query.Get("encrypt_type") != "aes" || !strings.HasPrefix(body, "<xml><AppId><![CDATA[wxcomponent]]></AppId><Encrypt>") {
		t.Errorf("pushed %v %s, want a signed envelope", query, body)
	}
	for _, bad := range []error{push("authorized", ""), push("x", appA), env.Push(context.Background(),
		"wxother", "ticket", "", platform.URL)} {
		if bad == nil {
			t.Error("an invalid push succeeded")
		}
	}
	say = "ok"
	if err := push("ticket", ""); err == nil {
		t.Error("Push succeeded although the answer is not success")
	}
}

func TestQuota_AndDailyLimit(t *testing.T) {
	env := newEnv(t, wechattest.Config{DailyLimit: 2})
	token := url.Values{"access_token": {env.StaticToken(appA)}}
	for n, want := range []int{0, 0, 45009} {
		if code := env.exchangeWith(t, "access_token", env.StaticToken(appA)); code != want {
			t.Errorf("call %d: errcode %d, want %d", n+1, code, want)
		}
	}
	got := env.call(t, "POST", "/cgi-bin/openapi/quota/get", token, `{"cgi_path":"/wxa/getopendata"}`)
	const want = `{"errcode":0,"errmsg":"ok","quota":{"daily_limit":2,"remain":0,"used":2},"rate_limit":{"call_count":5000,"refresh_second":60}}`
	if got.body != want {
		t.Errorf("quota = %s, want %s", got.body, want)
	}
	for body, code := range map[string]int{`{"cgi_path":"wxa/getopendata"}`: 76003, `{"cgi_path":"/wxa/x"}`: 76021, "": 44002} {
		got := env.fetchToken(t, "POST", "/cgi-bin/openapi/quota/get", token, body)
		if got.ErrCode != code {
			t.Errorf("quota(%s) = %d, want %d", body, got.ErrCode, code)
		}
	}
}

func TestSetFaults_OfOneAppForALimitedTime(t *testing.T) {
	c := &clock{start}
	env := newEnv(t, wechattest.Config{Now: c.Now, Faults: wechattest.Faults{"busy": 1}})
	a := env.call(t, "POST", "/sim/faults", nil,
		`{"appid":"`+appA+`","faults":{"quota":1},"for":"5s"}`)
	if a.status != http.StatusOK {
		t.Fatalf("faults = %+v", a)
	}
	if code := env.exchangeWith(t, "access_token", env.StaticToken(appA)); code != 45009 {
		t.Errorf("at once: errcode %d, want 45009", code)
	}
	tap := env.CloudID(appB, 1, 0, start)
	other := url.Values{"access_token": {env.StaticToken(appB)}, "openid": {tap.OpenID}}
	r, _ := read(t, env.call(t, "POST", "/wxa/getopendata", other, `{"cloudid_list":["x"]}`))
	if r.ErrCode != -1 {
		t.Errorf("another app: errcode %d, want -1", r.ErrCode)
	}
	c.now = c.now.Add(5 * time.Second)
	if code := env.exchangeWith(t, "access_token", env.StaticToken(appA)); code != -1 {
		t.Errorf("after 5 s: errcode %d, want -1", code)
	}
	if err := env.SetFaults("", wechattest.Faults{}, 0); err != nil || env.exchangeWith(t,
		"access_token", env.StaticToken(appA)) != 0 {
		t.Errorf("SetFaults for all apps = %v, want no faults", err)
	}
	err := env.SetFaults("", nil, 0)
	if err != nil || env.exchangeWith(t, "access_token", env.StaticToken(appA)) != -1 {
		t.Errorf("SetFaults(nil) = %v, want the faults of the configuration", err)
	}
	for _, body := range []string{`{"faults":{"foreign":1}}`, `{"faults":{"x":1}}`, `{"faults":{"busy":2}}`, `{"for":"x"}`, "x"} {
		if a := env.call(t, "POST", "/sim/faults", nil, body); a.status != http.StatusBadRequest {
			t.Errorf("faults(%s) = %+v, want 400", body, a)
		}
	}
	if stats := env.AppStats(appA); stats.Requests != 4 || stats.Answered != 1 ||
		!stats.LastRequest.Equal(c.now) {
		t.Errorf("stats = %+v, want 4 requests, one answered, the last one now", stats)
	}
}
