package storetest

import (
	"encoding/json"

	"cloudidq/store"
)

// saveRules are the rules of Save: which record stays.
var saveRules = map[string]func(*suite){
	"FirstResolvedWins": func(s *suite) {
		first := s.resolved(id, `{"step":1}`)
		s.save(taskA, first)
		for _, later := range []store.Record{
			s.resolved(id, `{"step":2}`), s.failed(id, "no"), s.expired(id), s.pending(id),
		} {
			s.save(taskB, later)
			s.save(taskA, later)
			s.wantStored(first)
		}
	},
	"PendingThenFinal_Replaced": func(s *suite) {
		for _, want := range []store.Record{s.resolved("r", `{}`), s.failed("f", "no"), s.expired("e")} {
			s.claim(taskA, want.CloudID)
			s.save(taskA, want)
			s.wantStored(want)
		}
	},
	"FailedThenResolved_Replaced": func(s *suite) {
		s.save(taskA, s.failed(id, "no"))
		s.claim(taskB, id)
		want := s.resolved(id, `{"step":1}`)
		s.save(taskB, want)
		s.wantStored(want)
	},
	"FailedThenExpired_LaterOutcomeStays": func(s *suite) {
		s.save(taskA, s.failed(id, "no"))
		s.save(taskB, s.expired(id))
		s.wantStored(s.expired(id))
		s.save(taskA, s.failed(id, "again"))
		s.wantStored(s.failed(id, "again"))
	},
	"PendingNeverReplacesFailed": func(s *suite) {
		for _, want := range []store.Record{s.failed("f", "no"), s.expired("e")} {
			s.save(taskA, want)
			s.save(taskA, s.pending(want.CloudID))
			s.save(taskB, s.pending(want.CloudID))
			s.wantStored(want)
			s.claim(taskB, want.CloudID)
			s.save(taskB, s.pending(want.CloudID))
			s.wantStored(want)
		}
	},
	"PendingOfItsTaskAfterItsFinal_StillDone": func(s *suite) {
		s.save(taskA, s.failed(id, "no"))
		s.save(taskA, s.pending(id))
		s.wantClaim(taskA, store.Done, s.failed(id, "no"))
	},
	"PendingOfOther_ClaimStays": func(s *suite) {
		s.claim(taskA, id)
		s.save(taskB, s.pending(id))
		s.wantClaim(taskB, store.Busy, store.Record{})

		s.save(taskA, s.failed("f", "no"))
		s.claim(taskA, "f")
		s.save(taskB, s.pending("f"))
		s.equal("Claim by the holder", s.claim(taskA, "f")[0].State, store.Done)
	},
	"PendingOfOther_ClaimOnFailedStays": func(s *suite) {
		s.save(taskA, s.failed(id, "no"))
		s.claim(taskB, id)
		s.save(taskA, s.pending(id))
		s.wantClaim("task-c", store.Busy, store.Record{})
	},
	"FinalOfOther_ReleasesTheClaim": func(s *suite) {
		s.claim(taskA, id)
		s.save(taskB, s.failed(id, "no"))
		s.wantClaim("task-c", store.Claimed, s.failed(id, "no"))
	},
	"SaveOfUnknown_Stored": func(s *suite) {
		want := []store.Record{s.pending("p"), s.resolved("r", `[]`), s.failed("f", "no"), s.expired("e")}
		s.save(taskA, want...)
		s.wantStored(want...)
		s.equal("state of the pending one", s.claim(taskB, "p")[0].State, store.Claimed)
	},
	"SaveRepeated_Same": func(s *suite) {
		s.save(taskA, s.failed(id, "no"))
		s.save(taskA, s.failed(id, "no"))
		s.wantClaim(taskA, store.Done, s.failed(id, "no"))
	},
	"SaveOfSeveralApps": func(s *suite) {
		other := *s
		other.app += "x"
		mine := []store.Record{s.resolved("1", `{"n":1}`), s.failed("2", "no")}
		theirs := []store.Record{other.resolved("2", `{"n":2}`), other.expired("3")}
		s.save(taskA, mine[0], theirs[0], mine[1], theirs[1])
		s.wantStored(mine...)
		other.wantStored(theirs...)
		s.wantUnknown("3")
		other.wantUnknown("1")
	},
	"SaveOfUnknownStatus_NothingWritten": func(s *suite) {
		bad := s.pending(id)
		bad.Status = "done"
		s.wantRefused(bad)
	},
	"SaveOfBrokenData_NothingWritten": func(s *suite) {
		bad := s.resolved(id, `{"step":1`)
		s.wantRefused(bad)
	},
	"DataBytesUnchanged": func(s *suite) {
		for _, data := range []string{
			`{"html":"<a href='x'>&</a>","sep":"` + "\u2028\u2029" + `","esc":"\u003c\u2028\/\ud83d\ude00"}`,
			`{"big":123456789012345678901234567890,"exp":1E400,"neg":-0,"frac":1.10}`,
			`{"twice":1,"twice":2,"":null}`,
			`{"bytes":"` + "\xff\xed\xa0\x80" + `"}`,
			`null`, `true`, `"text"`, `[]`, `0`,
		} {
			want := s.resolved(data, data) // the data serves as the cloudID too, with invalid UTF-8 replaced
			want.CloudID = string([]rune(want.CloudID))
			s.save(taskA, want)
			s.wantStored(want)
			s.equal("data", string(s.lookup(want.CloudID)[0].Data), data)
			got := s.claim(taskB, want.CloudID)[0].Record.Data
			s.equal("data as claimed", got, json.RawMessage(data))
		}
	},
	"TextUnchanged": func(s *suite) {
		want := s.failed(`"<id>\`+"\n"+"\u2028 编号", "不存在 \"quoted\" \x00\x1f\x7f")
		want.OpenID, want.Reference = `o"\`, "r/\t<&>\u2029😀"
		s.save(taskA, want)
		s.wantStored(want)
	},
}

// wantRefused saves a good record followed by bad, and checks that Save fails and stores
// neither.
func (s *suite) wantRefused(bad store.Record) {
	s.Helper()
	if err := s.results.Save(s.Context(), taskA, []store.Record{s.pending("good"), bad}); err == nil {
		s.Error("Save = nil error")
	}
	s.wantUnknown("good", bad.CloudID)
}
