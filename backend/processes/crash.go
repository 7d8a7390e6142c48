package processes

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/board"
)

// errClosed is why a worker is killed that has closed its end of the link and does not end.
var errClosed = errors.New("it closed its end of the link")

// finalError is why a worker could not start, which another could not either.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// death says how the worker has ended, which it has, in the words that are left of it.
func (w *process) death() error {
	w.mu.Lock()
	cause := w.cause
	w.mu.Unlock()
	if c, ok := cause.(*backend.CrashError); ok {
		c.Stderr = last(w.stderr.String())
		return c
	}
	if _, bad := cause.(*forgedError); cause != nil && !bad && cause != errClosed {
		return cause
	}
	e := &backend.CrashError{PID: w.proc.Pid, Err: cause, Stderr: w.stderr.String(), Trace: w.trace()}
	e.ExitCode, e.Signal, e.Reason = w.how()
	if cause == errClosed && e.Signal != "killed" {
		cause, e.Err = nil, nil // it was about to end by itself
	}
	words := w.lastWords(e)
	switch {
	case cause != nil:
		e.Reason = cause.Error()
	case outOfMemory(e.Stderr+e.Trace, e.Trace) || w.pool.MemoryLimit > 0 && refused(e.Trace):
		e.Err = backend.ErrMemory
	case !w.arrived && e.Signal != "":
		words += " before it got to parallel.Main"
	case !w.arrived:
		words = " before it got to parallel.Main; is that the first line of main, and of TestMain?"
	case !w.ready:
		words += " in Init"
	}
	if cause == nil {
		e.Reason += words
	}
	e.Stderr = last(e.Stderr)
	return e
}

// lastWords moves what the runtime has said from e.Stderr to e.Trace, and returns it in one line. It says most of it
// twice, but for the first words of what it calls a fatal error.
func (w *process) lastWords(e *backend.CrashError) string {
	trace := strings.TrimLeft(e.Trace, "\n")
	if trace == "" {
		return ""
	}
	why := firstOf(trace)
	if at := strings.Index(e.Stderr, why); at >= 0 {
		e.Stderr = e.Stderr[:at]
		for _, begin := range []string{"fatal error: ", "unexpected fault address ", "panic: ", "runtime: ", "SIG"} {
			if i := strings.LastIndex("\n"+e.Stderr, "\n"+begin); i >= 0 {
				e.Trace, e.Stderr = e.Stderr[i:]+e.Trace, e.Stderr[:i]
				why = firstOf(e.Trace)
				if fatal := strings.Index(e.Trace, "fatal error: "); begin == "runtime: " && fatal >= 0 {
					why = firstOf(e.Trace[fatal:])
				}
			}
		}
	}
	return ": " + why
}

// last returns the end of what a worker has written to stderr.
func last(stderr string) string {
	const most = 8 << 10
	return strings.ToValidUTF8(stderr[max(0, len(stderr)-most):], "")
}

// forgedError is what is wrong with the messages of a worker.
type forgedError struct{ err error }

func (e *forgedError) Error() string { return "it sent what no worker sends: " + e.err.Error() }
func (e *forgedError) Unwrap() error { return e.err }

func forged(format string, args ...any) error { return &forgedError{fmt.Errorf(format, args...)} }

// trace is what the runtime has written when it ended the worker.
func (w *process) trace() string {
	words := bytes.Clone(w.mem[board.CrashAt:])
	if end := bytes.IndexByte(words, 0); end >= 0 {
		words = words[:end]
	}
	return strings.ToValidUTF8(string(words), "\uFFFD")
}

// firstOf returns the first line of a trace, by which it can be found again.
func firstOf(trace string) string {
	line, _, _ := strings.Cut(trace, "\n")
	return line
}

// outOfMemory reports whether the runtime has ended the worker because there was no more memory.
func outOfMemory(stderr, trace string) bool {
	for _, words := range []string{"runtime: out of memory", "ThreadSanitizer: out of memory", "ThreadSanitizer failed to allocate", "runtime: cannot allocate memory", "runtime: VirtualAlloc of ", "cannot allocate heap metadata", "failed to reserve page summary memory"} {
		if strings.Contains(stderr, words) {
			return true
		}
	}
	return strings.Contains(trace, "runtime.throw") &&
		(strings.Contains(trace, "runtime.sysMap") || strings.Contains(trace, "runtime.persistentalloc") || strings.Contains(trace, "runtime.(*mheap).grow"))
}

// refused reports whether the runtime has met a nil pointer of its own: the garbage collector does not look whether the
// memory that it asks for is given to it.
func refused(trace string) bool {
	head, goroutine, ok := strings.Cut(trace, "\ngoroutine 0 ")
	_, frame, more := strings.Cut(goroutine, "\n")
	return ok && more && strings.HasPrefix(head, "SIGSEGV") && strings.Contains(head, "addr=0x0") && strings.HasPrefix(frame, "runtime.")
}

// gone tells the run that its worker has ended.
func (c *carrier) gone() error {
	lost := &backend.Lost{Cause: c.death()}
	if final, ok := lost.Cause.(*finalError); ok {
		lost.Cause, lost.Final = final.error, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, f := range c.flights {
		if f == nil {
			continue
		}
		fate := backend.Fate{Batch: f.id, Began: f.limit}
		if st, ok := c.slots[i].Look(f.gen); ok && !f.wrong {
			fate.Began = max(f.begun, min(st.Begun, f.limit))
		}
		lost.Batches = append(lost.Batches, fate)
	}
	return lost
}
