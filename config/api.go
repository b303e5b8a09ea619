package config

import (
	"errors"
	"fmt"
	"slices"
)

// scopes are what [APIKey.Scopes] may hold.
var scopes = []string{"resolve", "read", "erase", "admin"}

func (c *Config) checkAPI(r *report) {
	if reason := wrongListen(c.API.Listen, len(c.API.Keys) > 0); reason != "" {
		r.refuse("api.listen", "%s", reason)
	}
	first := map[string]int{}
	for i, key := range c.API.Keys {
		at := fmt.Sprintf("api.keys[%d]", i)
		if earlier, twice := first[key.Name]; twice && key.Name != "" {
			r.refuse(join(at, "name"), "%s is the name of api.keys[%d] already", show(key.Name), earlier)
		} else {
			first[key.Name] = i
		}
		checkAPIKey(r, at, key)
	}
}

func checkAPIKey(r *report, at string, key APIKey) {
	if key.Name == "" {
		r.refuse(join(at, "name"), "missing")
	}
	if key.Secret.IsZero() {
		r.refuse(join(at, "secret"), "missing")
	}
	if len(key.Scopes) == 0 {
		r.refuse(join(at, "scopes"), "missing; must be some of %s", alternatives(scopes))
	}
	for i, scope := range key.Scopes {
		if !slices.Contains(scopes, scope) {
			r.refuse(fmt.Sprintf("%s.scopes[%d]", at, i), "must be %s, is %s", alternatives(scopes), show(scope))
		}
	}
	for i, id := range key.AppIDs {
		checkAppID(r, fmt.Sprintf("%s.appids[%d]", at, i), id)
	}
}

// minKey is less than what any generator of keys makes, and more than what a person thinks up.
const minKey = 16

// apiKey refuses what is too short to be a key. Its error does not quote it.
func apiKey(text string) error {
	if len(text) < minKey {
		return errors.New("must have at least 16 characters; openssl rand -hex 32 makes a good one")
	}
	return plausible(text)
}
