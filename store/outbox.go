package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/seal"
)

// Outlet is where the end of a record is to be delivered. The zero Outlet delivers nothing.
type Outlet struct {
	Endpoint string // the name of a webhook endpoint: letters, digits, - and _
	Thin     bool   // ids and a link instead of the record
	// Trace is the W3C traceparent of what led to the record; empty if that is not traced. It travels beside the result,
	// not in it.
	Trace string
}

// Thin is a result of a thin payload: what the receiver needs to fetch the record.
type Thin struct {
	CloudID string `json:"cloud_id"`
	Status  Status `json:"status"`
	URL     string `json:"url"` // of the API, without its origin
}

// DeliverFor is how long a result is kept for delivery, from the moment of its save. Endpoints that fail are disabled
// after five days; an operator has two more to replay what they have missed.
const DeliverFor = 7 * 24 * time.Hour

// What the outbox keeps in Redis, in the slot of the app:
//
//	cloudidq:{AAAAAAAA}:outlets            set of the endpoints that have results waiting
//	cloudidq:{AAAAAAAA}:o:ENDPOINT         list of items: results that wait to become part of a delivery
//	cloudidq:{AAAAAAAA}:d:ID               hash, a delivery: appid, endpoint, created, n, state, tried, next, rev
//	cloudidq:{AAAAAAAA}:d:ID:items         list of its items; gone once it is delivered
//	cloudidq:{AAAAAAAA}:d:ID:tries         list of its last attempts, as JSON
//	cloudidq:{AAAAAAAA}:deliveries         sorted set of the ids by creation, without
//	cloudidq:{AAAAAAAA}:delivered          sorted set of the ids by the moment of their arrival
//	cloudidq:{AAAAAAAA}:due                sorted set of the ids that are to be tried, by when
//	cloudidq:{AAAAAAAA}:x                  set of the rows of PostgreSQL's outbox, where that is the store, that have come and
//	                                       may not be deleted there yet
//	cloudidq:outbox:apps                   set of the appids that have had deliveries
//	cloudidq:{outbox}:fresh, …:later       which of them have something in their outbox, see outbox_index.go
//	cloudidq:endpoint:NAME                 hash: how an endpoint has done, see endpoints.go
//	cloudidq:endpoint:NAME:line            sorted set of the ids, of all apps, that wait for it, by since when
//
// An item is C, P and its JSON, which is sealed if it does not begin with "{": C and P are the record's and the person's,
// as in their keys, so that the items of a person are found without being opened. P is 22 times "-" for nobody. Before the
// JSON of a result that is traced stands its traceparent, 55 characters that begin with "00-", which neither JSON nor
// anything sealed does.
//
// Save puts items there in the script that writes the records: either both are there or none. What is cut from the list
// becomes a delivery in one script, too, under an id that is told then and never changes. The person's hash gets a field
// d:ID for it.
const (
	outboxApps  = "cloudidq:outbox:apps"
	outboxPart  = "o:"
	outletsPart = "outlets"
	itemHead    = 2 * cloudLen
	fieldItem   = "outbox"

	traceMark = "00-" // version 0 of W3C Trace Context
	traceLen  = 55
)

// item is what the outbox takes for rec, or nothing if that is not to be delivered. The script puts C and P before it.
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

func writeItem(b *bytes.Buffer, rec *Record) error {
	if !rec.Deliver.Thin {
		return writeJSON(b, rec)
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(Thin{CloudID: rec.CloudID, Status: rec.Status, URL: RecordPath(rec.AppID, rec.CloudID)}); err != nil {
		return errJSON
	}
	b.Truncate(b.Len() - 1)
	return nil
}

// openItem is the JSON of an item, and the traceparent of what led to it, if that is traced.
func (c codec) openItem(item, appID string) (text []byte, trace string, err error) {
	if len(item) <= itemHead {
		return nil, "", errForeign
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

// itemAD binds an item to its record by the hash in its head: the cloudID itself stands in what is sealed.
func itemAD(appID, cloudHash string) seal.AD {
	return seal.AD{Field: fieldItem, AppID: appID, CloudID: cloudHash}
}

// announce notes that the outboxes of apps are about to change: whoever comes after a crash finds them. An app that announced
// says was noted just now is noted already.
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

// RecordPath is where the HTTP API has a record.
func RecordPath(appID, cloudID string) string {
	return "/v1/resolutions/" + pathSegment(appID) + "/" + pathSegment(cloudID)
}

// pathSegment escapes all but letters, digits and -._~ (RFC 3986, section 2.3), so that any router reads it back.
func pathSegment(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteString(strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:]))
		}
	}
	return b.String()
}
