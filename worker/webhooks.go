package worker

import (
	"fmt"

	"cloudidq/internal/deliver"
	"cloudidq/tasks"
)

// Webhook is the configuration of an endpoint that receives results.
type Webhook = deliver.Webhook

// validateWebhook returns the first error of a webhook's settings, or nil.
func validateWebhook(h *Webhook) error {
	if problem := tasks.NameProblem(h.Name); problem != "" {
		return fmt.Errorf("worker: the name of a webhook %s", problem)
	}
	if h.Sender == nil || h.BatchMax < 1 {
		return fmt.Errorf("worker: webhook %q: Sender must be set, and BatchMax be at least 1", h.Name)
	}
	return nil
}

// outletsOf returns the destinations of the apps' results. own returns the name of an app's own
// endpoint.
func outletsOf(hooks []Webhook, own func(appID string) string) deliver.Destinations {
	return deliver.NewDestinations(hooks, own)
}
