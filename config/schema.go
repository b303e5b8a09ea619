package config

import (
	_ "embed"
	"slices"
)

//go:generate go test . -run TestSchema_IsUpToDate -update
//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the file, for editors. The schema covers the
// structure, the limits of numbers and the accepted words. Only [Load] checks the limits of
// durations, the uniqueness of appids and the form of URLs.
func Schema() []byte { return slices.Clone(schema) }
