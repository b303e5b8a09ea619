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

// deliverer handles webhook:deliver: one attempt at one delivery.
type deliverer struct {
	deliveries deliveries
	endpoints  map[string]*endpoint
	lines      *lines
	log        *slog.Logger

	metrics *metrics
	traces  *tracing
}

// ProcessTask makes an attempt. It returns nil when the delivery needs no further one, or an error that tells asynq when
// to come back.
func (d *deliverer) ProcessTask(ctx context.Context, task *asynq.Task) error {
	begun := time.Now()
	id, err := tasks.ParseDeliver(task.Payload())
	if err != nil {
		return archived(err.Error())
	}
	delivery, err := d.deliveries.Load(ctx, id)
	ctx, span := d.traces.deliver(ctx, task, &delivery, begun)
	err = d.try(ctx, id, &delivery, err)
	span.end(err)
	return err
}

// try goes on with a delivery that was loaded, or was not.
func (d *deliverer) try(ctx context.Context, id string, delivery *store.Delivery, err error) error {
	switch {
	case errors.Is(err, store.ErrNoDelivery): // erased, or older than anything is kept
		return d.deliveries.Forget(ctx, id)
	case errors.Is(err, store.ErrUnreadable):
		return deliverLater("it is sealed under a key that this worker does not have")
	case err != nil:
		return d.storeTrouble(ctx, err)
	case delivery.State != store.DeliveryPending:
		return nil
	}
	e := d.endpoints[delivery.Endpoint]
	if e == nil { // another worker may know it, or the next start of this one
		return d.lineUp(ctx, delivery)
	}
	if !e.admits(delivery.AppID) { // a producer has named it, or it took them until this start
		d.log.Warn("results are kept from a webhook that is other apps' (webhooks[].appids)",
			"endpoint", e.Name, "appid", delivery.AppID, "delivery", delivery.ID)
		return d.settle(ctx, delivery, verdict{state: store.DeliveryHeld})
	}
	state, err := d.deliveries.Endpoint(ctx, e.Name)
	if err != nil {
		return d.storeTrouble(ctx, err)
	}
	if !state.Disabled.IsZero() {
		return d.settle(ctx, delivery, verdict{state: store.DeliveryHeld})
	}
	return d.attempt(ctx, e, delivery, state)
}

// attempt sends the delivery if the endpoint has a slot for it and is not shut.
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
	leave()
	if answered {
		d.lines.answered(ctx, e)
	}
	return err
}

// lineUp lets a delivery wait for its endpoint, without a task. It uses up none of the schedule.
func (d *deliverer) lineUp(ctx context.Context, delivery *store.Delivery) error {
	if err := d.lines.join(ctx, delivery.Endpoint, delivery.ID); err != nil {
		return d.storeTrouble(ctx, err)
	}
	return nil
}

// mayTry reports whether an endpoint is not shut, or its time has come and this is the one attempt to find out.
func (d *deliverer) mayTry(ctx context.Context, e *endpoint, state store.EndpointState) (bool, error) {
	if state.Shut.IsZero() {
		return true, nil
	}
	return d.deliveries.Probe(ctx, e.Name, time.Now(), probeFor)
}

// send makes the attempt and writes down what came of it, and reports whether the endpoint has answered.
func (d *deliverer) send(
	ctx context.Context, e *endpoint, delivery *store.Delivery, state store.EndpointState,
) (answered bool, err error) {
	message, err := body(delivery)
	if err != nil { // no attempt makes it better
		d.log.Error("a delivery cannot be sent", "delivery", delivery.ID, "endpoint", delivery.Endpoint, "error", err)
		return false, d.settle(ctx, delivery, verdict{state: store.DeliveryExhausted, reason: err.Error()})
	}
	begun := time.Now()
	attempt := e.Sender.Send(ctx, delivery.MessageID(), message)
	d.metrics.attempted(e.Name, attempt)
	d.logAttempt(ctx, delivery, attempt)
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

// takesDeliveries is false of attempts that would cost the next delivery as much, and bring as little. A receiver that
// refuses one may take another.
func takesDeliveries(class webhook.Class) bool {
	switch class {
	case webhook.OK, webhook.Refused, webhook.Gone:
		return true
	default:
		return false
	}
}

// judge keeps the books of the endpoint and lets retry.go decide.
func (d *deliverer) judge(
	ctx context.Context, e *endpoint, delivery *store.Delivery, attempt webhook.Attempt, state store.EndpointState,
) (verdict, error) {
	now := time.Now()
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

// settle writes down what became of the delivery. While the store is away it is tried again for a while: what has been
// delivered would else be sent once more, under the same id.
func (d *deliverer) settle(ctx context.Context, delivery *store.Delivery, v verdict) error {
	next := time.Now().Add(v.delay)
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

func (d *deliverer) storeTrouble(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.log.Error("the store does not answer", "error", err)
	pause(ctx, troublePause)
	return deliverSoon("the store does not answer")
}

// logAttempt writes the one line of an attempt: neither address nor content.
func (d *deliverer) logAttempt(ctx context.Context, delivery *store.Delivery, a webhook.Attempt) {
	level := slog.LevelDebug
	if a.Class != webhook.OK {
		level = slog.LevelInfo
	}
	d.log.LogAttrs(ctx, level, "deliver", slog.String("delivery", delivery.ID), slog.String("endpoint", delivery.Endpoint),
		slog.String("appid", delivery.AppID), slog.Int("results", len(delivery.Items)), slog.Int("attempt", delivery.Tried+1),
		slog.String("class", string(a.Class)), slog.Int("status", a.Status), slog.Duration("took", a.Duration))
}
