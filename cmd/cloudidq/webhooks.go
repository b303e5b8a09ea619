package main

import (
	"crypto/tls"
	"fmt"
	"net/netip"

	"cloudidq/config"
	"cloudidq/internal/webhook"
	"cloudidq/worker"
)

// openWebhooks makes the endpoints of the configuration. svc is nil in a command that runs once. The worker sends; close
// ends idle connections.
func openWebhooks(cfg *config.Config, svc *service) (hooks []worker.Webhook, closeAll func(), err error) {
	var senders []*webhook.Sender
	closeAll = func() {
		for _, sender := range senders {
			sender.Close()
		}
	}
	for i, hook := range cfg.Webhooks {
		endpoint, err := endpointOf(cfg, hook)
		if err != nil {
			return nil, nil, usagef("webhooks[%d].%w", i, err)
		}
		if svc != nil {
			endpoint.Tracers = svc.tel.Tracers
		}
		sender, err := webhook.NewSender(endpoint)
		if err != nil {
			return nil, nil, usagef("webhooks[%d].%w", i, err)
		}
		senders = append(senders, sender)
		hooks = append(hooks, worker.Webhook{
			Name: hook.Name, Sender: sender, Thin: hook.Payload == config.PayloadThin, BatchMax: hook.BatchMax,
		})
	}
	return hooks, closeAll, nil
}

// endpointOf turns settings into parts. Its error begins with the setting.
func endpointOf(cfg *config.Config, hook config.Webhook) (webhook.Endpoint, error) {
	endpoint := webhook.Endpoint{
		Name: hook.Name, URL: hook.URL, MaxInFlight: cfg.Worker.Concurrency, UserAgent: "cloudidq/" + version,
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
	pair, err := tls.X509KeyPair([]byte(hook.ClientCert.Text().Reveal()), []byte(hook.ClientKey.Text().Reveal()))
	if err != nil {
		return webhook.Endpoint{}, fmt.Errorf("client_cert: not a certificate and its key, in PEM")
	}
	endpoint.ClientCert = &pair
	return endpoint, nil
}
