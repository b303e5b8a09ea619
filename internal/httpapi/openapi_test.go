package httpapi_test

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
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

// docs/openapi.yaml is OpenAPI 3.1, by the schema of that.
func TestOpenAPI_IsValid(t *testing.T) {
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	if version := document.GetVersion(); version != "3.1.0" {
		t.Errorf("version = %s", version)
	}
	v, faults := validator.NewValidator(document)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if ok, faults := v.ValidateDocument(); !ok {
		for _, fault := range faults {
			t.Errorf("%s: %s: %v", fault.Message, fault.Reason, fault.SchemaValidationErrors)
		}
	}
}
