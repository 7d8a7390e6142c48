package threads_test

import (
	"testing"

	"github.com/gojoblib/parallel/backend/backendtest"
	"github.com/gojoblib/parallel/backend/threads"
	"github.com/gojoblib/parallel/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestThreadsKeepTheContract(t *testing.T) {
	testkit.Clean(t)
	backendtest.Exercise(t, threads.Backend{})
}
