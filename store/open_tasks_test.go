package store_test

import (
	"strings"
	"testing"
	"time"

	"cloudidq/internal/redistest"
	"cloudidq/internal/seal/sealtest"
	"cloudidq/store"
)

// Open tasks are sealed in Redis, are listed once they are due, and can be forgotten.
func TestOpenTasks(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	keyset, _, _ := sealtest.Keysets(t)
	open := store.NewOpenTasks(rdb, store.Sealed(keyset))
	now := time.Now()
	for id, due := range map[string]time.Time{"first": now, "second": now.Add(time.Minute)} {
		for range 2 {
			if err := open.Note(t.Context(), store.OpenTask{TaskID: id, AppID: "wxA", CloudIDs: []string{"73_planted"}}, due); err != nil {
				t.Fatal(err)
			}
		}
	}
	for id, text := range rdb.HGetAll(t.Context(), "cloudidq:{open}:tasks").Val() {
		if strings.Contains(text, "planted") {
			t.Errorf("%s lies open: %q", id, text)
		}
	}
	due, err := open.Due(t.Context(), now, 10)
	if err != nil || len(due) != 1 || due[0].TaskID != "first" || due[0].AppID != "wxA" || len(due[0].CloudIDs) != 1 || due[0].CloudIDs[0] != "73_planted" {
		t.Errorf("due = %+v, %v, want the first", due, err)
	}
	if err := open.Forget(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	if due, err := open.Due(t.Context(), now.Add(time.Hour), 10); err != nil || len(due) != 1 || due[0].TaskID != "second" {
		t.Errorf("due = %+v, %v, want the second", due, err)
	}
	other := store.NewOpenTasks(rdb) // without the keyset
	if due, err := other.Due(t.Context(), now.Add(time.Hour), 10); err != nil || len(due) != 1 || len(due[0].CloudIDs) != 0 {
		t.Errorf("without the keyset: %+v, %v, want no cloudIDs", due, err)
	}
}
