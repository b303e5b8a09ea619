package httpapi_test

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/openapi.yaml anew")

// docs/openapi.yaml is what the server says of itself.
func TestOpenAPI_IsCommitted(t *testing.T) {
	const path = "../../docs/openapi.yaml"
	b := newBed(t)
	got := b.call("GET", "/openapi.yaml", "")
	if *update {
		if err := os.WriteFile(path, []byte(got.body), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.body); diff != "" {
		t.Errorf("docs/openapi.yaml differs, run with -update if that is meant (-want +got):\n%s", diff)
	}
	if json := b.call("GET", "/openapi.json", ""); json.status != 200 {
		t.Errorf("answer = %d %s", json.status, json.body)
	}
}
