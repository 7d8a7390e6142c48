package processes

import (
	"errors"
	"runtime"
	"syscall"

	"github.com/gojoblib/parallel/backend"
)

// What parallel.Spawn does with the process of a carrier, besides giving it its call.

// PID returns its number.
func (w *process) PID() int { return w.proc.Pid }

// Released is closed when nothing of it is left.
func (w *process) Released() <-chan struct{} { return w.released }

// Terminate sends it SIGTERM; Windows has none, and kills it. Nil also when it has ended.
func (w *process) Terminate() error {
	if runtime.GOOS == "windows" {
		w.Destroy(errTerminated)
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reaped {
		return nil
	}
	return w.proc.Signal(syscall.SIGTERM)
}

var errTerminated = errors.New("Terminate was called")

// Destroy kills it, and what it has started, because of cause.
func (w *process) Destroy(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.reaped {
		w.killed(&backend.CrashError{PID: w.proc.Pid, ExitCode: -1, Signal: "killed", Reason: "signal: killed", Err: cause})
	}
}
