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

// DeliveryState is where a delivery stands.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryPending   DeliveryState = "pending"   // it is tried until it arrives
	DeliveryDelivered DeliveryState = "delivered" // the endpoint has taken it; its body is gone
	DeliveryHeld      DeliveryState = "held"      // its endpoint is disabled
	DeliveryExhausted DeliveryState = "exhausted" // it has failed as often as the schedule has it
)

// DeliveryStates are all of them.
var DeliveryStates = []DeliveryState{DeliveryPending, DeliveryDelivered, DeliveryHeld, DeliveryExhausted}

// Delivery is a batch of results on its way to one endpoint.
type Delivery struct {
	ID       string        `json:"id"`
	AppID    string        `json:"appid"`
	Endpoint string        `json:"endpoint"`
	State    DeliveryState `json:"state"`
	Results  int           `json:"results"`
	Tried    int           `json:"tried"` // attempts that counted, since the last replay
	Created  Time          `json:"created_at"`
	Next     Time          `json:"next_at,omitzero"` // the next attempt, while pending
	Attempts []Attempt     `json:"attempts,omitempty"`

	// Revision counts the erasures that have taken a result out of it. MessageID tells them apart.
	Revision int `json:"-"`
	// Items are the results, as JSON objects; only Load brings them.
	Items []json.RawMessage `json:"-"`
	// Traces are the W3C traceparents of what led to the results, each once, 128 at most; only Load brings them.
	Traces []string `json:"-"`
}

// Attempt is what came of one.
type Attempt struct {
	At         Time   `json:"at"`
	Status     int    `json:"status,omitempty"` // of HTTP; 0 without an answer
	Class      string `json:"class"`
	Error      string `json:"error,omitempty"` // what Class means
	DurationMS int64  `json:"duration_ms"`
}

// MessageID is the id that receivers see: the same as long as the bytes are the same.
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
	deliveredFor  = time.Hour // how long one that has arrived is told of
	maxBodyBytes  = 1 << 20   // items of one delivery, sealed
	maxTraces     = 128       // as many links as a span of OpenTelemetry takes by default
	deliveryIDLen = len("msg_") + appLen + 1 + 32
)

// ErrNoDelivery says that there is no such delivery: it was never there, its time is over, or all of it was erased.
var ErrNoDelivery = errors.New("no such delivery")

// ErrDelivered says that a delivery has arrived.
var ErrDelivered = errors.New("it has been delivered, and its body is not kept")

//go:embed cut.lua
var cutLua string

//go:embed settle.lua
var settleLua string

//go:embed replay.lua
var replayLua string

// Deliveries keeps what is on its way to webhook endpoints, in Redis; outbox.go has the layout. It is safe for concurrent
// use.
type Deliveries struct {
	rdb    redis.Cmdable
	codec  codec
	cut    *redis.Script
	settle *redis.Script
	replay *redis.Script

	touched sync.Map // apps of the index: when this process has put them there last
	appIDs  sync.Map // by app of the index
}

// NewDeliveries returns the deliveries in rdb, which stays the caller's to close. The options are those of the store.
func NewDeliveries(rdb redis.Cmdable, options ...Option) *Deliveries {
	var with settings
	for _, option := range options {
		option(&with)
	}
	return &Deliveries{
		rdb: rdb, codec: codec{with.keyset},
		cut: redis.NewScript(personLua + cutLua), settle: redis.NewScript(settleLua), replay: redis.NewScript(replayLua),
	}
}

// Cut makes a delivery of what waits for an endpoint, of up to maximum results, and returns its id and how many results
// wait still. The id is empty if nothing waits.
func (d *Deliveries) Cut(ctx context.Context, appID, endpoint string, maximum int) (id string, left int, err error) {
	prefix := appPrefix(appID)
	id = newDeliveryID(appID)
	counts, err := d.cut.Run(ctx, d.rdb, []string{prefix + outboxPart + endpoint, prefix + deliveryPart + id},
		maximum, maxBodyBytes, time.Now().UnixMilli(), DeliverFor.Milliseconds(), id, appID, endpoint).Int64Slice()
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

// Load returns a delivery with its items, or ErrNoDelivery. With ErrUnreadable the keyset at hand does not open them.
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

// Get returns a delivery without its items, or ErrNoDelivery.
func (d *Deliveries) Get(ctx context.Context, id string) (Delivery, error) {
	return d.read(ctx, id, func(redis.Pipeliner) {})
}

func (d *Deliveries) read(ctx context.Context, id string, with func(redis.Pipeliner)) (Delivery, error) {
	row, err := deliveryKey(id)
	if err != nil {
		return Delivery{}, err
	}
	var fields *redis.MapStringStringCmd
	var tries *redis.StringSliceCmd
	if _, err := d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		fields, tries = p.HGetAll(ctx, row), p.LRange(ctx, row+":tries", 0, -1)
		with(p)
		return nil
	}); err != nil {
		return Delivery{}, fmt.Errorf("loading a delivery: %w", err)
	}
	if len(fields.Val()) == 0 {
		return Delivery{}, ErrNoDelivery
	}
	return parseDelivery(id, fields.Val(), tries.Val()), nil
}

func parseDelivery(id string, fields map[string]string, tries []string) Delivery {
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
	for _, text := range tries {
		var attempt Attempt
		if json.Unmarshal([]byte(text), &attempt) == nil {
			delivery.Attempts = append(delivery.Attempts, attempt)
		}
	}
	return delivery
}

// Settle notes the end of an attempt, and whether it counts, or, with a nil attempt, only a new state. next is when a
// pending delivery is tried again. What was erased meanwhile does not come back.
func (d *Deliveries) Settle(
	ctx context.Context, id string, state DeliveryState, next time.Time, attempt *Attempt, counts bool,
) error {
	row, err := deliveryKey(id)
	if err != nil {
		return err
	}
	text, counted := []byte{}, 0
	if attempt != nil {
		if text, err = json.Marshal(attempt); err != nil {
			return fmt.Errorf("encoding an attempt: %w", err)
		}
	}
	if counts {
		counted = 1
	}
	err = d.settle.Run(ctx, d.rdb, []string{row}, id, string(state), next.UnixMilli(), text, counted, keptAttempts,
		deliveredFor.Milliseconds(), time.Now().UnixMilli()).Err()
	if err != nil {
		return fmt.Errorf("settling a delivery: %w", err)
	}
	return nil
}

// Replay lets a delivery begin anew and returns the state it was in; one that was delivered stays as it is. The error is
// ErrNoDelivery for one that is not there.
func (d *Deliveries) Replay(ctx context.Context, id string) (DeliveryState, error) {
	row, err := deliveryKey(id)
	if err != nil {
		return "", err
	}
	there, err := d.rdb.Exists(ctx, row).Result()
	if err == nil && there == 0 {
		return "", ErrNoDelivery
	}
	if err == nil {
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

// newDeliveryID makes an id that leads to the app's keys. Standard Webhooks wants no dots in it.
func newDeliveryID(appID string) string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	prefix := appPrefix(appID)
	return "msg_" + prefix[len(keyPrefix):len(keyPrefix)+appLen] + "_" + hex.EncodeToString(random[:])
}

// appOfID is the app of a delivery, as the index names it.
func appOfID(id string) string { return id[len("msg_") : len("msg_")+appLen] }

var deliveryID = regexp.MustCompile(`^msg_([0-9a-f]{8})_[0-9a-f]{32}$`)

// deliveryKey is where a delivery lies.
func deliveryKey(id string) (string, error) {
	if len(id) != deliveryIDLen || !deliveryID.MatchString(id) {
		return "", ErrNoDelivery
	}
	return keyPrefix + id[len("msg_"):len("msg_")+appLen] + "}:" + deliveryPart + id, nil
}
