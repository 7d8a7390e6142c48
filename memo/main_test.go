package memo_test

import (
	"os"
	"testing"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
)

func TestMain(m *testing.M) {
	parallel.Main(count, ends, logged, errBoom)
	if os.Getenv("MEMO_TEST_DIR") != "" {
		share()
	}
	testkit.Main(m)
}
