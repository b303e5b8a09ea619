package storetest

import (
	"time"

	"cloudidq/store"
)

// eraseRules are the rules of Erase. The random calls check Erase too.
var eraseRules = map[string]func(*suite){
	"Erase_UnknownUser": func(s *suite) { s.equal("erased", s.erase("o-nobody"), 0) },
	"Erase_AllRecordsOfOneUser": func(s *suite) {
		other := s.of("o-other", s.resolved("73_other", `{}`))
		s.claimRecords(taskA, s.of("o-1", s.pending("73_1")), s.of("o-1", s.pending("73_2")), s.of("o-other", s.pending("73_other")))
		s.save(taskA, s.of("o-1", s.resolved("73_1", `{}`)), other)
		s.equal("erased", s.erase("o-1"), 2)
		s.wantUnknown("73_1", "73_2")
		s.wantStored(other)
		s.equal("erased again", s.erase("o-1"), 0)
	},
	"Erase_LateAnswerIsNotStored": func(s *suite) {
		rec := s.of("o-1", s.pending(id))
		s.claimRecords(taskA, rec)
		s.erase("o-1")
		s.save(taskA, s.of("o-1", s.resolved(id, `{}`)))
		s.wantUnknown(id)
		s.equal("claimed again", s.claimRecords(taskB, rec)[0], store.ClaimResult{State: store.Erased})
	},
	"Erase_QueuedCloudIDs": func(s *suite) {
		s.erase("o-1")
		queued := s.of("o-1", s.pending(id))
		s.equal("accepted before", s.claimRecords(taskA, queued)[0], store.ClaimResult{State: store.Erased})
		s.save(taskA, s.of("o-1", s.resolved("73_unclaimed", `{}`)))
		s.wantUnknown(id, "73_unclaimed")
	},
	"Erase_UserMayReturn": func(s *suite) {
		s.erase("o-1")
		later := s.of("o-1", s.pending("73_new"))
		later.AcceptedAt = store.At(time.Now().Add(time.Minute))
		s.equal("accepted later", s.claimRecords(taskA, later)[0], store.ClaimResult{State: store.Claimed, Record: later})
	},
	"Erase_OtherApp": func(s *suite) {
		s.claimRecords(taskA, s.of("o-1", s.pending(id)))
		other := *s
		other.app += "x"
		s.equal("erased", other.erase("o-1"), 0)
		s.wantStored(s.of("o-1", s.pending(id)))
	},
}

// of returns rec with the given openid.
func (s *suite) of(openID string, rec store.Record) store.Record {
	rec.OpenID = openID
	return rec
}

func (s *suite) erase(openID string) int {
	s.Helper()
	n, err := s.results.Erase(s.Context(), s.app, openID)
	if err != nil {
		s.Fatalf("Erase: %v", err)
	}
	return n
}

func (s *suite) claimRecords(task string, records ...store.Record) []store.ClaimResult {
	s.Helper()
	got, err := s.results.Claim(s.Context(), store.Claim{
		AppID: s.app, TaskID: task, For: time.Hour, Records: records,
	})
	if err != nil {
		s.Fatalf("Claim: %v", err)
	}
	return got
}
