package storetest

import "cloudidq/store"

// hold is what became of the last claim on a record.
type hold int

const (
	free hold = iota
	held
	past // lapsed
)

// entry is a record in the model.
type entry struct {
	rec   store.Record
	owner string // the task that claimed or finished it last; empty: nobody
	hold  hold
}

// model is the store's rules without time: a claim is held for ever or has lapsed at once.
type model map[string]*entry // by appid and cloudID

func modelKey(r store.Record) string { return r.AppID + "\x00" + r.CloudID }

func (m model) claim(task string, h hold, rec store.Record) store.ClaimResult {
	e := m[modelKey(rec)]
	switch {
	case e == nil:
		m[modelKey(rec)] = &entry{rec: rec, owner: task, hold: h}
		return store.ClaimResult{State: store.Claimed, Record: rec}
	case e.rec.Status == store.Resolved,
		e.rec.Status != store.Pending && e.owner == task && e.hold == free:
		return store.ClaimResult{State: store.Done, Record: e.rec}
	case e.owner != task && e.hold == held:
		return store.ClaimResult{State: store.Busy}
	}
	e.owner, e.hold = task, h
	return store.ClaimResult{State: store.Claimed, Record: e.rec}
}

func (m model) save(task string, rec store.Record) {
	e := m[modelKey(rec)]
	switch {
	case e == nil:
		m[modelKey(rec)] = &entry{rec: rec, owner: task}
	case e.rec.Status == store.Resolved:
	case rec.Status != store.Pending:
		*e = entry{rec: rec, owner: task}
	case e.rec.Status == store.Pending:
		e.rec = rec
		if e.owner == task || e.hold != held {
			e.owner, e.hold = task, free
		}
	case e.owner == task && e.hold != free:
		e.owner, e.hold = "", free
	}
}

func (m model) lookup(appID, cloudID string) store.Record {
	if e := m[modelKey(store.Record{AppID: appID, CloudID: cloudID})]; e != nil {
		return e.rec
	}
	return store.Record{}
}
