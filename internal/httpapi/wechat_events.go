package httpapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat/push"
)

// Platform is a third-party platform that WeChat's events change. An event may arrive twice and
// out of order; created is WeChat's time of the event. If a method returns an error, the event
// has had no effect.
type Platform interface {
	// Open verifies the signature and the age of a push, and decrypts it.
	Open(query url.Values, body []byte, now time.Time) (push.Event, error)
	// StoreTicket stores a component_verify_ticket.
	StoreTicket(ctx context.Context, ticket secret.Text, created time.Time) error
	// Authorize starts the app of a merchant who has authorized the platform, or who has changed
	// the authorization.
	Authorize(ctx context.Context, appID string, code secret.Text, created time.Time) error
	// Unauthorize stops the app of a merchant who has withdrawn the authorization.
	Unauthorize(ctx context.Context, appID string, created time.Time) error
}

// wechatEvents receives WeChat's pushes: POST /v1/wechat/components/{appid}/events. WeChat expects
// the plain text "success".
// https://developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/api/Before_Develop/component_verify_ticket.html.
type wechatEvents struct {
	platforms map[string]Platform
	log       *slog.Logger
}

// applyTimeout bounds the processing of an event, including a call to WeChat. It is less than
// drainTimeout, so that a server stop interrupts no event.
const applyTimeout = 8 * time.Second

// ServeHTTP implements [http.Handler].
func (h *wechatEvents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	component := r.PathValue("appid")
	platform := h.platforms[component]
	if platform == nil {
		httpError(w, http.StatusNotFound, "no component with this appid is configured")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, push.MaxBytes))
	if err != nil {
		h.writeBodyError(w, err)
		return
	}
	event, err := platform.Open(r.URL.Query(), body, time.Now())
	if err != nil {
		h.writePushError(w, component, err)
		return
	}
	markAuthenticated(r.Context())
	// Finish an event even if WeChat disconnects. It must not stay half applied.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), applyTimeout)
	defer cancel()
	if err := apply(ctx, platform, event); err != nil {
		h.log.Error("WeChat event failed", "component", component, "type", event.Type.String(),
			"appid", event.Authorizer, "error", err)
		w.Header().Set("Retry-After", "60")
		httpError(w, http.StatusServiceUnavailable, "the event had no effect; send it again")
		return
	}
	h.log.Info("WeChat event processed", "component", component, "type", event.Type.String(),
		"appid", event.Authorizer,
		"created", event.CreatedAt)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "success")
}

// apply processes an event. Events of other types need only a response.
func apply(ctx context.Context, platform Platform, event push.Event) error {
	switch event.Type {
	case push.Ticket:
		return platform.StoreTicket(ctx, event.Ticket, event.CreatedAt)
	case push.Authorized, push.UpdateAuthorized:
		return platform.Authorize(ctx, event.Authorizer, event.Code, event.CreatedAt)
	case push.Unauthorized:
		return platform.Unauthorize(ctx, event.Authorizer, event.CreatedAt)
	default:
		return nil
	}
}

func (h *wechatEvents) writeBodyError(w http.ResponseWriter, err error) {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		httpError(w, http.StatusRequestEntityTooLarge, "the body must have at most 64 KiB")
		return
	}
	httpError(w, http.StatusBadRequest, "the body is incomplete")
}

// writePushError responds to a push that cannot be verified. The errors contain no part of the
// push.
func (h *wechatEvents) writePushError(w http.ResponseWriter, component string, err error) {
	h.log.Warn("WeChat push rejected", "component", component, "error", err)
	status := http.StatusBadRequest
	if errors.Is(err, push.ErrSignature) || errors.Is(err, push.ErrStale) {
		status = http.StatusForbidden
	}
	httpError(w, status, err.Error())
}
