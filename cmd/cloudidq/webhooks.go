package main

import (
	"crypto/tls"
	"errors"
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
			Admits: hook.Admits,
		})
	}
	return hooks, closeAll, nil
}

// checkWebhooks refuses secrets that are no keys, and a certificate that does not go with its key.
func checkWebhooks(cfg *config.Config, refuse func(string, error)) {
	for i, hook := range cfg.Webhooks {
		for k, text := range hook.Secrets {
			if text.Text().Empty() {
				continue // not to be had, and said so already
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

func clientCertOf(hook config.Webhook) (tls.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(hook.ClientCert.Text().Reveal()), []byte(hook.ClientKey.Text().Reveal()))
	if err != nil {
		return tls.Certificate{}, errors.New("not a certificate and its key, in PEM")
	}
	return pair, nil
}

// endpointOf turns settings into parts. Its error begins with the setting.
func endpointOf(cfg *config.Config, hook config.Webhook) (webhook.Endpoint, error) {
	endpoint := webhook.Endpoint{
		Name: hook.Name, URL: string(hook.URL), MaxInFlight: cfg.Worker.Concurrency, UserAgent: "cloudidq/" + version,
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
