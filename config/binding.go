package config

import (
	"errors"
	"fmt"
	"slices"

	"cloudidq/tasks"
)

// Why a request may not name an endpoint. The texts go behind its name, or the field's.
var (
	errNoWebhook    = errors.New("is not among the webhooks of the configuration")
	errOtherApps    = errors.New("is a webhook of other apps (webhooks[].appids)")
	errNotForTheKey = errors.New("is neither the app's own webhook nor one that lists the app under webhooks[].appids; a key of some apps may name no other")
)

// Admits reports whether results of an app may be sent to the endpoint.
func (w *Webhook) Admits(appID string) bool {
	return len(w.AppIDs) == 0 || slices.Contains(w.AppIDs, appID)
}

// MayName says why the results of an app may not go to the endpoint of a name; nil = they may, as they may to none. It is
// the one rule for all that names an endpoint. A limited caller reaches some apps alone, and so sends nothing to endpoints
// that take the results of every app, unless that is the app's own; it does not learn which names there are.
func (c *Config) MayName(appID, name string, limited bool) error {
	if name == "" {
		return nil
	}
	hook, found := c.Webhook(name)
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

// ownWebhook is where results of an app go that name no endpoint; empty = nowhere, or not to be said without the worker,
// which knows whose merchant an app is.
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

// checkBinding holds the apps of an endpoint against those that are served.
func (c *Config) checkBinding(r *report, at string, appIDs []string) {
	first := map[string]int{}
	for i, id := range appIDs {
		path := fmt.Sprintf("%s.appids[%d]", at, i)
		earlier, twice := first[id]
		switch {
		case twice && id != "":
			r.refuse(path, "%s stands in appids[%d] already", show(id), earlier)
			continue
		case tasks.ValidAppID(id) && !c.Serves(id):
			r.refuse(path, "%s is the appid of none of apps", show(id))
		default:
			checkAppID(r, path, id)
		}
		first[id] = i
	}
}

// checkOwnWebhook holds the endpoint of apps against those that there are; wrong says why one that there is does not do.
func (c *Config) checkOwnWebhook(r *report, path, name string, wrong func(*Webhook) string) {
	if name == "" {
		return
	}
	hook, found := c.Webhook(name)
	if !found {
		r.refuse(path, "%s is the name of none of webhooks", show(name))
	} else if reason := wrong(&hook); reason != "" {
		r.refuse(path, "%s %s", show(name), reason)
	}
}
