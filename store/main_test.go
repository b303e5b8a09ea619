package store_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"

	"cloudidq/internal/pgtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(pgtest.Main(m))
}

// atOnce is how many tests run at once. Most of them wait for a server, and some for a record to
// expire.
const atOnce = "8"
