package monitoring_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"cloudidq/internal/monitoring"
	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/monitoring"+path, http.NoBody))
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Code, string(body)
}

// If a task has vanished from Redis, for example by eviction, the list of queues still works.
func TestQueues_BrokenQueueIsListed(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	client := asynq.NewClientFromRedisClient(rdb)
	for _, queue := range []string{tasks.QueueEvents, tasks.QueueBackfill} {
		for range 2 {
			if _, err := client.Enqueue(asynq.NewTask("t", nil), asynq.Queue(queue)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := rdb.LPush(t.Context(), "asynq:{events}:pending", "gone").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := asynq.NewInspectorFromRedisClient(rdb).GetQueueInfo(tasks.QueueEvents); err == nil {
		t.Fatal("asynq can read the broken queue, so queues.go is no longer needed")
	}
	pages, err := monitoring.New(rdb, nil)
	if err != nil {
		t.Fatal(err)
	}
	status, body := get(t, pages.Handler(false), "/api/queues")
	var list struct {
		Queues []struct {
			Queue   string `json:"queue"`
			Pending int    `json:"pending"`
			Memory  int    `json:"memory_usage_bytes"`
		} `json:"queues"`
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != 200 || len(list.Queues) != 2 {
		t.Fatalf("answer = %d %s", status, body)
	}
	for _, q := range list.Queues {
		switch {
		case q.Queue == tasks.QueueEvents && (q.Pending != 3 || q.Memory != 0), q.Queue == tasks.QueueBackfill && (q.Pending != 2 || q.Memory == 0):
			t.Errorf("queue = %+v", q)
		}
	}
}

// Ids that an external worker has left in errors, results and payloads are masked. Text that
// only slightly resembles an id is not.
func TestMask(t *testing.T) {
	for text, want := range map[string]string{
		"open cloudIDs: 3; wechat: errcode -1 (retry)":                    "open cloudIDs: 3; wechat: errcode -1 (retry)",
		"no cloudID brought data: 1 failed, 12 expired":                   "no cloudID brought data: 1 failed, 12 expired",
		"bad id 73_eT-Y_mh0xLPueWn2b9cXq3, of oABCD1234567890abcdefghijk": "bad id [redacted], of [redacted]",
		"misconfiguration without digits":                                 "misconfiguration without digits",
		"token=80_abcdefghijklmnop":                                       "[redacted]",
	} {
		if got := monitoring.Mask(text); got != want {
			t.Errorf("Mask(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestDescribePayload(t *testing.T) {
	for _, tc := range [][3]string{
		{tasks.TypeResolve, `{"v":1,"appid":"wx1","items":[{"cloud_id":"73_planted","openid":"planted"}],"webhook":"orders"}`, `{"appid":"wx1","cloudids":1,"webhook":"orders","redacted":true}`},
		{tasks.TypeResolve, `{"v":0,"redacted":true,"appid":"wx1","items":7}`, `{"appid":"wx1","cloudids":7,"redacted":true}`},
		{tasks.TypeResolve, `{"v":9,"appid":"planted"}`, `{"redacted":true}`},
		{tasks.TypeResolve, "planted", `{"redacted":true}`},
		{tasks.TypeDeliver, `{"id":"planted"}`, `{"redacted":true}`},
		{"planted", "\xff", `{"redacted":true}`},
	} {
		if got := monitoring.DescribePayload(tc[0], []byte(tc[1])); got != tc[2] || strings.Contains(got, "planted") {
			t.Errorf("DescribePayload(%s) = %s, want %s", tc[1], got, tc[2])
		}
	}
}
