package wechat_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// newTracedClient returns a client with tracing, and a recorder of its spans.
func newTracedClient(
	t *testing.T, url string,
) (*wechat.Client, trace.TracerProvider, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	client, err := wechat.New(wechat.Config{BaseURL: url, Tracers: provider})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); _ = provider.Shutdown(context.Background()) })
	return client, provider, spans
}

// describe returns a span in one line: its name, its status and the attributes with the given keys.
func describe(span sdktrace.ReadOnlySpan, keys ...string) string {
	text := span.Name() + " " + span.Status().Code.String()
	for _, a := range span.Attributes() {
		if slices.Contains(keys, string(a.Key)) {
			text += fmt.Sprintf(" %s=%s", strings.TrimPrefix(string(a.Key), "cloudidq."), a.Value.String())
		}
	}
	return text
}

func TestTrace_RequestsWithResult(t *testing.T) {
	t.Parallel()
	const rid = "68aeab00-21ea7900-3a442400"
	server := serve(t,
		answer(`{"errcode":-1,"errmsg":"system error rid: `+rid+` `+plantedOpenID+` `+plantedCloudID+` `+plantedToken+`"}`),
		answer(list(entry("a", `{"data":{"opengid":"planted-data"}}`), entry("b", `{"errCode":-601003,"errMsg":"`+plantedCloudID+`"}`))),
		answer(list(entry("b", `{"errCode":-601007,"errMsg":"`+plantedOpenID+`"}`))),
	)
	client, provider, spans := newTracedClient(t, server.URL)
	_, one := provider.Tracer("test").Start(t.Context(), "process")
	req := request("a", "b")
	req.OpenID, req.Origins = plantedOpenID, []trace.SpanContext{one.SpanContext()}
	client.GetOpenData(t.Context(), wechat.StaticToken(secret.New(plantedToken)), req)
	var got []string
	for _, span := range spans.Ended() {
		got = append(got, describe(span, "cloudidq.attempt", "cloudidq.cloudids",
			"cloudidq.cloudids.open", "cloudidq.wechat.class",
			"cloudidq.wechat.errcode", "cloudidq.wechat.rid", "error.type"))
		if span.SpanKind() != trace.SpanKindClient || span.Parent().SpanID() != one.SpanContext().SpanID() || len(span.Links()) != 1 {
			t.Errorf("%s: kind %v, parent %v, links %v", span.Name(), span.SpanKind(), span.Parent(), span.Links())
		}
		wantNoSecret(t, fmt.Sprint(span.Name(), span.Attributes(), span.Status(), span.Events(), span.Links()))
		if text := fmt.Sprint(span.Attributes()); strings.Contains(text, "planted") || strings.Contains(text, "?") {
			t.Errorf("a span contains data or a query: %s", text)
		}
	}
	want := []string{
		"POST /wxa/getopendata Error cloudids=2 attempt=1 wechat.class=retry wechat.errcode=-1 error.type=retry wechat.rid=" + rid + " cloudids.open=2",
		"POST /wxa/getopendata Unset cloudids=2 attempt=2 wechat.class=ok wechat.errcode=0 cloudids.open=1",
		"POST /wxa/getopendata Unset cloudids=1 attempt=3 wechat.class=ok wechat.errcode=0 cloudids.open=0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("spans:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	to, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	request := describe(spans.Ended()[0], "server.address", "server.port", "url.template",
		"http.request.method")
	if !strings.HasSuffix(request, "server.address=127.0.0.1 server.port="+to.Port()+
		" http.request.method=POST url.template=/wxa/getopendata") {
		t.Errorf("attributes of the request = %s", request)
	}
}

func TestTrace_RequestForSeveralTasksHasNoParent(t *testing.T) {
	server := serve(t, answer(list(entry("a", `{"data":{}}`))))
	client, provider, spans := newTracedClient(t, server.URL)
	req := request("a")
	for range 3 {
		_, span := provider.Tracer("test").Start(t.Context(), "process")
		req.Origins = append(req.Origins, span.SpanContext())
	}
	client.GetOpenData(t.Context(), token(), req)
	span := spans.Ended()[0]
	if span.Parent().IsValid() || len(span.Links()) != 3 {
		t.Errorf("parent %v, %d links; want none and 3", span.Parent(), len(span.Links()))
	}
}

func TestTrace_TokenFetches(t *testing.T) {
	server := serve(t, answer(`{"errcode":40125,"errmsg":"invalid appsecret `+plantedSecret+`"}`))
	client, _, spans := newTracedClient(t, server.URL)
	_, _ = client.LegacyToken("wx00", secret.New(plantedSecret)).Token(t.Context())
	span := spans.Ended()[0]
	wantNoSecret(t, fmt.Sprint(span.Name(), span.Attributes(), span.Status(), span.Events()))
	got := describe(span, "cloudidq.token.mode", "cloudidq.appid", "cloudidq.wechat.errcode",
		"error.type")
	want := "fetch token legacy Error appid=wx00 token.mode=legacy wechat.errcode=40125 error.type=app"
	if got != want {
		t.Errorf("span = %s, want %s", got, want)
	}
}
