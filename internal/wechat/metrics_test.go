package wechat_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// newCountedClient returns a client with metrics for the apps wx00 and wx01.
func newCountedClient(t *testing.T, url string) (*wechat.Client, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	client, err := wechat.New(wechat.Config{
		BaseURL: url, Metrics: wechat.NewMetrics(registry, wechat.NewAppLabels("wx00", "wx01")),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, registry
}

// wantMetrics compares the metrics with want. It ignores metrics with value 0.
func wantMetrics(t *testing.T, registry *prometheus.Registry, want string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			if value != 0 {
				got = append(got, fmt.Sprintf("%s %s %v", family.GetName(), strings.Join(labels, ","), value))
			}
		}
	}
	if text := strings.Join(got, "\n"); text != strings.TrimSpace(want) {
		t.Errorf("metrics:\n%s\nwant:\n%s", text, want)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestMetrics_RequestsByResult(t *testing.T) {
	server := serve(t,
		answer(list(entry("a", `{"data":{"opengid":"G"}}`), entry("b", `{"errCode":-601007}`))),
		answer(`{"errcode":40003,"errmsg":"invalid openid"}`),
		answer(`{"errcode":40998,"errmsg":"an unknown code"}`),
		answer(`{"errcode":48001,"errmsg":"api unauthorized"}`),
	)
	client, registry := newCountedClient(t, server.URL)
	client.GetOpenData(t.Context(), token(), request("a", "b"))
	client.GetOpenData(t.Context(), token(), request("a"))
	client.GetOpenData(t.Context(), token(), request("a"))
	merchant := request("a")
	merchant.AppID = "wxmerchant"
	client.GetOpenData(t.Context(), token(), merchant)
	wantMetrics(t, registry, `
cloudidq_wechat_request_cloudids app=other 1
cloudidq_wechat_request_cloudids app=wx00 3
cloudidq_wechat_request_duration_seconds app=other 1
cloudidq_wechat_request_duration_seconds app=wx00 3
cloudidq_wechat_requests_total app=other,class=app,errcode=48001 1
cloudidq_wechat_requests_total app=wx00,class=call,errcode=40003 1
cloudidq_wechat_requests_total app=wx00,class=call,errcode=other 1
cloudidq_wechat_requests_total app=wx00,class=ok,errcode=0 1`)
}

// A request without an answer is counted. A request that was too late to be sent is not.
func TestMetrics_NotSentAndNoAnswer(t *testing.T) {
	t.Parallel()
	client, registry := newCountedClient(t, serve(t, hangUp).URL)
	late := request("a")
	late.Items[0].SendBy = late.Items[0].SendBy.AddDate(0, 0, -1)
	client.GetOpenData(t.Context(), token(), late)
	wantMetrics(t, registry, "")
	client.GetOpenData(t.Context(), token(), request("a"))
	wantMetrics(t, registry, `
cloudidq_wechat_request_cloudids app=wx00 3
cloudidq_wechat_request_duration_seconds app=wx00 3
cloudidq_wechat_requests_total app=wx00,class=retry,errcode=0 3`)
}

func TestMetrics_TokenFetches(t *testing.T) {
	server := serve(t, answer(`{"access_token":"T","expires_in":7200}`), answer(`{"errcode":40125,"errmsg":"invalid appsecret"}`))
	client, registry := newCountedClient(t, server.URL)
	for _, source := range []wechat.TokenSource{
		client.StableToken("wx00", secret.New("hunter2")), client.LegacyToken("wx01", secret.New("hunter2")),
	} {
		for range 2 { // the second time it is cached, or it is too soon for another fetch
			_, _ = source.Token(t.Context())
		}
	}
	wantMetrics(t, registry, `
cloudidq_token_fetches_total app=wx00,mode=stable,result=ok 1
cloudidq_token_fetches_total app=wx01,mode=legacy,result=app 1`)
}

func TestAppLabels_AreBounded(t *testing.T) {
	var ids []string
	for i := range 2 * wechat.MaxAppLabels {
		ids = append(ids, fmt.Sprintf("wx%d", i/2))
	}
	ids = append(ids, "wxlate")
	labels := wechat.NewAppLabels(ids...)
	if n := len(labels.Known()); n != wechat.MaxAppLabels {
		t.Errorf("%d labels, want %d", n, wechat.MaxAppLabels)
	}
	if labels.Of("wx0") != "wx0" || labels.Of("wxlate") != wechat.OtherLabel || labels.Of("") != wechat.OtherLabel {
		t.Errorf("labels %q, %q, %q", labels.Of("wx0"), labels.Of("wxlate"), labels.Of(""))
	}
	if (wechat.AppLabels{}).Of("wx0") != wechat.OtherLabel {
		t.Error("the zero value has a label for an app")
	}
}

func TestCodeLabel_UnknownCodesAreOther(t *testing.T) {
	for _, row := range wechat.Codes() {
		if got := wechat.CodeLabel(row.Code); got != fmt.Sprint(row.Code) {
			t.Errorf("CodeLabel(%d) = %q", row.Code, got)
		}
	}
	for code, want := range map[int]string{0: "0", 12345: "other", -12345: "other"} {
		if got := wechat.CodeLabel(code); got != want {
			t.Errorf("CodeLabel(%d) = %q, want %q", code, got, want)
		}
	}
}
