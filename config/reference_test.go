package config_test

import (
	"bytes"
	"strings"
	"testing"

	"cloudidq/config"
)

// docs/configuration.md is what the code says.
func TestReference(t *testing.T) {
	got, err := config.MakeReference()
	if err != nil {
		t.Fatal(err)
	}
	isMade(t, "../docs/configuration.md", got)
	// Every line says something, and no setting is left out.
	for line := range strings.Lines(string(got)) {
		if strings.HasPrefix(line, "- ") && strings.HasSuffix(line, ": \n") {
			t.Errorf("no comment: %s", line)
		}
	}
	for _, setting := range []string{"redis.url", "store.keyset", "cloudid_lifetime", "apps[].token.mode", "apps[].batch_max",
		"components[].authorizers.group_by", "webhooks[].allow_cidrs", "api.keys[].scopes", "CLOUDIDQ_WORKER_CONCURRENCY"} {
		if !bytes.Contains(got, []byte("`"+setting+"`")) {
			t.Errorf("%s is not described", setting)
		}
	}
}
