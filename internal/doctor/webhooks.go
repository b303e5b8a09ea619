package doctor

import (
	"context"
	"time"

	"cloudidq/internal/webhook"
	"cloudidq/store"
)

// Webhook checks an endpoint: whether it can be reached, and whether it is disabled or has been
// failing. It connects but sends no delivery.
func Webhook(name string, connect func(context.Context) webhook.Attempt, state func(context.Context) (store.EndpointState, error)) Check {
	return Check{Name: "webhook " + name, Run: func(ctx context.Context) []Finding {
		// Report the recorded state first, then whether a connection succeeds now.
		found := judgeEndpoint(ctx, name, state)
		attempt := connect(ctx)
		if attempt.Class != webhook.OK {
			return append(found, fail(remedyOfClass(attempt.Class), "cannot be reached: %s", attempt.Class.Explain()))
		}
		return orOK(found, "can be reached, in %s", attempt.Duration.Round(time.Millisecond))
	}}
}

// judgeEndpoint returns a finding if the endpoint is disabled or fails.
func judgeEndpoint(ctx context.Context, name string, state func(context.Context) (store.EndpointState, error)) []Finding {
	s, err := state(ctx)
	switch {
	case err != nil:
		return nil // the check of Redis reports the error
	case !s.Disabled.IsZero():
		return []Finding{fail("mend it, then: cloudidq deliveries replay --endpoint "+name,
			"is disabled since %s: %s", s.Disabled.Local().Format(time.DateTime), s.Reason)}
	case !s.FirstFailure.IsZero():
		return []Finding{warn("see cloudidq deliveries list --endpoint "+name,
			"has done nothing but fail since %s", s.FirstFailure.Local().Format(time.DateTime))}
	default:
		return nil
	}
}

// remedyOfClass returns what an operator can do about a failed connection.
func remedyOfClass(class webhook.Class) string {
	switch class {
	case webhook.Forbidden:
		return "let webhooks[].allow_cidrs open its range, if it is meant"
	case webhook.DNS:
		return "correct the host name in webhooks[].url, or the resolver of this machine"
	case webhook.TLS, webhook.Certificate:
		return "look at its certificate, and at client_cert if it asks for one"
	default:
		return "start it, or correct webhooks[].url; a firewall may stand between"
	}
}
