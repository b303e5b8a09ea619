package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sethvargo/go-retry"

	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

// deliverer handles webhook:deliver tasks. Each task makes one attempt at one delivery.
type deliverer struct {
	deliveries deliveries
	endpoints  map[string]*endpoint
	lines      *lines
	log        *slog.Logger

	metrics *metrics
	traces  *tracing
}

// ProcessTask makes one attempt at the delivery. It returns nil if the delivery needs no
// further attempt. Otherwise its error tells asynq when to retry, or to archive the task.
func (d *deliverer) ProcessTask(ctx context.Context, task *asynq.Task) error {
	begun := time.Now()
	id, err := tasks.ParseDeliver(task.Payload())
	if err != nil {
		taskID, _ := asynq.GetTaskID(ctx)
		d.log.Error("archived a task whose payload cannot be read", "task_id", taskID, "error", err)
		return archived(err.Error())
	}
	delivery, err := d.deliveries.Load(ctx, id)
	ctx, span := d.traces.deliver(ctx, task, &delivery, begun)
	err = d.try(ctx, id, &delivery, err)
	span.end(err)
	return err
}

// try continues after the delivery was loaded. err is the error of loading it, if any.
func (d *deliverer) try(ctx context.Context, id string, delivery *store.Delivery, err error) error {
	switch {
	case errors.Is(err, store.ErrNoDelivery): // erased, or older than the retention time
		return d.deliveries.Forget(ctx, id)
	case errors.Is(err, store.ErrUnreadable):
		return deliverLater("it is sealed under a key that this worker does not have")
	case err != nil:
		return d.storeTrouble(ctx, err)
	case delivery.State != store.DeliveryPending:
		return nil
	}
	e := d.endpoints[delivery.Endpoint]
	if e == nil { // another worker may know the endpoint, or this worker after a restart
		return d.lineUp(ctx, delivery)
	}
	// A producer named this endpoint, or the endpoint admitted the app before this start.
	if !e.admits(delivery.AppID) {
		d.log.Warn("results are kept from a webhook that is other apps' (webhooks[].appids)",
			"endpoint", e.Name, "appid", delivery.AppID, "delivery", delivery.ID)
		return d.settle(ctx, delivery, verdict{state: store.DeliveryHeld})
	}
	// A disabled endpoint holds its deliveries until an operator replays them.
	state, err := d.deliveries.Endpoint(ctx, e.Name)
	if err != nil {
		return d.storeTrouble(ctx, err)
	}
	if !state.Disabled.IsZero() {
		return d.settle(ctx, delivery, verdict{state: store.DeliveryHeld})
	}
	return d.attempt(ctx, e, delivery, state)
}

// attempt sends the delivery if the endpoint has a free slot and its circuit is not open.
// Otherwise attempt parks the delivery.
func (d *deliverer) attempt(ctx context.Context, e *endpoint, delivery *store.Delivery, state store.EndpointState) error {
	leave, free := e.enter()
	if !free {
		return d.lineUp(ctx, delivery)
	}
	may, err := d.mayTry(ctx, e, state)
	switch {
	case err != nil:
		leave()
		return d.storeTrouble(ctx, err)
	case !may:
		leave()
		return d.lineUp(ctx, delivery)
	}
	answered, err := d.send(ctx, e, delivery, state)
	// The slot must be free before answered counts the free slots.
	leave()
	if answered {
		d.lines.answered(ctx, e)
	}
	return err
}

// lineUp parks a delivery on the wait list of its endpoint, without a task. Parking does not
// count as an attempt of the schedule.
func (d *deliverer) lineUp(ctx context.Context, delivery *store.Delivery) error {
	if err := d.lines.join(ctx, delivery.Endpoint, delivery.ID); err != nil {
		return d.storeTrouble(ctx, err)
	}
	return nil
}

// mayTry reports whether an attempt at the endpoint is allowed. It is, if the circuit is
// closed, or if the hold has ended and this attempt is the single probe.
func (d *deliverer) mayTry(ctx context.Context, e *endpoint, state store.EndpointState) (bool, error) {
	if state.Shut.IsZero() {
		return true, nil
	}
	return d.deliveries.Probe(ctx, e.Name, time.Now(), probeFor)
}

// send makes the attempt and stores its outcome. answered reports whether the endpoint has
// answered, see [takesDeliveries].
func (d *deliverer) send(
	ctx context.Context, e *endpoint, delivery *store.Delivery, state store.EndpointState,
) (answered bool, err error) {
	message, err := body(delivery)
	if err != nil { // another attempt would fail the same way
		d.log.Error("a delivery cannot be sent", "delivery", delivery.ID, "endpoint", delivery.Endpoint, "error", err)
		return false, d.settle(ctx, delivery, verdict{state: store.DeliveryExhausted, reason: err.Error()})
	}
	// MessageID changes only if an erasure has changed the body.
	begun := time.Now()
	attempt := e.Sender.Send(ctx, delivery.MessageID(), message)
	d.metrics.attempted(e.Name, attempt)
	d.logAttempt(ctx, delivery, attempt)
	// The worker stops. asynq requeues the task, and the attempt does not count.
	if attempt.Class == webhook.Canceled {
		return false, context.Canceled
	}
	answered = takesDeliveries(attempt.Class)
	v, err := d.judge(ctx, e, delivery, attempt, state)
	if err != nil {
		return answered, d.storeTrouble(ctx, err)
	}
	v.attempt = &store.Attempt{
		At: store.At(begun), Status: attempt.Status, Class: string(attempt.Class),
		Error: attempt.Class.Explain(), DurationMS: attempt.Duration.Milliseconds(),
	}
	return answered, d.settle(ctx, delivery, v)
}

// takesDeliveries reports whether the next delivery has a chance at the endpoint. It is false
// for outcomes such as a timeout, which would repeat at the same cost. A receiver that refuses
// one delivery may accept another.
func takesDeliveries(class webhook.Class) bool {
	switch class {
	case webhook.OK, webhook.Refused, webhook.Gone:
		return true
	default:
		return false
	}
}

// judge updates the state of the endpoint. The decision on the delivery is made in retry.go.
func (d *deliverer) judge(
	ctx context.Context, e *endpoint, delivery *store.Delivery, attempt webhook.Attempt, state store.EndpointState,
) (verdict, error) {
	now := time.Now()
	// A success clears earlier failures. An endpoint without failures needs no write.
	if attempt.Class == webhook.OK {
		if !state.FirstFailure.IsZero() || !state.Shut.IsZero() {
			if err := d.deliveries.EndpointOK(ctx, e.Name); err != nil {
				return verdict{}, err
			}
		}
		return verdict{state: store.DeliveryDelivered}, nil
	}
	before, err := d.deliveries.EndpointFailed(ctx, e.Name, takesDeliveries(attempt.Class), now)
	if err != nil {
		return verdict{}, err
	}
	v := judge(delivery.Tried+1, attempt, before, now)
	// Many failures in a row open the circuit, for all deliveries of the endpoint.
	if pause := shutFor(before, attempt.RetryAfter, now); pause > 0 {
		if err := d.deliveries.Shut(ctx, e.Name, now.Add(pause)); err != nil {
			return verdict{}, err
		}
	}
	if v.disable == "" {
		return v, nil
	}
	d.log.Error("a webhook endpoint is disabled; its deliveries are kept for replay", "endpoint", e.Name, "reason", v.disable)
	return v, d.deliveries.Disable(ctx, e.Name, v.disable, now)
}

// settle stores the outcome of the delivery. If the store fails, settle repeats the write for
// up to saveFor. Without these repetitions, a delivery that has arrived would be sent again,
// under the same id.
func (d *deliverer) settle(ctx context.Context, delivery *store.Delivery, v verdict) error {
	next := time.Now().Add(v.delay) // used only while the delivery is pending
	b := retry.WithMaxDuration(saveFor, retry.WithJitterPercent(50, retry.NewExponential(50*time.Millisecond)))
	err := retry.Do(ctx, b, func(ctx context.Context) error {
		return retry.RetryableError(d.deliveries.Settle(ctx, delivery.ID, v.state, next, v.attempt, v.attempt != nil))
	})
	if err != nil {
		return d.storeTrouble(ctx, err)
	}
	d.metrics.settled(delivery, v.state)
	return v.err()
}

// storeTrouble returns the error for a store that does not answer. It holds the slot for a
// while, so that task after task does not run into the same error. If ctx has ended, it returns
// the error of ctx.
func (d *deliverer) storeTrouble(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.log.Error("the store does not answer", "error", err)
	pause(ctx, troublePause)
	return deliverSoon("the store does not answer")
}

// logAttempt logs an attempt in one line. The line holds neither address nor content.
func (d *deliverer) logAttempt(ctx context.Context, delivery *store.Delivery, a webhook.Attempt) {
	level := slog.LevelDebug
	if a.Class != webhook.OK {
		level = slog.LevelInfo
	}
	d.log.LogAttrs(ctx, level, "deliver", slog.String("delivery", delivery.ID), slog.String("endpoint", delivery.Endpoint),
		slog.String("appid", delivery.AppID), slog.Int("results", len(delivery.Items)), slog.Int("attempt", delivery.Tried+1),
		slog.String("class", string(a.Class)), slog.Int("status", a.Status), slog.Duration("took", a.Duration))
}
