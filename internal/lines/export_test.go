package lines

// For tests of the two ways to read a line, which must agree.
var (
	ParsePlain = parsePlain
	ParseAny   = parseAny
	ParseJSON  = parseJSON
	SplitCSV   = splitCSV
)
