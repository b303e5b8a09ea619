package attempt

import (
	"errors"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Archive returns an error that asynq does not retry.
func TestArchive_IsNotRetried(t *testing.T) {
	err := Archive("payload cannot be read")
	if !errors.Is(err, asynq.SkipRetry) || !strings.HasPrefix(err.Error(), "payload cannot be read") {
		t.Errorf("Archive() = %v", err)
	}
}
