package worker

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/wechat"
	"cloudidq/tasks"
)

// The log line of an attempt names the task, the status of its cloudIDs and the reason, with
// WeChat's request id. It contains no cloudID and no openid.
func TestLogAttempt_ReasonWithoutUserData(t *testing.T) {
	const rid = "607d4cbc-12345678-9abcdef0"
	var answer *wechat.Error
	b := newResolverFixture(t, &batchtest.WeChat{Answer: func(wechat.Request) *wechat.Error { return answer }})
	var out strings.Builder
	b.log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for i, tt := range []struct {
		answer *wechat.Error
		want   []string
	}{
		{nil, []string{"level=DEBUG msg=resolve ", "resolved=1 failed=0 expired=0 open=0\n"}},
		{
			&wechat.Error{Class: wechat.ClassItem, Code: -601007, Message: "planted", RID: rid},
			[]string{"level=INFO ", "failed=1", "errcode=-601007 rid=" + rid + " rid_at=2021-04-19T09:26:20.000Z\n"},
		},
		{
			&wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "planted", RID: rid},
			[]string{"level=INFO ", "open=1", `error="open cloudIDs: 1; wechat: errcode -1 (retry), rid ` + rid + ` of 2021-04-19T09:26:20Z"`},
		},
	} {
		answer = tt.answer
		out.Reset()
		task, err := tasks.NewResolveTask(tasks.ResolvePayload{
			AppID: testApp, Items: []tasks.Item{{CloudID: fmt.Sprint("73_planted", i), OpenID: "o-planted"}},
		}, tasks.QueueEvents)
		if err != nil {
			t.Fatal(err)
		}
		_ = b.ProcessTask(t.Context(), task)
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("log = %q, misses %q", out.String(), want)
			}
		}
		if strings.Contains(out.String(), "planted") {
			t.Errorf("log = %q", out.String())
		}
	}
}
