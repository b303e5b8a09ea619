package deliver

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sethvargo/go-retry"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/attempt"
	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

const (
	// recordFor bounds the retries of a write that fails. After that the task is requeued.
	recordFor = 10 * time.Second
	// troublePause is the mean time that a task keeps its slot after an error of the store. The
	// time varies from half to one and a half times the mean. The queue may work while the
	// store does not. Without the pause, task after task would run into the same error.
	troublePause = time.Second
)

// attempter handles webhook:deliver tasks. Each task makes one attempt at one delivery.
type attempter struct {
	store     Store
	endpoints map[string]*endpoint
	lists     *waitLists
	log       *slog.Logger

	metrics *metrics
	tracer  *attempt.Tracer
}

// ProcessTask makes one attempt at the delivery. It returns nil if the delivery needs no
// further attempt. Otherwise its error tells asynq when to retry, or to archive the task.
func (d *attempter) ProcessTask(ctx context.Context, task *asynq.Task) error {
	begun := time.Now()
	id, err := tasks.ParseDeliver(task.Payload())
	if err != nil {
		taskID, _ := asynq.GetTaskID(ctx)
		d.log.Error("archived a task whose payload cannot be read", "task_id", taskID, "error", err)
		return attempt.Archive(err.Error())
	}
	delivery, err := d.store.Load(ctx, id)
	ctx, span := d.startSpan(ctx, task, &delivery, begun)
	err = d.process(ctx, id, &delivery, err)
	span.End(err)
	return err
}

// process continues after the delivery was loaded. err is the error of loading it, if any.
func (d *attempter) process(
	ctx context.Context, id string, delivery *store.Delivery, err error,
) error {
	switch {
	case errors.Is(err, store.ErrNoDelivery): // erased, or older than the retention time
		return d.store.Forget(ctx, id)
	case errors.Is(err, store.ErrUnreadable):
		return snoozeLater("it is sealed under a key that this worker does not have")
	case err != nil:
		return d.storeTrouble(ctx, err)
	case delivery.State != store.DeliveryPending:
		return nil
	}
	e := d.endpoints[delivery.Endpoint]
	if e == nil { // another worker may know the endpoint, or this worker after a restart
		return d.park(ctx, delivery)
	}
	// A producer named this endpoint, or the endpoint admitted the app before this start.
	if !e.admits(delivery.AppID) {
		d.log.Warn("the delivery is held, because its webhook does not admit the app (webhooks[].appids)",
			"endpoint", e.Name, "appid", delivery.AppID, "delivery", delivery.ID)
		return d.record(ctx, delivery, decision{state: store.DeliveryHeld})
	}
	// A disabled endpoint holds its deliveries until an operator replays them.
	state, err := d.store.Endpoint(ctx, e.Name)
	if err != nil {
		return d.storeTrouble(ctx, err)
	}
	if !state.Disabled.IsZero() {
		return d.record(ctx, delivery, decision{state: store.DeliveryHeld})
	}
	return d.attempt(ctx, e, delivery, state)
}

// attempt sends the delivery if the endpoint has a free slot and its circuit is not open.
// Otherwise attempt parks the delivery.
func (d *attempter) attempt(
	ctx context.Context, e *endpoint, delivery *store.Delivery, state store.EndpointState,
) error {
	leave, free := e.enter()
	if !free {
		return d.park(ctx, delivery)
	}
	may, err := d.mayAttempt(ctx, e, state)
	switch {
	case err != nil:
		leave()
		return d.storeTrouble(ctx, err)
	case !may:
		leave()
		return d.park(ctx, delivery)
	}
	answered, err := d.send(ctx, e, delivery, state)
	// The slot must be free before answered counts the free slots.
	leave()
	if answered {
		d.lists.answered(ctx, e)
	}
	return err
}

// park parks a delivery on the wait list of its endpoint, without a task. Parking does not
// count as an attempt of the schedule.
func (d *attempter) park(ctx context.Context, delivery *store.Delivery) error {
	if err := d.lists.park(ctx, delivery.Endpoint, delivery.ID); err != nil {
		return d.storeTrouble(ctx, err)
	}
	return nil
}

// mayAttempt reports whether an attempt at the endpoint is allowed. It is, if the circuit is
// closed, or if its time open is over and this attempt is the single probe.
func (d *attempter) mayAttempt(
	ctx context.Context, e *endpoint, state store.EndpointState,
) (bool, error) {
	if state.OpenUntil.IsZero() {
		return true, nil
	}
	return d.store.Probe(ctx, e.Name, time.Now(), probeFor)
}

// send makes the attempt and stores its outcome. answered reports whether the endpoint has
// answered, see [takesDeliveries].
func (d *attempter) send(
	ctx context.Context, e *endpoint, delivery *store.Delivery, state store.EndpointState,
) (answered bool, err error) {
	message, err := body(delivery)
	if err != nil { // another attempt would fail the same way
		d.log.Error("a delivery cannot be sent",
			"delivery", delivery.ID, "endpoint", delivery.Endpoint, "error", err)
		dec := decision{state: store.DeliveryExhausted, reason: err.Error()}
		return false, d.record(ctx, delivery, dec)
	}
	// MessageID changes only if an erasure has changed the body.
	begun := time.Now()
	a := e.Sender.Send(ctx, delivery.MessageID(), message)
	d.metrics.attempted(e.Name, a)
	d.logAttempt(ctx, delivery, a)
	// The worker stops. asynq requeues the task, and the attempt does not count.
	if a.Class == webhook.Canceled {
		return false, context.Canceled
	}
	answered = takesDeliveries(a.Class)
	dec, err := d.decide(ctx, e, delivery, a, state)
	if err != nil {
		return answered, d.storeTrouble(ctx, err)
	}
	dec.attempt = &store.Attempt{
		At: store.At(begun), Status: a.Status, Class: string(a.Class),
		Error: a.Class.Explain(), DurationMS: a.Duration.Milliseconds(),
	}
	return answered, d.record(ctx, delivery, dec)
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

// decide updates the state of the endpoint and decides about the delivery (decision.go).
func (d *attempter) decide(
	ctx context.Context, e *endpoint, delivery *store.Delivery, a webhook.Attempt,
	state store.EndpointState,
) (decision, error) {
	now := time.Now()
	// A success clears earlier failures. An endpoint without failures needs no write.
	if a.Class == webhook.OK {
		if !state.FirstFailure.IsZero() || !state.OpenUntil.IsZero() {
			if err := d.store.EndpointOK(ctx, e.Name); err != nil {
				return decision{}, err
			}
		}
		return decision{state: store.DeliveryDelivered}, nil
	}
	before, err := d.store.EndpointFailed(ctx, e.Name, takesDeliveries(a.Class), now)
	if err != nil {
		return decision{}, err
	}
	dec := decide(delivery.Tried+1, a, before, now)
	// Many failures in a row open the circuit, for all deliveries of the endpoint.
	if open := circuitOpenFor(before, a.RetryAfter, now); open > 0 {
		if err := d.store.OpenCircuit(ctx, e.Name, now.Add(open)); err != nil {
			return decision{}, err
		}
	}
	if dec.disable == "" {
		return dec, nil
	}
	d.log.Error("a webhook endpoint is disabled; its deliveries are kept for replay",
		"endpoint", e.Name, "reason", dec.disable)
	return dec, d.store.Disable(ctx, e.Name, dec.disable, now)
}

// record stores the outcome of the delivery. If the store fails, record repeats the write for
// up to recordFor. Without these repetitions, a delivery that has arrived would be sent again,
// under the same id.
func (d *attempter) record(ctx context.Context, delivery *store.Delivery, dec decision) error {
	next := time.Now().Add(dec.delay) // used only while the delivery is pending
	backoff := retry.WithJitterPercent(50, retry.NewExponential(50*time.Millisecond))
	err := retry.Do(ctx, retry.WithMaxDuration(recordFor, backoff), func(ctx context.Context) error {
		counts := dec.attempt != nil
		return retry.RetryableError(
			d.store.RecordAttempt(ctx, delivery.ID, dec.state, next, dec.attempt, counts))
	})
	if err != nil {
		return d.storeTrouble(ctx, err)
	}
	d.metrics.recorded(delivery, dec.state)
	return dec.err()
}

// storeTrouble returns the error for a store that does not answer. It holds the slot for a
// while, so that task after task does not run into the same error. If ctx has ended, it returns
// the error of ctx.
func (d *attempter) storeTrouble(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.log.Error("the store does not answer", "error", err)
	pause(ctx, troublePause)
	return snoozeSoon("the store does not answer")
}

// logAttempt logs an attempt in one line. The line holds neither address nor content.
func (d *attempter) logAttempt(ctx context.Context, delivery *store.Delivery, a webhook.Attempt) {
	level := slog.LevelDebug
	if a.Class != webhook.OK {
		level = slog.LevelInfo
	}
	d.log.LogAttrs(ctx, level, "deliver",
		slog.String("delivery", delivery.ID), slog.String("endpoint", delivery.Endpoint),
		slog.String("appid", delivery.AppID), slog.Int("results", len(delivery.Items)),
		slog.Int("attempt", delivery.Tried+1), slog.String("class", string(a.Class)),
		slog.Int("status", a.Status), slog.Duration("took", a.Duration))
}

// pause waits for half to one and a half times mean, or until ctx ends.
func pause(ctx context.Context, mean time.Duration) {
	timer := time.NewTimer(mean/2 + rand.N(mean))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Attributes of spans for which OpenTelemetry's conventions have no name.
const (
	attrResults  = attribute.Key("cloudidq.webhook.results")
	attrEndpoint = attribute.Key("cloudidq.webhook.endpoint")
)

// startSpan starts the span of an attempt. begun is when the attempt began, before the delivery
// was loaded. The span's parent is the attempt that has saved the results. If several attempts
// have, the span is linked to all of them instead.
func (d *attempter) startSpan(
	ctx context.Context, task *asynq.Task, delivery *store.Delivery, begun time.Time,
) (context.Context, attempt.Span) {
	if d.tracer == nil {
		return ctx, attempt.Span{}
	}
	var links []trace.Link
	for _, parent := range delivery.Traces {
		if span := tasks.ParseTraceparent(parent); span.IsValid() {
			links = append(links, trace.Link{SpanContext: span})
		}
	}
	if len(links) == 1 {
		ctx, links = trace.ContextWithRemoteSpanContext(ctx, links[0].SpanContext), nil
	}
	ctx, span := d.tracer.Start(ctx, task.Type(), links, begun)
	span.Set(
		tasks.AttrAppID.String(delivery.AppID), attrEndpoint.String(delivery.Endpoint),
		attrResults.Int(len(delivery.Items)),
	)
	return ctx, span
}
