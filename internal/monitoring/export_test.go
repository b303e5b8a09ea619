package monitoring

// These functions are exported so that the tests can check what they redact.
var (
	Mask            = mask
	DescribePayload = describePayload
)
