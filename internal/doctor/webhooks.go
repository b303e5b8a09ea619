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
		found := checkEndpoint(ctx, name, state)
		attempt := connect(ctx)
		if attempt.Class != webhook.OK {
			return append(found, fail(remedyOfClass(attempt.Class), "cannot be reached: %s", attempt.Class.Explain()))
		}
		return orOK(found, "reachable, connected in %s", attempt.Duration.Round(time.Millisecond))
	}}
}

// checkEndpoint returns a finding if the endpoint is disabled or fails.
func checkEndpoint(
	ctx context.Context, name string, state func(context.Context) (store.EndpointState, error),
) []Finding {
	s, err := state(ctx)
	switch {
	case err != nil:
		return nil // the check of Redis reports the error
	case !s.Disabled.IsZero():
		return []Finding{fail("fix it, then run cloudidq deliveries replay --endpoint "+name,
			"disabled since %s: %s", s.Disabled.Local().Format(time.DateTime), s.Reason)}
	case !s.FirstFailure.IsZero():
		return []Finding{warn("run cloudidq deliveries list --endpoint "+name,
			"every attempt has failed since %s", s.FirstFailure.Local().Format(time.DateTime))}
	default:
		return nil
	}
}

// remedyOfClass returns what an operator can do about a failed connection.
func remedyOfClass(class webhook.Class) string {
	switch class {
	case webhook.Forbidden:
		return "if the address is intended, add its range to webhooks[].allow_cidrs"
	case webhook.DNS:
		return "correct the host name in webhooks[].url, or the resolver of this machine"
	case webhook.TLS, webhook.Certificate:
		return "check its certificate, and client_cert if it requires a client certificate"
	default:
		return "start it, or correct webhooks[].url; a firewall may block the connection"
	}
}
