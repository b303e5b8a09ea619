package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/store"
)

// callRules are the rules that all methods share, and the rules of Lookup.
var callRules = map[string]func(*suite){
	"Lookup_Unknown": func(s *suite) {
		s.wantUnknown(id)
		s.wantUnknown(id, "", "another")
	},
	"AppsAreSeparate": func(s *suite) {
		other := *s
		other.app += "x"
		s.save(taskA, s.resolved(id, `{}`))
		other.wantUnknown(id)
		other.wantClaim(taskB, store.Claimed, other.pending(id))
		s.wantStored(s.resolved(id, `{}`))
	},
	"AppAndCloudID_NotRunTogether": func(s *suite) {
		other := *s
		other.app += "7"
		s.save(taskA, s.resolved("73_x", `{}`))
		other.wantUnknown("3_x")
	},
	"OrderKept": func(s *suite) {
		const n = 250
		ids, records := make([]string, n), make([]store.Record, n)
		for i := range n {
			ids[i] = fmt.Sprintf("73_%03d", (i*101)%n)
			records[i] = s.resolved(ids[i], fmt.Sprintf(`{"n":%d}`, i))
		}
		for i, c := range s.claim(taskA, ids...) {
			s.equal("claimed", c.Record.CloudID, ids[i])
		}
		s.save(taskA, records...)
		s.wantStored(records...)
		s.equal("the same twice", s.lookup(ids[7], ids[3], ids[7]), []store.Record{records[7], records[3], records[7]})
	},
	"EmptyInput": func(s *suite) {
		s.claim(taskA)
		s.save(taskA)
		s.lookup()
	},
	"CancelledContext_Error": func(s *suite) {
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		c := store.Claim{AppID: s.app, TaskID: taskA, For: time.Hour}
		c.Records = []store.Record{s.pending("73_secret")}
		_, claimErr := s.results.Claim(ctx, c)
		_, lookupErr := s.results.Lookup(ctx, s.app, []string{"73_secret"})
		saveErr := s.results.Save(ctx, taskA, c.Records)
		for name, err := range map[string]error{"Claim": claimErr, "Lookup": lookupErr, "Save": saveErr} {
			if !errors.Is(err, context.Canceled) {
				s.Errorf("%s = %v, want %v", name, err, context.Canceled)
			} else if text := err.Error(); strings.Contains(text, s.app) || strings.Contains(text, "73_secret") {
				s.Errorf("%s = %q, which names an id", name, text)
			}
		}
		s.wantUnknown("73_secret")
	},
}

// ttlAlwaysSet writes a record in every possible way and checks that all records expire.
func ttlAlwaysSet(s *suite) {
	ways := map[string]func(id string){
		"claimed":          func(id string) { s.claim(taskA, id) },
		"claimed again":    func(id string) { s.claim(taskA, id); s.claim(taskA, id) },
		"taken over":       func(id string) { s.lapsed(taskA, id); s.claim(taskB, id) },
		"saved pending":    func(id string) { s.save(taskA, s.pending(id)) },
		"given back":       func(id string) { s.claim(taskA, id); s.save(taskA, s.pending(id)) },
		"saved by other":   func(id string) { s.claim(taskA, id); s.save(taskB, s.pending(id)) },
		"resolved":         func(id string) { s.save(taskA, s.resolved(id, `{}`)) },
		"resolved claimed": func(id string) { s.claim(taskA, id); s.save(taskA, s.resolved(id, `{}`)) },
		"resolved twice":   func(id string) { s.save(taskA, s.resolved(id, `{}`)); s.save(taskB, s.resolved(id, `{}`)) },
		"failed":           func(id string) { s.save(taskA, s.failed(id, "no")) },
		"failed, claimed":  func(id string) { s.save(taskA, s.failed(id, "no")); s.claim(taskB, id) },
		"failed, given back": func(id string) {
			s.save(taskA, s.failed(id, "no"))
			s.claim(taskB, id)
			s.save(taskB, s.pending(id))
		},
		"failed, then resolved": func(id string) {
			s.save(taskA, s.failed(id, "no"))
			s.save(taskB, s.resolved(id, `{}`))
		},
	}
	var ids []string
	for id, way := range ways {
		way(id)
		ids = append(ids, id)
	}
	s.eventually("every record has vanished", func() bool {
		for _, r := range s.lookup(ids...) {
			if r.Status != "" {
				return false
			}
		}
		return true
	})
}

// ttlNotRenewed claims a failed record repeatedly. The record must expire all the same; the
// next claim then stores a new one.
func ttlNotRenewed(s *suite) {
	s.save(taskA, s.failed(id, "no"))
	s.eventually("the failed record has vanished", func() bool {
		return s.claim(taskB, id)[0].Record.Status != store.Failed
	})
}

// wantUnknown checks that no record exists for the cloudIDs.
func (s *suite) wantUnknown(ids ...string) {
	s.Helper()
	for i, r := range s.lookup(ids...) {
		if r.Status != "" {
			s.Errorf("Lookup: record %d is %s, want unknown", i, r.Status)
		}
	}
}

func (s *suite) equal(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
