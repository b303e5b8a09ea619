package pgtest

// Binaries is where the server is looked for.
var Binaries = binaries
