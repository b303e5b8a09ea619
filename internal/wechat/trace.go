package wechat

import (
	"context"
	"net/url"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Span attributes that OpenTelemetry's conventions do not define. None contains a user's id or a
// cloudID. Spans also contain no URL, because its query holds the token and the openid.
const (
	attrAppID    = attribute.Key("cloudidq.appid")
	attrCloudIDs = attribute.Key("cloudidq.cloudids") // number of cloudIDs
	attrOpen     = attribute.Key("cloudidq.cloudids.open")
	attrAttempt  = attribute.Key("cloudidq.attempt")
	attrClass    = attribute.Key("cloudidq.wechat.class")
	attrErrcode  = attribute.Key("cloudidq.wechat.errcode")
	attrRID      = attribute.Key("cloudidq.wechat.rid")
	attrMode     = attribute.Key("cloudidq.token.mode")
)

// within returns ctx with the span of the task that the request is made for as parent. If a
// request is made for several tasks, it has links to all of them and no parent among them.
func within(ctx context.Context, origins []trace.SpanContext) context.Context {
	if len(origins) == 1 {
		return trace.ContextWithSpanContext(ctx, origins[0])
	}
	return ctx
}

// startRequest starts the span of one request. The returned function ends the span and records
// the result.
func (x *exchange) startRequest(ctx context.Context) (context.Context, func(failure *Error, sent bool)) {
	if x.client.tracer == nil {
		return ctx, func(*Error, bool) {}
	}
	links := make([]trace.Link, len(x.req.Origins))
	for i, origin := range x.req.Origins {
		links[i].SpanContext = origin
	}
	x.sent++
	ctx, span := x.client.tracer.Start(ctx, "POST "+pathOpenData, trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(links...),
		trace.WithAttributes(append(serverOf(x.client.base),
			semconv.HTTPRequestMethodPost, semconv.URLTemplate(pathOpenData), attrAppID.String(x.req.AppID),
			attrCloudIDs.Int(len(x.open)), attrAttempt.Int(x.sent),
		)...))
	return ctx, func(failure *Error, sent bool) {
		switch {
		case !sent:
			span.SetAttributes(semconv.ErrorTypeKey.String("late"))
		default:
			endCall(span, failure)
			span.SetAttributes(attrOpen.Int(len(x.open)))
		}
		span.End()
	}
}

// serverOf returns the host of the API, and its port if the base URL names one.
func serverOf(base *url.URL) []attribute.KeyValue {
	attrs := []attribute.KeyValue{semconv.ServerAddress(base.Hostname())}
	if port, err := strconv.Atoi(base.Port()); err == nil {
		attrs = append(attrs, semconv.ServerPort(port))
	}
	return attrs
}

// endCall records the result of a call: the class and errcode, but never a text, because it may
// repeat submitted values.
func endCall(span trace.Span, failure *Error) {
	if failure == nil {
		span.SetAttributes(attrClass.String(classOK), attrErrcode.Int(0))
		return
	}
	span.SetAttributes(attrClass.String(failure.Class.String()), attrErrcode.Int(failure.Code),
		semconv.ErrorTypeKey.String(failure.Class.String()))
	if failure.RID != "" {
		span.SetAttributes(attrRID.String(failure.RID))
	}
	span.SetStatus(otelcodes.Error, "")
}

// startFetch starts the span of a token fetch. The returned function ends it.
func (c *Client) startFetch(ctx context.Context, appID, mode string) (context.Context, func(failure *Error)) {
	if c.tracer == nil {
		return ctx, func(*Error) {}
	}
	ctx, span := c.tracer.Start(ctx, "fetch token "+mode, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attrAppID.String(appID), attrMode.String(mode)))
	return ctx, func(failure *Error) {
		endCall(span, failure)
		span.End()
	}
}
