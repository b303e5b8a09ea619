package batch

import (
	"fmt"
	"slices"
	"testing"

	"cloudidq/internal/wechat"
)

// sentActivity notes the reports of calls.
type sentActivity struct{ reported []string }

func (n *sentActivity) Sent(appID string, requests, cloudIDs int) {
	n.reported = append(n.reported, fmt.Sprintf("%s sent %d in %d", appID, cloudIDs, requests))
}

// A call that repeats its open cloudIDs reports the number of its requests, and not the sum
// over its cloudIDs.
func TestReportSent_CountsRequests(t *testing.T) {
	noted := &sentActivity{}
	reportSent(noted, "wx1", []wechat.Outcome{{Attempts: 1}, {Attempts: 3}, {Attempts: 0}})
	reportSent(noted, "wx1", []wechat.Outcome{{Attempts: 0}}) // nothing was sent
	if want := []string{"wx1 sent 4 in 3"}; !slices.Equal(noted.reported, want) {
		t.Errorf("reported = %q, want %q", noted.reported, want)
	}
}
