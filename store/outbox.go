package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/seal"
)

// Outlet says where the final result of a record is delivered. The zero Outlet delivers
// nothing.
type Outlet struct {
	Endpoint string // name of a webhook endpoint: letters, digits, - and _
	// Result is the JSON object that the endpoint receives. If it is empty, the endpoint
	// receives the JSON of the record.
	Result json.RawMessage
	// Trace is the W3C traceparent of the operation that led to the record, or empty if it is
	// not traced. It is stored next to the result, not inside it.
	Trace string
}

// deliverFor is how long a result is retained for delivery after it is saved. An endpoint that
// keeps failing is disabled after five days. An operator then has two more days to replay the
// deliveries that it missed.
const deliverFor = 7 * 24 * time.Hour

// The layout of the outbox in Redis, in the slot of the app:
//
//	cloudidq:{AAAAAAAA}:outlets       set of the endpoints for which results wait
//	cloudidq:{AAAAAAAA}:o:ENDPOINT    list of items: results that wait for a delivery
//	cloudidq:{AAAAAAAA}:d:ID          hash, a delivery: appid, endpoint, created, n, state, tried,
//	                                  next, rev
//	cloudidq:{AAAAAAAA}:d:ID:items    list of its items; removed once it is delivered
//	cloudidq:{AAAAAAAA}:d:ID:tries    list of its last attempts, as JSON
//	cloudidq:{AAAAAAAA}:deliveries    sorted set of ids by creation, without delivered ones
//	cloudidq:{AAAAAAAA}:delivered     sorted set of the delivered ids by time of delivery
//	cloudidq:{AAAAAAAA}:due           sorted set of the pending ids by time of the next attempt
//	cloudidq:{AAAAAAAA}:x             only if PostgreSQL is the store: set of the rows of its
//	                                  outbox that were relayed and may still exist there
//	cloudidq:outbox:apps              set of the appids that have had deliveries
//	cloudidq:{outbox}:fresh, …:later  index of the apps with something in their outbox, see
//	                                  outbox_index.go
//	cloudidq:endpoint:NAME            hash: state of an endpoint, see endpoints.go
//	cloudidq:endpoint:NAME:line       wait list of the endpoint: sorted set of ids of all apps, by
//	                                  the time they were parked
//
// An item is C, P and its JSON. The JSON is sealed if it does not begin with "{". C and P are
// the hashes of the record and of the user, as in their keys. An erasure therefore finds a
// user's items without opening them. P is 22 times "-" if the result has no user. If a result
// is traced, its traceparent precedes the JSON: 55 characters that begin with "00-". Neither
// JSON nor sealed text begins like that.
//
// Save adds items in the script that writes the records, so either both are written or neither.
// Cut moves items from the list to a delivery in one script, too. The delivery gets its id then
// and retains it. The user's hash gets a field d:ID for the delivery.
const (
	outboxApps  = "cloudidq:outbox:apps"
	outboxPart  = "o:"
	outletsPart = "outlets"
	itemHead    = 2 * cloudLen
	fieldItem   = "outbox"

	traceMark = "00-" // version 0 of W3C Trace Context
	traceLen  = 55
)

// item returns the outbox item of rec, or nil if rec is not to be delivered. The scripts
// prepend C and P.
func (c codec) item(rec *Record, key string) ([]byte, error) {
	if rec.Deliver.Endpoint == "" || !rec.Status.Final() {
		return nil, nil
	}
	var text bytes.Buffer
	if err := writeItem(&text, rec); err != nil {
		return nil, err
	}
	head := []byte(nil)
	if trace := rec.Deliver.Trace; len(trace) == traceLen && strings.HasPrefix(trace, traceMark) {
		head = []byte(trace)
	}
	if c.keyset == nil {
		return append(head, text.Bytes()...), nil
	}
	sealed, err := c.keyset.Seal(head, text.Bytes(), itemAD(rec.AppID, key[len(key)-cloudLen:]))
	if err != nil {
		return nil, errSeal
	}
	return sealed, nil
}

// writeItem writes the JSON of an item: the record, or what the outlet has in its place.
func writeItem(b *bytes.Buffer, rec *Record) error {
	result := rec.Deliver.Result
	if len(result) == 0 {
		return writeJSON(b, rec)
	}
	// A text that does not begin with "{" would be read as sealed.
	if result[0] != '{' || !json.Valid(result) {
		return errResult
	}
	b.Write(result)
	return nil
}

// openItem returns the JSON of an item, and its traceparent or "" if it is not traced. If the
// JSON cannot be opened, the error is ErrUnreadable.
func (c codec) openItem(item, appID string) (text []byte, trace string, err error) {
	if len(item) <= itemHead {
		return nil, "", errNotRecord
	}
	rest := item[itemHead:]
	if strings.HasPrefix(rest, traceMark) && len(rest) > traceLen {
		trace, rest = rest[:traceLen], rest[traceLen:]
	}
	text = []byte(rest)
	switch {
	case text[0] == '{':
		return text, trace, nil
	case c.keyset == nil:
		return nil, trace, ErrUnreadable
	}
	open, err := c.keyset.Open(nil, text, itemAD(appID, item[:cloudLen]))
	if err != nil {
		return nil, trace, ErrUnreadable
	}
	return open, trace, nil
}

// itemAD binds an item to its record by the hash at its start. The cloudID itself is only in
// the sealed text.
func itemAD(appID, cloudHash string) seal.AD {
	return seal.AD{Field: fieldItem, AppID: appID, CloudID: cloudHash}
}

// announce adds the apps of records to the index before their outboxes change, so that after a
// crash a sweep finds the results. It skips an app that this process announced within
// touchedFor; announced holds those times.
func announce(ctx context.Context, rdb redis.Cmdable, announced *sync.Map, records []Record) error {
	last := ""
	for i := range records {
		appID := records[i].AppID
		if records[i].Deliver.Endpoint == "" || appID == last {
			continue
		}
		last = appID
		app := hexOf(appHash(appID))
		if at, known := announced.Load(app); known && time.Since(at.(time.Time)) < touchedFor {
			continue
		}
		if err := rdb.SAdd(ctx, outboxApps, appID).Err(); err != nil {
			return fmt.Errorf("announcing deliveries: %w", err)
		}
		if err := touch(ctx, rdb, announced, app); err != nil {
			return err
		}
	}
	return nil
}
