package processes_test

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/backendtest"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/internal/testkit"
)

// atEnd removes what the tests share.
var atEnd = func() {}

// registered is what the workers of these tests know; each file adds its own.
var registered []any

func TestMain(m *testing.M) {
	parallel.Main(registered...)
	// Else the race detector keeps each worker for a second at its end.
	os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		atEnd()
		os.Exit(code)
	}))
}

func TestProcessesKeepTheContract(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(processes.CloseIdleWorkers)
	backendtest.Exercise(t, processes.New(processes.Options{}))
}
