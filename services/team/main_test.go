package team

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/internal/hubtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		hubtest.Cleanup()
		os.Exit(code)
	}))
}
