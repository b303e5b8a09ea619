package storetest

import (
	"slices"
	"time"

	"cloudidq/store"
)

// claimStatus is the state of the last claim on a record.
type claimStatus int

const (
	unclaimed claimStatus = iota
	claimed
	lapsed
)

// entry is a record in the model.
type entry struct {
	rec   store.Record
	owner string // the task that last claimed or finished it; empty = no task
	claim claimStatus
	gone  bool // erased
}

// model holds the rules of the store without time: a claim either never lapses or lapses at
// once.
type model struct {
	records map[string]*entry         // by appid and cloudID
	erased  map[string]bool           // erased users, by appid and openid
	outbox  map[string][]store.Record // final records that wait for delivery, by appid
}

func newModel() model {
	return model{records: map[string]*entry{}, erased: map[string]bool{}, outbox: map[string][]store.Record{}}
}

func userKey(appID, openID string) string { return appID + "\x00" + openID }

// forgotten reports whether a record must not be stored or updated, because its user was erased
// after it was accepted.
func (m model) forgotten(r store.Record) bool {
	return r.OpenID != "" && m.erased[userKey(r.AppID, r.OpenID)] && r.AcceptedAt.Before(time.Now())
}

func (m model) erase(appID, openID string) (n int) {
	m.erased[userKey(appID, openID)] = true
	for _, e := range m.records {
		if e.rec.AppID == appID && e.rec.OpenID == openID && !e.gone {
			e.gone = true
			n++
		}
	}
	m.outbox[appID] = slices.DeleteFunc(m.outbox[appID], func(r store.Record) bool { return r.OpenID == openID })
	return n
}

func modelKey(r store.Record) string { return r.AppID + "\x00" + r.CloudID }

func (m model) claim(task string, c claimStatus, rec store.Record) store.ClaimResult {
	e := m.records[modelKey(rec)]
	switch {
	case e != nil && e.gone:
		return store.ClaimResult{State: store.Erased}
	case e != nil && e.rec.Status == store.Resolved:
		return store.ClaimResult{State: store.Done, Record: e.rec}
	case m.forgotten(rec):
		if e == nil {
			m.records[modelKey(rec)] = &entry{rec: rec, gone: true}
		}
		return store.ClaimResult{State: store.Erased}
	case e == nil:
		m.records[modelKey(rec)] = &entry{rec: rec, owner: task, claim: c}
		return store.ClaimResult{State: store.Claimed, Record: rec}
	case e.rec.Status != store.Pending && e.owner == task && e.claim == unclaimed:
		return store.ClaimResult{State: store.Done, Record: e.rec}
	case e.owner != task && e.claim == claimed:
		return store.ClaimResult{State: store.Busy}
	case e.rec.OpenID != rec.OpenID:
		*e = entry{rec: rec, owner: task, claim: c}
		return store.ClaimResult{State: store.Claimed, Record: rec}
	}
	e.owner, e.claim = task, c
	return store.ClaimResult{State: store.Claimed, Record: e.rec}
}

func (m model) save(task string, rec store.Record) {
	outlet := rec.Deliver
	rec.Deliver = store.Outlet{} // it is not stored
	deliver := func() {
		if outlet.Endpoint != "" && rec.Status != store.Pending {
			m.outbox[rec.AppID] = append(m.outbox[rec.AppID], rec)
		}
	}
	e := m.records[modelKey(rec)]
	switch {
	case e != nil && (e.gone || e.rec.Status == store.Resolved):
	case m.forgotten(rec):
		if e != nil && e.owner == task && e.claim != unclaimed {
			e.owner, e.claim = "", unclaimed
		}
	case e == nil:
		m.records[modelKey(rec)] = &entry{rec: rec, owner: task}
		deliver()
	case rec.Status != store.Pending:
		// If this task has already completed the record, the save is a repetition and is not
		// delivered, unless it is resolved now.
		if e.rec.Status == store.Pending || e.owner != task || e.claim != unclaimed || rec.Status == store.Resolved {
			deliver()
		}
		*e = entry{rec: rec, owner: task}
	case e.rec.Status == store.Pending && e.owner == task:
		*e = entry{rec: rec, owner: task}
	case e.rec.Status == store.Pending && e.rec.OpenID == rec.OpenID:
		e.rec = rec
	case e.rec.Status != store.Pending && e.owner == task && e.claim != unclaimed:
		e.owner, e.claim = "", unclaimed
	}
}

func (m model) lookup(appID, cloudID string) store.Record {
	if e := m.records[modelKey(store.Record{AppID: appID, CloudID: cloudID})]; e != nil && !e.gone {
		return e.rec
	}
	return store.Record{}
}
