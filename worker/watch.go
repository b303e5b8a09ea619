package worker

import (
	"context"
	"time"
)

// watchEvery is how often the state of each endpoint is read, with two Redis commands.
const watchEvery = 10 * time.Second

// endpointWatch keeps the metrics of the endpoints up to date. Any process may change the state
// of an endpoint.
type endpointWatch struct {
	deliveries deliveries
	endpoints  map[string]*endpoint
	metrics    *metrics
}

// run reads the states until ctx ends.
func (w *endpointWatch) run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		for name := range w.endpoints {
			// While Redis is unavailable the metrics keep the last state. The store's own
			// metrics show the outage.
			state, err := w.deliveries.Endpoint(ctx, name)
			waiting, lineErr := w.deliveries.InLine(ctx, name)
			if err == nil && lineErr == nil {
				w.metrics.showEndpoint(name, state, waiting)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
