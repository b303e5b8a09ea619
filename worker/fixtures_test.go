package worker

import (
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/batch"
	"cloudidq/internal/wechat"
)

// untraced is the span of a call that belongs to no trace.
var untraced trace.SpanContext

const testApp = "wx0000000000000001"

// app returns the settings of testApp, changed by change.
func app(change func(*App)) App {
	a := App{AppID: testApp, BatchMax: 20, BatchLinger: 5 * time.Millisecond, MaxInFlight: 64}
	if change != nil {
		change(&a)
	}
	return a
}

// cloudIDsOf returns the cloudIDs from to to-1 of a user.
func cloudIDsOf(openID string, from, to int) (cloudIDs []batch.CloudID) {
	for i := from; i < to; i++ {
		cloudIDs = append(cloudIDs, batch.CloudID{OpenID: openID, Item: wechat.Item{CloudID: fmt.Sprintf("73_%s_%03d", openID, i)}})
	}
	return cloudIDs
}

// collect waits for n answers.
func collect(w *batch.Waiter, n int) {
	for range n {
		<-w.Answers
	}
}
