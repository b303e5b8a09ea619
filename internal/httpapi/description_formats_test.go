package httpapi_test

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// openAPIFormats holds the number formats that OpenAPI adds to those of JSON Schema.
var openAPIFormats = []*jsonschema.Format{
	{Name: "int32", Validate: func(v any) error { return whole(v, 32) }},
	{Name: "int64", Validate: func(v any) error { return whole(v, 64) }},
	{Name: "double", Validate: func(v any) error {
		n, ok := v.(json.Number)
		if !ok {
			return nil // the schema checks the type
		}
		_, err := strconv.ParseFloat(n.String(), 64)
		return err
	}},
}

// whole returns nil if v is an integer with at most the given number of bits, or no number at all.
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
