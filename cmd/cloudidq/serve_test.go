package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/porttest"
	"cloudidq/internal/wechat/wechattest"
)

// serve runs a Redis at a fixed address. Other commands can use the same configuration, and the
// Redis stops with serve.
func TestServe_Embedded(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 41})
	redis, ops := porttest.Reserve(t), porttest.Reserve(t)
	s.env = append(s.env, "CLOUDIDQ_REDIS_URL=embedded://"+redis, "CLOUDIDQ_API_LISTEN=127.0.0.1:0")
	s.env = append(s.env, "CLOUDIDQ_OPS_LISTEN="+ops)
	serve := s.start(t, "serve", "--config", s.config)
	waitFor(t, "serve to be ready", func() bool { status, _ := fetch(t, ops, "/readyz"); return status == http.StatusOK })
	if log := serve.err.String(); !strings.Contains(log, "redis.url is embedded: when this process ends, all tasks and records are lost") {
		t.Errorf("serve does not warn that its data is temporary: %s", log)
	}
	tap := s.twin(t).CloudID(appA, 0, 0, time.Now())
	enqueue := s.start(t, "enqueue", "--config", s.config, "--appid", appA, "--openid", tap.OpenID, "--wait", "4m", tap.CloudID)
	if status := enqueue.status(t); status != 0 || !strings.Contains(enqueue.out.String(), `"status":"resolved"`) {
		t.Errorf("enqueue: exit %d, %s %s", status, enqueue.out.String(), enqueue.err.String())
	}
	second := s.start(t, "serve", "--config", s.config)
	if status := second.status(t); status != exitFailed || !strings.Contains(second.err.String(), "starting the embedded Redis") {
		t.Errorf("a second serve: exit %d, %s", status, second.err.String())
	}
	serve.term(t)
	if status := serve.status(t); status != 0 {
		t.Errorf("serve: exit %d, %s", status, serve.err.String())
	}
	late := s.start(t, "result", "--config", s.config, "--appid", appA, tap.CloudID)
	if status := late.status(t); status != exitFailed || !strings.Contains(late.err.String(), "reaching Redis") {
		t.Errorf("result after serve has stopped: exit %d, %s", status, late.err.String())
	}
}
