package webhook_test

import (
	"io"
	"log"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cloudidq/internal/webhook"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// Wait returns the wait of the schedule, up to a fifth more or less, or the longer wait that
// the receiver requests, within its bound.
func TestWait_Schedule(t *testing.T) {
	bases := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
	if webhook.MaxAttempts != len(bases)+1 {
		t.Errorf("MaxAttempts = %d, want %d", webhook.MaxAttempts, len(bases)+1)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(-1, len(bases)+2).Draw(t, "n")
		requested := time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "requested"))
		got, retry := webhook.Wait(n, requested)
		if retry != (n >= 1 && n <= len(bases)) {
			t.Fatalf("Wait(%d) reports retry = %t", n, retry)
		}
		if !retry {
			return
		}
		base := bases[n-1]
		honored := min(requested, max(time.Hour, 2*base))
		if least := max(base*4/5, honored); got < least {
			t.Fatalf("Wait(%d, %s) = %s, want at least %s", n, requested, got, least)
		}
		if most := max(base*6/5, honored); got > most {
			t.Fatalf("Wait(%d, %s) = %s, want at most %s", n, requested, got, most)
		}
	})
}

// For any Retry-After values, the last attempt is made within seven days, the retention
// time of a delivery.
func TestWait_LastAttemptIsInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sum time.Duration
		for n := 1; ; n++ {
			requested := time.Duration(rapid.Int64Range(0, int64(365*24*time.Hour)).Draw(t, "requested"))
			wait, retry := webhook.Wait(n, requested)
			if !retry {
				if n != webhook.MaxAttempts {
					t.Fatalf("the last attempt has number %d, want MaxAttempts", n)
				}
				break
			}
			sum += wait
		}
		if sum > 7*24*time.Hour-12*time.Hour {
			t.Fatalf("the last attempt is made after %s, want less than the retention", sum)
		}
	})
}

// A failure disables an endpoint after five days without a success. The failure before it must
// be at least 12 hours later than the first one.
func TestDisable(t *testing.T) {
	first := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for name, tt := range map[string]struct {
		previous, now time.Duration
		want          bool
	}{
		"FiveDays":              {4 * day, 5 * day, true},
		"NotYet":                {4 * day, 5*day - time.Second, false},
		"OneOutageAtTheStart":   {11 * time.Hour, 6 * day, false},
		"SecondHalfADayLater":   {12 * time.Hour, 6 * day, true},
		"FirstFailure":          {0, 0, false},
		"TwoFailuresFarApart":   {0, 6 * day, false},
		"ThreeFailuresFarApart": {6 * day, 6*day + time.Second, true},
	} {
		if got := webhook.Disable(first, first.Add(tt.previous), first.Add(tt.now)); got != tt.want {
			t.Errorf("%s: Disable = %t, want %t", name, got, tt.want)
		}
	}
	if webhook.Disable(time.Time{}, first, first.Add(10*day)) {
		t.Error("Disable returned true for an endpoint without failures")
	}
}
