package open

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"go.opentelemetry.io/otel/trace"

	"cloudidq/config"
	"cloudidq/internal/deliver"
	"cloudidq/internal/webhook"
)

// UserAgent returns the User-Agent of requests to webhooks.
func UserAgent(version string) string { return "cloudidq/" + version }

// Webhooks creates the webhooks of the configuration for a command that runs once. closeAll
// closes their idle connections.
func Webhooks(cfg *config.Config, userAgent string) (hooks []deliver.Webhook, closeAll func(), err error) {
	return openWebhooks(cfg, userAgent, nil)
}

// openWebhooks is Webhooks with traces.
func openWebhooks(
	cfg *config.Config, userAgent string, tracers trace.TracerProvider,
) (hooks []deliver.Webhook, closeAll func(), err error) {
	var senders []*webhook.Sender
	closeAll = func() {
		for _, sender := range senders {
			sender.Close()
		}
	}
	// Each webhook gets its own sender. The worker refers to it by the name.
	for i, hook := range cfg.Webhooks {
		endpoint, err := endpointOf(cfg, hook, userAgent)
		if err != nil {
			return nil, nil, settingf("webhooks[%d].%w", i, err)
		}
		endpoint.Tracers = tracers
		sender, err := webhook.NewSender(endpoint)
		if err != nil {
			return nil, nil, settingf("webhooks[%d].%w", i, err)
		}
		senders = append(senders, sender)
		hooks = append(hooks, deliver.Webhook{
			Name: hook.Name, Sender: sender, Thin: hook.Payload == config.PayloadThin,
			BatchMax: hook.BatchMax, Admits: hook.Admits,
		})
	}
	return hooks, closeAll, nil
}

// CheckWebhooks rejects secrets that are not valid keys, and certificates that do not match
// their key. It is a check of [config.LoadSecrets].
func CheckWebhooks(cfg *config.Config, refuse func(string, error)) {
	for i, hook := range cfg.Webhooks {
		for k, text := range hook.Secrets {
			if text.Text().Empty() {
				continue // missing, which is already reported
			}
			if _, err := webhook.ParseKey(text.Text()); err != nil {
				refuse(fmt.Sprintf("webhooks[%d].secrets[%d]", i, k), err)
			}
		}
		if hook.ClientCert.Text().Empty() || hook.ClientKey.Text().Empty() {
			continue
		}
		if _, err := clientCertOf(hook); err != nil {
			refuse(fmt.Sprintf("webhooks[%d].client_cert", i), err)
		}
	}
}

// clientCertOf parses the client certificate of a webhook. Its error does not quote it.
func clientCertOf(hook config.Webhook) (tls.Certificate, error) {
	cert, key := hook.ClientCert.Text().Reveal(), hook.ClientKey.Text().Reveal()
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		return tls.Certificate{}, errors.New(
			"must be a certificate with its key in client_key, both in PEM")
	}
	return pair, nil
}

// endpointOf converts the settings of a webhook to an endpoint. Its error starts with the name
// of the setting.
func endpointOf(cfg *config.Config, hook config.Webhook, userAgent string) (webhook.Endpoint, error) {
	endpoint := webhook.Endpoint{
		Name: hook.Name, URL: string(hook.URL),
		MaxInFlight: cfg.Worker.Concurrency, UserAgent: userAgent,
	}
	for i, text := range hook.Secrets {
		key, err := webhook.ParseKey(text.Text())
		if err != nil {
			return webhook.Endpoint{}, fmt.Errorf("secrets[%d]: %w", i, err)
		}
		endpoint.Keys = append(endpoint.Keys, key)
	}
	for i, text := range hook.AllowCIDRs {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return webhook.Endpoint{}, fmt.Errorf("allow_cidrs[%d]: %w", i, err)
		}
		endpoint.AllowCIDRs = append(endpoint.AllowCIDRs, prefix.Masked())
	}
	if hook.ClientCert.IsZero() {
		return endpoint, nil
	}
	pair, err := clientCertOf(hook)
	if err != nil {
		return webhook.Endpoint{}, fmt.Errorf("client_cert: %w", err)
	}
	endpoint.ClientCert = &pair
	return endpoint, nil
}
