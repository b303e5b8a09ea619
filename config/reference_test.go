package config_test

import (
	"bytes"
	"strings"
	"testing"

	"cloudidq/config"
)

// docs/configuration.md is up to date and describes every setting.
func TestReference(t *testing.T) {
	got, err := config.MakeReference()
	if err != nil {
		t.Fatal(err)
	}
	checkGenerated(t, "../docs/configuration.md", got)
	// Every setting must have a comment.
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
