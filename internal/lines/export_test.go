package lines

// Exports for the tests that compare the ways to parse a line.
var (
	ParsePlain = parsePlain
	ParseAny   = parseAny
	ParseJSON  = parseJSON
	SplitCSV   = splitCSV
)
