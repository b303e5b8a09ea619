package storetest

import (
	"time"

	"cloudidq/store"
)

// ownerRules cover a cloudID that is requested under another openid than before, or under none.
// The data then belongs to its owner, the user of the new request, and an erasure of the owner
// must find it.
var ownerRules = map[string]func(*suite){
	"Owner_FailedOfAnother_ThenResolved_ErasedWithTheOwner": func(s *suite) {
		for _, previous := range []string{"o-2", ""} {
			s := s.inApp("p" + previous)
			s.save(taskA, s.of(previous, s.failed(id, "no")))
			s.claimRecords(taskB, s.of("o-1", s.pending(id)))
			want := s.of("o-1", s.resolved(id, `{}`))
			s.save(taskB, want)
			s.equal("erased of the other", s.erase("o-2"), 0)
			s.wantStored(want)
			s.equal("erased of the owner", s.erase("o-1"), 1)
			s.wantUnknown(id)
		}
	},
	"Owner_ErasureBetweenClaimAndSave_NothingIsStored": func(s *suite) {
		s.save(taskA, s.of("o-2", s.failed(id, "no")), s.of("", s.failed("73_nobody", "no")))
		mine := []store.Record{s.of("o-1", s.pending(id)), s.of("o-1", s.pending("73_nobody"))}
		for _, got := range s.claimRecords(taskB, mine...) {
			s.equal("claim", got.State, store.Claimed)
		}
		s.equal("erased", s.erase("o-1"), 2)
		s.save(taskB, s.of("o-1", s.resolved(id, `{}`)), s.of("o-1", s.resolved("73_nobody", `{}`)))
		s.wantUnknown(id, "73_nobody")
		s.equal("claimed again", s.claimRecords("task-c", mine[0])[0].State, store.Erased)
	},
	"Owner_ErasureOfTheOtherBetweenClaimAndSave_ChangesNothing": func(s *suite) {
		s.save(taskA, s.of("o-2", s.failed(id, "no")))
		s.claimRecords(taskB, s.of("o-1", s.pending(id)))
		s.equal("erased", s.erase("o-2"), 0)
		want := s.of("o-1", s.resolved(id, `{}`))
		s.save(taskB, want)
		s.wantStored(want)
	},
	"Owner_ErasedSinceAccepted_RecordOfAnotherStays": func(s *suite) {
		other := s.of("o-2", s.failed(id, "no"))
		s.save(taskA, other)
		s.erase("o-1")
		s.equal("claim", s.claimRecords(taskB, s.of("o-1", s.pending(id)))[0], store.ClaimResult{State: store.Erased})
		s.save(taskB, s.of("o-1", s.resolved(id, `{}`)))
		s.wantStored(other)
	},
	"Owner_SavedWithoutAClaim_Moves": func(s *suite) {
		s.save(taskA, s.of("o-2", s.failed(id, "no")))
		want := s.of("o-1", s.failed(id, "no"))
		s.save(taskB, want)
		s.equal("erased of the other", s.erase("o-2"), 0)
		s.wantStored(want)
		s.equal("erased of the owner", s.erase("o-1"), 1)
	},
	"Owner_ClaimOnAnothersFailed_IsANewRequest": func(s *suite) {
		s.save(taskA, s.of("o-2", s.failed(id, "no")))
		mine := s.of("o-1", s.pending(id))
		s.equal("claim", s.claimRecords(taskB, mine)[0], store.ClaimResult{State: store.Claimed, Record: mine})
		s.wantStored(mine) // nothing of the other user's record remains
	},
	"Owner_LatePendingOfAnother_ChangesNothing": func(s *suite) {
		s.claimFor(-time.Second, taskA, id)
		mine := s.of("o-2", s.pending(id))
		s.claimRecords(taskB, mine)
		s.save(taskA, s.pending(id))
		s.wantStored(mine)
		s.equal("erased", s.erase("o-2"), 1)
	},
}

// inApp returns a copy of s for another app.
func (s *suite) inApp(suffix string) *suite {
	other := *s
	other.app += suffix
	return &other
}
