package monitoring

// The tests check what these functions redact.
var (
	Mask            = mask
	DescribePayload = describePayload
)
