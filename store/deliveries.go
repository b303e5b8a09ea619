package store

import (
	"context"
	"crypto/rand"
	_ "embed" // the scripts
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// DeliveryState is the state of a delivery.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryPending   DeliveryState = "pending"   // attempts go on until the endpoint accepts it
	DeliveryDelivered DeliveryState = "delivered" // the endpoint accepted it; its body is removed
	DeliveryHeld      DeliveryState = "held"      // its endpoint is disabled, or not for its app
	DeliveryExhausted DeliveryState = "exhausted" // the schedule is used up, or it cannot be sent
)

// DeliveryStates lists all states of a delivery.
var DeliveryStates = []DeliveryState{DeliveryPending, DeliveryDelivered, DeliveryHeld, DeliveryExhausted}

// Delivery is a batch of results for one endpoint.
type Delivery struct {
	ID       string        `json:"id"`
	AppID    string        `json:"appid"`
	Endpoint string        `json:"endpoint"`
	State    DeliveryState `json:"state"`
	Results  int           `json:"results"`
	Tried    int           `json:"tried"` // attempts of the schedule since the last replay
	Created  Time          `json:"created_at"`
	Next     Time          `json:"next_at,omitzero"` // time of the next attempt, while pending
	Attempts []Attempt     `json:"attempts,omitempty"`

	// Revision counts the erasures that removed a result from the delivery. It is part of
	// MessageID.
	Revision int `json:"-"`
	// Items are the results as JSON objects. Only Load sets them.
	Items []json.RawMessage `json:"-"`
	// Traces are the distinct W3C traceparents of the results, at most 128. Only Load sets
	// them.
	Traces []string `json:"-"`
}

// Attempt is the result of one attempt to send a delivery.
type Attempt struct {
	At         Time   `json:"at"`
	Status     int    `json:"status,omitempty"` // HTTP status; 0 without an answer
	Class      string `json:"class"`
	Error      string `json:"error,omitempty"` // explains Class to an operator
	DurationMS int64  `json:"duration_ms"`
}

// MessageID returns the message id that receivers see. It stays the same as long as the body is
// the same: an erasure that changes the body also changes the id.
func (d *Delivery) MessageID() string {
	if d.Revision == 0 {
		return d.ID
	}
	return d.ID + "_r" + strconv.Itoa(d.Revision)
}

const (
	deliveryPart   = "d:"
	deliveriesPart = "deliveries"
	deliveredPart  = "delivered"
	duePart        = "due"

	keptAttempts  = 20
	deliveredFor  = time.Hour // how long a delivered one stays listed
	maxBodyBytes  = 1 << 20   // of the sealed items of one delivery
	maxTraces     = 128       // OpenTelemetry's default limit of links per span
	deliveryIDLen = len("msg_") + appLen + 1 + 32
)

// ErrNoDelivery says that no such delivery exists: the id is unknown, its retention is over, or
// all of its results were erased.
var ErrNoDelivery = errors.New("no such delivery")

// ErrDelivered says that the delivery was delivered. It cannot be sent again, because its body
// is removed.
var ErrDelivered = errors.New("it has been delivered, and its body is not kept")

//go:embed cut.lua
var cutLua string

//go:embed record_attempt.lua
var recordAttemptLua string

//go:embed replay.lua
var replayLua string

// Deliveries stores the deliveries to webhook endpoints in Redis. The layout is in outbox.go.
// It is safe for concurrent use.
type Deliveries struct {
	rdb    redis.Cmdable
	codec  codec
	cut    *redis.Script
	record *redis.Script
	replay *redis.Script

	touched sync.Map // by app of the index: when this process last added it
	appIDs  sync.Map // appid by app of the index
}

// NewDeliveries returns the deliveries in rdb. The caller closes rdb. The options are the same
// as the store's.
func NewDeliveries(rdb redis.Cmdable, options ...Option) *Deliveries {
	var with settings
	for _, option := range options {
		option(&with)
	}
	return &Deliveries{
		rdb: rdb, codec: codec{with.keyset},
		cut: redis.NewScript(userLua + cutLua), record: redis.NewScript(recordAttemptLua),
		replay: redis.NewScript(replayLua),
	}
}

// Cut moves up to maximum waiting results for an endpoint into a new delivery; fewer if their
// size exceeds 1 MiB. It returns the id of the delivery and how many results still wait. If no
// results wait, the id is empty.
func (d *Deliveries) Cut(ctx context.Context, appID, endpoint string, maximum int) (id string, left int, err error) {
	prefix := appPrefix(appID)
	id = newDeliveryID(appID)
	counts, err := d.cut.Run(ctx, d.rdb, []string{prefix + outboxPart + endpoint, prefix + deliveryPart + id},
		maximum, maxBodyBytes, time.Now().UnixMilli(), deliverFor.Milliseconds(), id, appID, endpoint).Int64Slice()
	if err != nil {
		return "", 0, fmt.Errorf("making a delivery: %w", err)
	}
	if len(counts) != 2 {
		return "", 0, fmt.Errorf("making a delivery: %w", errAnswer)
	}
	if counts[0] == 0 {
		id = ""
	}
	return id, int(counts[1]), nil
}

// Load returns a delivery with its items. The error is ErrNoDelivery if the delivery does not
// exist. If the keyset cannot open an item, the error is ErrUnreadable, and the delivery has
// only the items before it.
func (d *Deliveries) Load(ctx context.Context, id string) (Delivery, error) {
	row, err := deliveryKey(id)
	if err != nil {
		return Delivery{}, err
	}
	var items *redis.StringSliceCmd
	delivery, err := d.read(ctx, id, func(p redis.Pipeliner) { items = p.LRange(ctx, row+":items", 0, -1) })
	if err != nil {
		return Delivery{}, err
	}
	for _, item := range items.Val() {
		text, trace, err := d.codec.openItem(item, delivery.AppID)
		if err != nil {
			return delivery, fmt.Errorf("reading a delivery: %w", err)
		}
		delivery.Items = append(delivery.Items, text)
		if trace != "" && len(delivery.Traces) < maxTraces && !slices.Contains(delivery.Traces, trace) {
			delivery.Traces = append(delivery.Traces, trace)
		}
	}
	return delivery, nil
}

// Get returns a delivery without its items, or ErrNoDelivery if it does not exist.
func (d *Deliveries) Get(ctx context.Context, id string) (Delivery, error) {
	return d.read(ctx, id, func(redis.Pipeliner) {})
}

// read returns a delivery without its items. with may add commands to the same round trip.
func (d *Deliveries) read(ctx context.Context, id string, with func(redis.Pipeliner)) (Delivery, error) {
	row, err := deliveryKey(id)
	if err != nil {
		return Delivery{}, err
	}
	var fields *redis.MapStringStringCmd
	var attempts *redis.StringSliceCmd
	if _, err := d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		fields, attempts = p.HGetAll(ctx, row), p.LRange(ctx, row+":tries", 0, -1)
		with(p)
		return nil
	}); err != nil {
		return Delivery{}, fmt.Errorf("loading a delivery: %w", err)
	}
	if len(fields.Val()) == 0 {
		return Delivery{}, ErrNoDelivery
	}
	return parseDelivery(id, fields.Val(), attempts.Val()), nil
}

// parseDelivery builds a Delivery from its hash and its attempts. It skips attempts that do not
// parse.
func parseDelivery(id string, fields map[string]string, attempts []string) Delivery {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(fields[name], 10, 64)
		return n
	}
	delivery := Delivery{
		ID: id, AppID: fields["appid"], Endpoint: fields["endpoint"], State: DeliveryState(fields["state"]),
		Results: int(number("n")), Tried: int(number("tried")), Revision: int(number("rev")),
		Created: At(time.UnixMilli(number("created"))),
	}
	if delivery.State == DeliveryPending {
		delivery.Next = At(time.UnixMilli(number("next")))
	}
	for _, text := range attempts {
		var attempt Attempt
		if json.Unmarshal([]byte(text), &attempt) == nil {
			delivery.Attempts = append(delivery.Attempts, attempt)
		}
	}
	return delivery
}

// RecordAttempt records an attempt and the new state of its delivery. With a nil attempt it
// records only the state. counts says whether the attempt counts against the schedule. next is
// the time of the next attempt if the delivery stays pending. RecordAttempt does not recreate a
// delivery that was erased in the meantime.
func (d *Deliveries) RecordAttempt(
	ctx context.Context, id string, state DeliveryState, next time.Time, attempt *Attempt, counts bool,
) error {
	row, err := deliveryKey(id)
	if err != nil {
		return err
	}
	// An empty text means that there was no attempt.
	text, counted := []byte{}, 0
	if attempt != nil {
		if text, err = json.Marshal(attempt); err != nil {
			return fmt.Errorf("encoding an attempt: %w", err)
		}
	}
	if counts {
		counted = 1
	}
	err = d.record.Run(ctx, d.rdb, []string{row}, id, string(state), next.UnixMilli(), text, counted, keptAttempts,
		deliveredFor.Milliseconds(), time.Now().UnixMilli()).Err()
	if err != nil {
		return fmt.Errorf("recording an attempt: %w", err)
	}
	return nil
}

// Replay makes a delivery pending and due now, restarts its schedule, and returns the state
// that it was in. A delivered one stays as it is. The error is ErrNoDelivery if the delivery
// does not exist.
func (d *Deliveries) Replay(ctx context.Context, id string) (DeliveryState, error) {
	row, err := deliveryKey(id)
	if err != nil {
		return "", err
	}
	exists, err := d.rdb.Exists(ctx, row).Result()
	if err == nil && exists == 0 {
		return "", ErrNoDelivery
	}
	if err == nil {
		// The delivery becomes due earlier, so the index must have its app first.
		err = touch(ctx, d.rdb, &d.touched, appOfID(id))
	}
	if err != nil {
		return "", fmt.Errorf("replaying a delivery: %w", err)
	}
	state, err := d.replay.Run(ctx, d.rdb, []string{row}, id, time.Now().UnixMilli()).Text()
	if errors.Is(err, redis.Nil) {
		return "", ErrNoDelivery
	}
	if err != nil {
		return "", fmt.Errorf("replaying a delivery: %w", err)
	}
	return DeliveryState(state), nil
}

// newDeliveryID returns a new random id. It contains the hash of the app, so that the id alone
// leads to the app's keys. Standard Webhooks allows no dots in an id.
func newDeliveryID(appID string) string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	prefix := appPrefix(appID)
	return "msg_" + prefix[len(keyPrefix):len(keyPrefix)+appLen] + "_" + hex.EncodeToString(random[:])
}

// appOfID returns the app of a delivery, as the index names it. id must be valid.
func appOfID(id string) string { return id[len("msg_") : len("msg_")+appLen] }

var deliveryID = regexp.MustCompile(`^msg_([0-9a-f]{8})_[0-9a-f]{32}$`)

// deliveryKey returns the Redis key of a delivery, or ErrNoDelivery if id is malformed.
func deliveryKey(id string) (string, error) {
	if len(id) != deliveryIDLen || !deliveryID.MatchString(id) {
		return "", ErrNoDelivery
	}
	return keyPrefix + id[len("msg_"):len("msg_")+appLen] + "}:" + deliveryPart + id, nil
}
