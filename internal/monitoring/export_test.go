package monitoring

// What the tests see of what is left out.
var (
	Mask            = mask
	DescribePayload = describePayload
)
