package config_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudidq/config"
)

// docs/configuration.md is what the code says.
func TestReference(t *testing.T) {
	const file = "../docs/configuration.md"
	got, err := config.Reference()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/configuration.md is out of date; -update writes it (-file +code):\n%s", diff)
	}
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
