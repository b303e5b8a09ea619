package config

import (
	"errors"
	"fmt"
	"slices"

	"cloudidq/tasks"
)

// The reasons why a request may not name an endpoint. The texts follow the endpoint's name or
// the field's name.
var (
	errNoWebhook    = errors.New("is not among the webhooks of the configuration")
	errOtherApps    = errors.New("does not accept results of this app (webhooks[].appids)")
	errNotForTheKey = errors.New("is neither the app's own webhook nor one that lists the app in " +
		"webhooks[].appids; the key is limited to these")
)

// Admits reports whether results of an app may be sent to the endpoint.
func (w *Webhook) Admits(appID string) bool {
	return len(w.AppIDs) == 0 || slices.Contains(w.AppIDs, appID)
}

// MayName returns the reason why results of an app may not go to the endpoint name, or nil if
// they may. An empty name is always allowed. Everything that accepts an endpoint's name uses
// this rule.
//
// A limited caller may access only some apps. It may name an endpoint for the results of every
// app only if that endpoint is the app's own. Its error does not reveal which endpoints exist.
func (c *Config) MayName(appID, name string, limited bool) error {
	if name == "" {
		return nil
	}
	hook, found := c.Webhook(name)
	// bound means that the endpoint lists the app itself.
	bound := found && slices.Contains(hook.AppIDs, appID)
	switch {
	case bound || found && hook.Admits(appID) && (!limited || name == c.ownWebhook(appID)):
		return nil
	case limited:
		return errNotForTheKey
	case !found:
		return errNoWebhook
	default:
		return errOtherApps
	}
}

// ownWebhook returns the default endpoint for the results of an app. It returns "" if there is
// none. It also returns "" if the platforms have different endpoints, because only the worker
// knows which platform an app belongs to.
func (c *Config) ownWebhook(appID string) string {
	if app, listed := c.App(appID); listed {
		return app.Webhook
	}
	if len(c.Components) == 0 {
		return ""
	}
	own := c.Components[0].Authorizers.Webhook
	for _, component := range c.Components {
		if component.Authorizers.Webhook != own {
			return ""
		}
	}
	return own
}

// checkBinding checks the appids of an endpoint, which must be apps that are served.
func (c *Config) checkBinding(r *report, at string, appIDs []string) {
	first := map[string]int{}
	for i, id := range appIDs {
		path := fmt.Sprintf("%s.appids[%d]", at, i)
		earlier, twice := first[id]
		switch {
		case twice && id != "":
			r.refuse(path, "%s is already listed in appids[%d]", show(id), earlier)
			continue
		case tasks.ValidAppID(id) && !c.Serves(id):
			r.refuse(path, "%s is not the appid of any of apps", show(id))
		default:
			checkAppID(r, path, id)
		}
		first[id] = i
	}
}

// checkOwnWebhook checks that name is an existing webhook. wrong returns the reason why an
// existing one is not suitable, or "".
func (c *Config) checkOwnWebhook(r *report, path, name string, wrong func(*Webhook) string) {
	if name == "" {
		return
	}
	hook, found := c.Webhook(name)
	if !found {
		r.refuse(path, "%s is not the name of any of webhooks", show(name))
	} else if reason := wrong(&hook); reason != "" {
		r.refuse(path, "%s %s", show(name), reason)
	}
}
