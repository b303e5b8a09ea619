package worker

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// atOnce is how many tests run at the same time. Most of them wait, for a task to come due or
// for a pause to end.
const atOnce = "8"
