package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"cloudidq/store"
)

// concurrentRules let many tasks claim or save the same cloudIDs at once.
var concurrentRules = map[string]func(*suite){
	"ConcurrentClaims_OneWinnerEach": func(s *suite) {
		ids := manyIDs()
		won := make([][]store.ClaimResult, tasksAtOnce)
		s.together(func(n int) error {
			c := store.Claim{AppID: s.app, TaskID: fmt.Sprint("task-", n), For: time.Hour}
			for i := range ids { // each in its own order
				c.Records = append(c.Records, s.pending(ids[(i+n)%len(ids)]))
			}
			var err error
			won[n], err = s.results.Claim(s.Context(), c)
			return err
		})

		winners := map[string]int{}
		for n, results := range won {
			for i, res := range results {
				switch res.State {
				case store.Claimed:
					winners[ids[(i+n)%len(ids)]]++
				case store.Busy:
				default:
					s.Errorf("task %d, cloudID %d: state %d, want Claimed or Busy", n, i, res.State)
				}
			}
		}
		for _, id := range ids {
			if winners[id] != 1 {
				s.Errorf("%s was claimed by %d tasks, want 1", id, winners[id])
			}
		}
	},
	"ConcurrentSaves_FirstResolvedNeverChanges": func(s *suite) {
		ids := manyIDs()
		seen := make([][]store.Record, tasksAtOnce)
		s.together(func(n int) error {
			task := fmt.Sprint("task-", n)
			var records []store.Record
			for i, id := range ids {
				switch (i + n) % 4 {
				case 0:
					records = append(records, s.failed(id, task))
				case 1:
					records = append(records, s.pending(id))
				default:
					records = append(records, s.resolved(id, fmt.Sprintf(`{"by":%d}`, n)))
				}
			}
			if err := s.results.Save(s.Context(), task, records); err != nil {
				return err
			}
			var err error
			seen[n], err = s.results.Lookup(s.Context(), s.app, ids)
			return err
		})

		last := s.lookup(ids...)
		for n, records := range seen {
			for i, r := range records {
				if r.Status == store.Resolved && !slices.Equal(r.Data, last[i].Data) {
					s.Errorf("task %d saw %s for %s, later it is %s", n, r.Data, r.CloudID, last[i].Data)
				}
				// Half of the tasks resolve a given cloudID, in any order.
				if last[i].Status != store.Resolved {
					s.Errorf("%s is %q at the end, want resolved", r.CloudID, last[i].Status)
				}
			}
		}
	},
}

const tasksAtOnce = 12

func manyIDs() []string {
	ids := make([]string, 40)
	for i := range ids {
		ids[i] = fmt.Sprintf("73_%02d", i)
	}
	return ids
}

// together runs f for every task at once.
func (s *suite) together(f func(task int) error) {
	s.Helper()
	start := make(chan struct{})
	var wg sync.WaitGroup
	for n := range tasksAtOnce {
		wg.Go(func() {
			<-start
			if err := f(n); err != nil {
				s.Errorf("task %d: %v", n, err)
			}
		})
	}
	close(start)
	wg.Wait()
}
