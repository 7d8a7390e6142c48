// Package testkit is for tests: a backend that behaves badly, and checks that nothing was left behind.
package testkit

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main runs a package's tests and then looks for goroutines that they left.
func Main(m *testing.M) { goleak.VerifyTestMain(m) }

// Clean checks, when the test ends, that it has left no goroutine and no open file.
func Clean(t testing.TB) {
	t.Helper()
	time.Sleep(time.Nanosecond) // the first timer opens the runtime's poller, which stays open
	ignore := goleak.IgnoreCurrent()
	files := openFiles()
	t.Cleanup(func() {
		goleak.VerifyNone(t, ignore)
		for range 100 {
			if openFiles() <= files {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		if files > 0 {
			t.Errorf("%d files are open, %d were before", openFiles(), files)
		}
	})
}

// openFiles counts this process's descriptors; 0 where that cannot be known.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
