package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"

	"cloudidq/tasks"
)

// The values of [Webhook.Payload].
const (
	PayloadFull = "full"
	PayloadThin = "thin"
)

// Webhook is an endpoint that results are delivered to.
type Webhook struct {
	// Name identifies the endpoint for apps and producers. It consists of 1 to 64 letters, digits,
	// - and _.
	Name string `yaml:"name" jsonschema:"required,pattern=^[A-Za-z0-9_-]{1\\,64}$"`
	// URL is the address that deliveries are posted to. The scheme must be https; http is allowed
	// only with allow_cidrs.
	URL URL `yaml:"url" jsonschema:"required"`
	// AppIDs are the apps whose results may be sent to the endpoint; if the list is empty, all
	// apps. An API key that is limited to some apps may only name endpoints that list the app here,
	// or the app's own webhook.
	AppIDs []string `yaml:"appids,omitempty"`
	// Secrets are the keys that sign each delivery: whsec_ and the Base64 of 24 to 64 bytes
	// (HMAC-SHA256), or whsk_ and the Base64 of an ed25519 key. Every secret signs, so to rotate a
	// secret, list the old and the new one until the receiver has changed. Each is given as
	// env:NAME, file:PATH or the secret itself.
	Secrets []Secret `yaml:"secrets" jsonschema:"required,minItems=1"`
	// Payload is full (the records) or thin (their ids and links).
	Payload string `yaml:"payload" default:"full" oneof:"full,thin"`
	// BatchMax is the maximum number of results per delivery. 1 to 1000.
	BatchMax int `yaml:"batch_max" default:"100" min:"1" max:"1000"`
	// AllowCIDRs are ranges of addresses that are not public and may be connected to nevertheless,
	// such as 10.1.0.0/16.
	AllowCIDRs []string `yaml:"allow_cidrs,omitempty"`
	// ClientCert is a client certificate in PEM, for an endpoint that requires one. Given as
	// env:NAME, file:PATH or the text itself.
	ClientCert Secret `yaml:"client_cert,omitzero"`
	// ClientKey is the private key of client_cert, in PEM. Given as env:NAME, file:PATH or the text
	// itself.
	ClientKey Secret `yaml:"client_key,omitzero"`
}

// Webhook returns the settings of the endpoint with this name.
func (c *Config) Webhook(name string) (Webhook, bool) {
	at := slices.IndexFunc(c.Webhooks, func(w Webhook) bool { return w.Name == name })
	if at < 0 {
		return Webhook{}, false
	}
	return c.Webhooks[at], true
}

func (c *Config) checkWebhooks(r *report) {
	first := map[string]int{}
	for i, hook := range c.Webhooks {
		at := fmt.Sprintf("webhooks[%d]", i)
		if earlier, twice := first[hook.Name]; twice && hook.Name != "" {
			r.refuse(join(at, "name"), "%s is already the name of webhooks[%d]", show(hook.Name),
				earlier)
		} else {
			first[hook.Name] = i
		}
		checkWebhook(r, at, hook)
		c.checkBinding(r, at, hook.AppIDs)
	}
	for i, app := range c.Apps {
		c.checkOwnWebhook(r, fmt.Sprintf("apps[%d].webhook", i), app.Webhook, func(hook *Webhook) string {
			if hook.Admits(app.AppID) {
				return ""
			}
			return "does not list this app in its appids"
		})
	}
	for i, component := range c.Components {
		path := fmt.Sprintf("components[%d].authorizers.webhook", i)
		c.checkOwnWebhook(r, path, component.Authorizers.Webhook, func(hook *Webhook) string {
			if len(hook.AppIDs) == 0 {
				return ""
			}
			return "accepts only the apps in its appids, but every merchant may authorize the platform"
		})
	}
}

func checkWebhook(r *report, at string, hook Webhook) {
	checkName(r, join(at, "name"), hook.Name, tasks.NameProblem)
	if reason := wrongWebhookURL(hook); reason != "" {
		r.refuse(join(at, "url"), "%s", reason)
	}
	if len(hook.Secrets) == 0 {
		r.refuse(join(at, "secrets"), "missing; at least one is required")
	}
	for i, cidr := range hook.AllowCIDRs {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			r.refuse(fmt.Sprintf("%s.allow_cidrs[%d]", at, i),
				"must be a range such as 10.1.0.0/16, is %s", show(cidr))
		}
	}
	if hook.ClientCert.IsZero() != hook.ClientKey.IsZero() {
		r.refuse(join(at, "client_cert"), "client_cert and client_key must both be set, or neither")
	}
}

// wrongWebhookURL returns the problem with the URL of an endpoint, or "". It does not quote the
// URL, which may contain a token of the receiver.
func wrongWebhookURL(hook Webhook) string {
	u, err := url.Parse(string(hook.URL))
	switch {
	case hook.URL == "":
		return "missing"
	case err != nil || u.Hostname() == "":
		return "must be a URL such as https://example.com/hooks/cloudid"
	case u.User != nil || u.Fragment != "":
		return "must have neither user nor fragment"
	case u.Scheme == "https" || u.Scheme == "http" && len(hook.AllowCIDRs) > 0:
		return ""
	default:
		return "must be https; http is allowed only with allow_cidrs"
	}
}

func (c *Config) resolveWebhooks(r *report) {
	for i := range c.Webhooks {
		hook, at := &c.Webhooks[i], fmt.Sprintf("webhooks[%d]", i)
		resolveURL(r, join(at, "url"), hook.URL)
		for k := range hook.Secrets {
			c.resolve(r, fmt.Sprintf("%s.secrets[%d]", at, k), &hook.Secrets[k], plausible)
		}
		c.resolve(r, join(at, "client_cert"), &hook.ClientCert, notRedacted)
		c.resolve(r, join(at, "client_key"), &hook.ClientKey, notRedacted)
	}
}
