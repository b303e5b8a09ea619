package storetest

import (
	"math"
	"time"

	"cloudidq/store"
)

// claimRules are the rules of Claim: which record exists before, and what the task gets as the
// answer.
var claimRules = map[string]func(*suite){
	"ClaimOfUnknown_StoredPending": func(s *suite) {
		s.wantClaim(taskA, store.Claimed, s.pending(id))
		s.wantStored(s.pending(id))
	},
	"ClaimedByOther_Busy": func(s *suite) {
		s.claim(taskA, id)
		s.wantClaim(taskB, store.Busy, store.Record{})
		s.wantStored(s.pending(id))
	},
	"ClaimOfSameTask_ReopenedAfterCrash": func(s *suite) {
		s.claim(taskA, id)
		s.wantClaim(taskA, store.Claimed, s.pending(id))
		s.wantClaim(taskB, store.Busy, store.Record{})
	},
	"ClaimLapsed_TakenOver": func(s *suite) {
		s.lapsed(taskA, id)
		s.wantClaim(taskB, store.Claimed, s.pending(id))
		s.wantClaim(taskA, store.Busy, store.Record{})
	},
	"ClaimLapsesByItself": func(s *suite) {
		s.claimFor(300*time.Millisecond, taskA, id)
		s.eventually("the claim lapses", func() bool {
			return s.claim(taskB, id)[0].State == store.Claimed
		})
	},
	"ClaimOfAnyLength_NotMistakenForUnclaimed": func(s *suite) {
		s.save(taskB, s.failed(id, "no"))
		for _, length := range []time.Duration{0, -time.Hour, math.MinInt64} {
			s.claimFor(length, taskA, id)
			s.wantClaim(taskA, store.Claimed, s.failed(id, "no")) // not Done: A has claimed it but not completed it
			s.save(taskA, s.pending(id))
		}
		s.claimFor(math.MaxInt64, taskA, id)
		s.wantClaim(taskB, store.Busy, store.Record{})
	},
	"SavedPending_ClaimReleasedAndRecordUpdated": func(s *suite) {
		attempted := s.pending(id)
		attempted.Attempts, attempted.Error = 1, &store.Error{Code: -1, Message: "system error"}
		s.claim(taskA, id)
		s.save(taskA, attempted)
		s.wantStored(attempted)
		s.wantClaim(taskB, store.Claimed, attempted)
	},
	"Resolved_DoneForAll": func(s *suite) {
		want := s.resolved(id, `{"a":1}`)
		s.save(taskA, want)
		s.wantClaim(taskA, store.Done, want)
		s.wantClaim(taskB, store.Done, want)
		s.wantStored(want)
	},
	"FailedOfThisTask_Done": func(s *suite) {
		for _, want := range []store.Record{s.failed(id, "no"), s.expired(id)} {
			s.claim(taskA, id)
			s.save(taskA, want)
			s.wantClaim(taskA, store.Done, want)
		}
	},
	"FailedOfEarlierTask_ClaimedWithRecord": func(s *suite) {
		old := s.failed(id, "no")
		s.claim(taskA, id)
		s.save(taskA, old)
		s.wantClaim(taskB, store.Claimed, old)
		s.wantClaim(taskB, store.Claimed, old) // after a crash
		s.wantClaim(taskA, store.Busy, store.Record{})
		s.wantStored(old)
	},
	"FailedOfEarlierTask_ClaimLapsed_TakenOver": func(s *suite) {
		old := s.expired(id)
		s.save(taskA, old)
		s.lapsed(taskB, id)
		s.wantClaim("task-c", store.Claimed, old)
		s.wantClaim(taskB, store.Busy, store.Record{})
	},
	"FailedOfEarlierTask_AttemptFailed_ClaimedAgain": func(s *suite) {
		old := s.failed(id, "no")
		s.save(taskA, old)
		s.claim(taskB, id)
		s.save(taskB, s.pending(id))
		s.wantStored(old)
		s.wantClaim(taskB, store.Claimed, old) // not Done: the failure is task A's
		s.save(taskB, s.pending(id))
		s.wantClaim("task-c", store.Claimed, old)
	},
	"ClaimOfMany_EachByItself": func(s *suite) {
		resolved, earlier, mine := s.resolved("r", `{}`), s.failed("f", "no"), s.expired("e")
		s.save(taskA, resolved, earlier)
		s.save(taskB, mine)
		s.claim(taskA, "busy")
		got := s.claim(taskB, "new", "r", "busy", "f", "e")
		s.equal("Claim", got, []store.ClaimResult{
			{State: store.Claimed, Record: s.pending("new")},
			{State: store.Done, Record: resolved},
			{State: store.Busy},
			{State: store.Claimed, Record: earlier},
			{State: store.Done, Record: mine},
		})
	},
	"ClaimOfFinalRecord_Refused": func(s *suite) {
		c := store.Claim{AppID: s.app, TaskID: taskA, For: time.Hour}
		c.Records = []store.Record{s.pending("other"), s.failed(id, "no")}
		if _, err := s.results.Claim(s.Context(), c); err == nil {
			s.Error("Claim with a failed record = nil error")
		}
		s.wantUnknown("other", id)
	},
	"ClaimForAnotherApp_Refused": func(s *suite) {
		c := store.Claim{AppID: s.app + "x", TaskID: taskA, For: time.Hour}
		c.Records = []store.Record{s.pending(id)}
		if _, err := s.results.Claim(s.Context(), c); err == nil {
			s.Error("Claim with a record of another app = nil error")
		}
		s.wantUnknown(id)
	},
}
