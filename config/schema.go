package config

import (
	_ "embed"
	"slices"
)

//go:generate go test . -run TestSchema_IsMadeFromTheTypes -update
//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the file, for editors. It tells the form, the bounds of numbers
// and the words; what only [Load] can check (bounds of durations, unique appids, the forms of URLs) it leaves to it.
func Schema() []byte { return slices.Clone(schema) }
