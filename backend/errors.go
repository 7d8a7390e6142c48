package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The sentinels of a run. They are matched with errors.Is, also after crossing to another process and back.
var (
	// ErrTimeout is inside the TaskError of a call that ran longer than its Timeout. It is context.DeadlineExceeded, too.
	ErrTimeout error = timeoutError{}
	// ErrMemory is inside the CrashError of a worker that ended because it had used up its memory.
	ErrMemory = errors.New("memory limit exceeded")
	// ErrGoexit is inside the TaskError of a call that ended its goroutine with runtime.Goexit instead of returning.
	ErrGoexit = errors.New("the task called runtime.Goexit (t.FailNow and t.Skip do) instead of returning")
	// ErrNotRun says that some calls were never started: something ended the run before their turn.
	ErrNotRun = errors.New("not run")
	// ErrClosed is the answer to work that is handed to a pool that was closed, or has ended.
	ErrClosed = errors.New("the pool is closed")
)

type timeoutError struct{}

func (timeoutError) Error() string        { return "timed out" }
func (timeoutError) Timeout() bool        { return true }
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// maxPrinted is how many failures RunError.Error spells out.
const maxPrinted = 25

// RunError is what a run that did not go well returns, for one failure as for a thousand; it is never returned empty.
//
// errors.Is and errors.As look into every failed task and into Cause; errors.Is(err, ErrNotRun) tells whether any task
// was left out.
type RunError struct {
	Failed  []*TaskError // the tasks that failed, in index order
	NotRun  int          // how many tasks were never started, those that could not be among them; of a stream, of those drawn
	Cut     int          // how many were started, and ended without a result only because the run was stopped
	Cause   error        // what ended the run besides its tasks (a cancelled context, a faulty option, a backend that cannot start), or nil
	Missing []Range      // the tasks without a result: failed, not run or cut short, in order; not kept for streams
}

// Range is the tasks from Lo up to, and without, Hi.
type Range struct{ Lo, Hi int }

// Unwrap returns the failed tasks, each a *TaskError, in index order.
func (e *RunError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f
	}
	return errs
}

// Is reports whether target is ErrNotRun and tasks were not run, or is found in Cause.
func (e *RunError) Is(target error) bool {
	return target == ErrNotRun && e.NotRun > 0 || e.Cause != nil && errors.Is(e.Cause, target)
}

// As looks for target's type in Cause; the failed tasks are reached through Unwrap.
func (e *RunError) As(target any) bool { return e.Cause != nil && errors.As(e.Cause, target) }

// Error spells out the first 25 failures, a line each, and counts the others.
func (e *RunError) Error() string { return prefix + e.text(plain) }

// Format prints the stacks of panics, too, for the verb %+v.
func (e *RunError) Format(s fmt.State, verb rune) {
	format(s, verb, e, func() string { return prefix + e.text(withStacks) })
}

func (e *RunError) text(show func(error) string) string {
	var parts []string
	if e.Cause != nil {
		parts = append(parts, strings.ReplaceAll(show(e.Cause), "\n", "\n\t"))
	}
	switch len(e.Failed) {
	case 0:
	case 1:
		parts = append(parts, e.Failed[0].text(show))
	default:
		lines := []string{fmt.Sprintf("%d tasks failed:", len(e.Failed))}
		for i, f := range e.Failed {
			if i == maxPrinted {
				lines = append(lines, fmt.Sprintf("and %d more", len(e.Failed)-maxPrinted))
				break
			}
			lines = append(lines, f.text(show))
		}
		parts = append(parts, strings.Join(lines, "\n\t"))
	}
	text := strings.Join(parts, "; ")
	between := "; "
	if strings.Contains(text, "\n") {
		between = "\n\t"
	}
	for _, rest := range []string{count(e.NotRun, "not run"), count(e.Cut, "cut short")} {
		if rest != "" {
			text += between + rest
		}
	}
	return strings.TrimPrefix(text, "; ")
}

func count(n int, what string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 task was " + what
	}
	return fmt.Sprintf("%d tasks were %s", n, what)
}

// TaskError is the failure of one task.
type TaskError struct {
	Index    int    // the task's number in its run, or among a pool's single calls, from 0; -1: no pool has taken it
	Name     string // its Named name, else the function's full name
	Site     string // file:line of the Delayed, known for misuse only
	Args     string // its arguments, shortened
	Attempts int    // how often it was started; 0 when it never was (misuse, an argument that cannot be sent)
	Err      error  // what the function returned, or a *PanicError, ErrGoexit, ErrTimeout, a *CrashError, ...
	Capsule  string // the file that replays it, where the run has Capsules
}

func (e *TaskError) Unwrap() error { return e.Err }

// Error says which task failed, with what arguments and why.
func (e *TaskError) Error() string { return prefix + e.text(plain) }

// Format prints the stack of a panic, too, for the verb %+v.
func (e *TaskError) Format(s fmt.State, verb rune) {
	format(s, verb, e, func() string { return prefix + e.text(withStacks) })
}

func (e *TaskError) text(show func(error) string) string {
	var b strings.Builder
	if e.Index < 0 {
		b.WriteString("a call")
	} else {
		fmt.Fprintf(&b, "task %d", e.Index)
	}
	what := e.Name
	if e.Args != "" {
		what += "(" + e.Args + ")"
	}
	if e.Site != "" {
		what = strings.TrimSuffix(e.Site+", "+what, ", ")
	}
	if what != "" {
		b.WriteString(" (" + what + ")")
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, ", attempt %d", e.Attempts)
	}
	b.WriteString(": ")
	if e.Err != nil {
		b.WriteString(show(e.Err))
	}
	if e.Capsule != "" {
		fmt.Fprintf(&b, " (replay: PARALLEL_REPLAY=%s)", e.Capsule)
	}
	return b.String()
}

// PanicError is a panic of a task, caught on its worker.
type PanicError struct {
	Value any    // what was given to panic; in another process it came as itself where it could be sent, else as text
	Stack []byte // the panicking goroutine's stack, as debug.Stack prints it
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value given to panic when it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Format prints the stack, too, for the verb %+v.
func (e *PanicError) Format(s fmt.State, verb rune) {
	format(s, verb, e, func() string { return e.Error() + "\n" + string(e.Stack) })
}

// CrashError tells how a worker ended while it had, or may have had, a call in its hands. That call may have run in part.
type CrashError struct {
	PID, ExitCode int    // of a worker process; ExitCode is -1 when a signal ended it
	Signal        string // "killed", "segmentation fault", ...; empty when it exited
	Reason        string // "signal: killed", "exit status 3", "connection lost"
	Stderr        string // the tail of the worker's stderr, where it was captured
	Trace         string // the Go runtime's own crash report, where there is one
	Err           error  // ErrMemory when memory was the reason, or what else the backend knows
}

func (e *CrashError) Error() string {
	s := "its worker ended with " + e.Reason
	if e.Err != nil && e.Err.Error() != e.Reason {
		s += ": " + e.Err.Error()
	} else if e.Err == nil && e.Signal == "killed" {
		s += " (often out of memory)"
	}
	s += "; it may have run in part"
	if e.Stderr != "" {
		s += fmt.Sprintf("; stderr ends: %q", lastOf(e.Stderr, 200))
	}
	return s
}

// lastOf returns the end of s, n bytes at most, and whole lines where there are some.
func lastOf(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	if _, lines, ok := strings.Cut(s, "\n"); ok && lines != "" {
		return lines
	}
	return strings.ToValidUTF8(s, "")
}

// Unwrap returns Err.
func (e *CrashError) Unwrap() error { return e.Err }

// Format prints the runtime's crash report, too, for the verb %+v.
func (e *CrashError) Format(s fmt.State, verb rune) {
	format(s, verb, e, func() string { return e.Error() + "\n" + e.Trace })
}

// Failures returns the failed tasks of the run, or of the runs, whose error err is or wraps, each run's in index
// order; nil when there is none. It does not look into the tasks: what a task returned may be another run's error.
func Failures(err error) []*TaskError {
	switch e := err.(type) {
	case *RunError:
		return e.Failed
	case *TaskError:
		return []*TaskError{e}
	case interface{ Unwrap() error }:
		return Failures(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*TaskError
		for _, one := range e.Unwrap() {
			all = append(all, Failures(one)...)
		}
		return all
	}
	return nil
}

// prefix stands once before what a caller prints; an error of a nested run loses it inside the outer one.
const prefix = "parallel: "

// plain is an error's text, even when its methods panic: fmt sees to that.
func plain(err error) string { return strings.TrimPrefix(fmt.Sprint(err), prefix) }

func withStacks(err error) string { return strings.TrimPrefix(fmt.Sprintf("%+v", err), prefix) }

// format prints err for the verbs of fmt: %+v in full, everything else as its text.
func format(s fmt.State, verb rune, err error, full func() string) {
	switch {
	case verb == 'v' && s.Flag('+'):
		_, _ = io.WriteString(s, full())
	case verb == 'q':
		fmt.Fprintf(s, "%q", err.Error())
	default:
		_, _ = io.WriteString(s, err.Error())
	}
}
