package parallel

import "github.com/gojoblib/parallel/backend"

// The errors of a run. They are defined in package backend, which all layers share: see there for their fields and
// methods, as in go doc github.com/gojoblib/parallel/backend.RunError.
type (
	RunError   = backend.RunError   // what a run that did not go well returns
	TaskError  = backend.TaskError  // the failure of one task
	PanicError = backend.PanicError // a panic of a task, caught on its worker
	CrashError = backend.CrashError // how a worker ended with a task in its hands
)

// Sentinels, for errors.Is.
var (
	ErrTimeout = backend.ErrTimeout // a task ran longer than its Timeout; it is context.DeadlineExceeded, too
	ErrMemory  = backend.ErrMemory  // inside a CrashError: the worker had used up its memory
	ErrGoexit  = backend.ErrGoexit  // a task ended its goroutine with runtime.Goexit instead of returning
	ErrNotRun  = backend.ErrNotRun  // tasks were never started
	ErrClosed  = backend.ErrClosed  // work was handed to a pool that was closed, or has ended
)

// Failures returns every failed task in err, in index order; nil when there is none.
func Failures(err error) []*TaskError { return backend.Failures(err) }
