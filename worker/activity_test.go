package worker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudidq/internal/batch"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// notedActivity records the reports that it receives.
type notedActivity struct {
	noActivity
	mu       sync.Mutex
	reported []string
}

func (n *notedActivity) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reported = append(n.reported, strings.ReplaceAll(fmt.Sprintf(format, args...), testApp, "wx1"))
}

func (n *notedActivity) Finished(appID string, status store.Status, took time.Duration) {
	n.note("%s %s after %s", appID, status, took.Truncate(time.Minute))
}

func (n *notedActivity) Sent(appID string, requests, cloudIDs int) {
	n.note("%s sent %d in %d", appID, cloudIDs, requests)
}

// Each finished cloudID is reported once, by the attempt that has saved it.
func TestAttempt_ReportsFinishedCloudIDsOnce(t *testing.T) {
	f := &batchtest.WeChat{Answer: func(req wechat.Request) *wechat.Error {
		switch req.Items[0].CloudID {
		case "73_001":
			return &wechat.Error{Class: wechat.ClassItem, Code: -601007, Message: "no"}
		case "73_002":
			return &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "busy"}
		}
		return nil
	}}
	noted := &notedActivity{}
	b := newResolverFixture(t, f, batch.Options{Activity: noted})
	b.activity = noted
	p := payloadOf(3, time.Now().Add(-2*time.Minute))
	_ = b.attempt(t, "task-1", p) // leaves one open
	want := []string{
		"wx1 failed after 2m0s", "wx1 resolved after 2m0s", "wx1 sent 1 in 1", "wx1 sent 1 in 1", "wx1 sent 1 in 1",
	}
	slices.Sort(noted.reported)
	if !slices.Equal(noted.reported, want) {
		t.Errorf("reported = %q, want %q", noted.reported, want)
	}
	f.Answer, noted.reported = nil, nil
	if err := b.attempt(t, "task-1", p); err != nil {
		t.Fatal(err)
	}
	if want := []string{"wx1 sent 1 in 1", "wx1 resolved after 2m0s"}; !slices.Equal(noted.reported, want) {
		t.Errorf("reports of the second attempt = %q, want %q", noted.reported, want)
	}
}
