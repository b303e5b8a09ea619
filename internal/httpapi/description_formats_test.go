package httpapi_test

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// openAPIFormats are the formats of numbers that OpenAPI has beyond those of JSON Schema.
var openAPIFormats = []*jsonschema.Format{
	{Name: "int32", Validate: func(v any) error { return whole(v, 32) }},
	{Name: "int64", Validate: func(v any) error { return whole(v, 64) }},
	{Name: "double", Validate: func(v any) error {
		n, ok := v.(json.Number)
		if !ok {
			return nil // which type it has is asserted elsewhere
		}
		_, err := strconv.ParseFloat(n.String(), 64)
		return err
	}},
}

// whole is nil for an integer of so many bits, and for what is no number.
func whole(v any, bits int) error {
	n, ok := v.(json.Number)
	if !ok {
		return nil
	}
	if _, err := strconv.ParseInt(n.String(), 10, bits); err != nil {
		return fmt.Errorf("not an integer of %d bits", bits)
	}
	return nil
}
