package pgtest

// Binaries exposes binaries.
var Binaries = binaries
