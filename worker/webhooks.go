package worker

import (
	"fmt"

	"cloudidq/internal/deliver"
	"cloudidq/tasks"
)

// Webhook is the configuration of an endpoint that receives results.
type Webhook struct {
	Name     string
	Sender   deliver.Sender
	Thin     bool // send ids and links instead of records
	BatchMax int  // results in one delivery, at least 1
	// Admits reports whether results of an app may be sent to the endpoint. nil admits every
	// app.
	Admits func(appID string) bool
}

func (h *Webhook) validate() error {
	if problem := tasks.NameProblem(h.Name); problem != "" {
		return fmt.Errorf("worker: the name of a webhook %s", problem)
	}
	if h.Sender == nil || h.BatchMax < 1 {
		return fmt.Errorf("worker: webhook %q: Sender must be set, and BatchMax be at least 1", h.Name)
	}
	return nil
}

// deliverWebhooks returns the webhooks as internal/deliver takes them.
func deliverWebhooks(hooks []Webhook) []deliver.Webhook {
	converted := make([]deliver.Webhook, len(hooks))
	for i, hook := range hooks {
		converted[i] = deliver.Webhook(hook)
	}
	return converted
}

// outletsOf returns the destinations of the apps' results. own returns the name of an app's own
// endpoint.
func outletsOf(hooks []Webhook, own func(appID string) string) deliver.Destinations {
	return deliver.NewDestinations(deliverWebhooks(hooks), own)
}
