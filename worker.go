package parallel

import (
	"context"
	"errors"
	"reflect"

	"github.com/gojoblib/parallel/internal/scope"
)

// TaskInfo is what a task can learn about itself.
type TaskInfo struct {
	Index   int    // its number in the run, from 0
	Attempt int    // counted from 1
	Name    string // its Named name, else the function's
	Seed    uint64 // depends on the run's Seed and Index only: the same wherever and whenever the task runs
}

// TaskFrom tells a task about itself, given the context it was called with; false for any other context.
//
//	rng := rand.New(rand.NewPCG(info.Seed, 0))
//
// It is for the task and what the task waits for: a goroutine that outlives its task must have asked before.
func TaskFrom(ctx context.Context) (TaskInfo, bool) {
	s := scope.From(ctx)
	if s == nil {
		return TaskInfo{}, false
	}
	return TaskInfo{s.Index, s.Attempt, s.Names.Name(s.Index), s.CallSeed()}, true
}

// Worker keeps one T for each worker. PerWorker makes them.
type Worker[T any] struct {
	open  func() (T, error)
	close func(T) error
}

// PerWorker returns a package-level variable's worth of state that tasks share as long as they run on the same worker: a
// connection, a model, an instance of a library that is not safe for concurrent use.
//
//	var pdf = parallel.PerWorker(openPDFium, closePDFium)
//
// The runs that a task starts have workers of their own in this respect: get the T before, and pass it in.
//
// open is called on a worker at its first Get, close (which may be nil) when the worker ends: at the end of the run,
// on goroutines. An error or panic of open is the task's, and the next Get tries again; one of close is the run's,
// beside all results.
func PerWorker[T any](open func() (T, error), close func(T) error) *Worker[T] {
	return &Worker[T]{open, close}
}

// errOutside is the answer to a context that no task was given.
var errOutside = errors.New("parallel: PerWorker is used outside of a task; pass the context that the task was given")

// Get returns the T of the worker that the task with this context runs on, opening it first if need be. It costs about
// 50 ns. Only the task may use it, and only until it returns.
func (w *Worker[T]) Get(ctx context.Context) (T, error) {
	var none T
	s := scope.From(ctx)
	if s == nil {
		return none, errOutside
	}
	if w.open == nil {
		return none, errors.New("parallel: PerWorker[" + reflect.TypeFor[T]().String() + "]: open is nil")
	}
	v, err := s.Locals.Get(w, func() (any, error) { return w.open() }, func(v any) error {
		if w.close == nil {
			return nil
		}
		t, _ := v.(T) // a nil interface stays nil
		return w.close(t)
	})
	if err != nil {
		return none, err
	}
	t, _ := v.(T)
	return t, nil
}

// Discard closes the T of the worker that the task with this context runs on, so that the next Get opens another: for
// a connection that broke, an instance that trapped. It returns what close returns, and nil when no T is open.
func (w *Worker[T]) Discard(ctx context.Context) error {
	s := scope.From(ctx)
	if s == nil {
		return errOutside
	}
	if close := s.Locals.Drop(w); close != nil {
		return close()
	}
	return nil
}
