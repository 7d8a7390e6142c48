//go:build !unix && !windows

package processes

import (
	"fmt"
	"runtime"
)

// spawn starts nothing: the rest of this file is never called.
func (w *process) spawn([]string) error {
	return fmt.Errorf("worker processes need Linux, macOS, Windows or a BSD, and this is %s; use Prefer(Threads), which runs on goroutines", runtime.GOOS)
}

func (w *process) release() {}

func (w *process) killGroup() {}

func (w *process) awaitExit() {}

func (w *process) how() (code int, signal, reason string) {
	return -1, "", "it is not known how it ended"
}

func (w *process) resident() int64 { return 0 }

// ExitCode is the status it ended with, -N where signal N has ended it; once it has ended.
func (w *process) ExitCode() int {
	return -1
}
