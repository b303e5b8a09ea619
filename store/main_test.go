package store_test

import (
	"testing"

	"go.uber.org/goleak"

	"cloudidq/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }
