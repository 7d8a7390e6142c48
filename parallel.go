package parallel

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/dispatch"
)

// Runner runs tasks and returns their results in the order of the tasks. A task without a result, one that failed and
// one that was not run leave nil in their places; the error, when there is one, is a *RunError that tells which.
//
// It blocks until every task that was started has ended, but for those abandoned after a Timeout. It may be called
// again, and by several goroutines at once: each call is a run of its own.
type Runner func(tasks ...Task) ([]any, error)

// Parallel returns a Runner with n workers: joblib's Parallel(n_jobs=n)(...).
//
//	cubes, err := Parallel(4)(Each(cube, xs)...)
//
// Without KeepGoing the first failure stops it: no further task is started, the contexts of those running end, and
// what has been computed is returned beside the error. Faults of the options and of the tasks (a Delayed with the
// wrong number of arguments) are all reported together, before anything has run.
func Parallel[N int | NJobs](n N, opts ...Option) Runner {
	c := &config{caller: "Parallel", accepts: optEverywhere | optContext | optKeepGoing, ctx: context.Background(), n: NJobs(n)}
	configure(c, opts)
	return c.tasks
}

func (c *config) tasks(tasks ...Task) ([]any, error) {
	spec, err := c.spec()
	if err == nil {
		if e := misuse(tasks); e != nil {
			w := &array[Task, any]{lane: taskLane, in: tasks, out: make([]any, len(tasks))}
			return w.out, dispatch.Refuse(spec, w, len(tasks), e)
		}
	}
	w := &array[Task, any]{lane: taskLane, in: tasks, out: make([]any, len(tasks))}
	w.recall(c, &spec)
	return w.out, w.do(c, spec, err)
}

// misuse reports every task that cannot run, all at once; nil when there is none.
func misuse(tasks []Task) *RunError {
	if faults.Load() == 0 && !slices.ContainsFunc(tasks, func(t Task) bool { return t.call == nil }) {
		return nil // there is none in the whole program
	}
	var failed []*TaskError
	for i, t := range tasks {
		var d declared
		if err := t.fault(&d); err != nil {
			failed = append(failed, &TaskError{Index: i, Name: d.label(), Site: d.site, Err: err})
		}
	}
	if failed == nil {
		return nil
	}
	return &RunError{Failed: failed, NotRun: len(tasks), Missing: []backend.Range{{Lo: 0, Hi: len(tasks)}}}
}

// array is the work of a run over a slice.
type array[A, R any] struct {
	lane[A, R]
	in   []A
	out  []R
	memo *recall // nil: every call is made
}

// recall makes the run look its calls up, if the options say so.
func (w *array[A, R]) recall(c *config, spec *dispatch.Spec) {
	if c.memo == nil {
		return
	}
	w.memo = &recall{
		memo:    c.memo,
		declare: func(i int) declared { return w.declare(w.in[i]) },
		put:     func(i int, value any) { w.out[i] = as[R](value) },
	}
	spec.Memo = w.memo
}

// do runs it, unless the options were faulty.
func (w *array[A, R]) do(c *config, spec dispatch.Spec, fault error) error {
	if fault == nil {
		var leave func()
		if leave, fault = c.join(&spec); fault == nil {
			defer leave()
		}
	}
	if fault != nil {
		return dispatch.Refuse(spec, w, len(w.in), &RunError{NotRun: len(w.in), Cause: fault, Missing: []backend.Range{{Lo: 0, Hi: len(w.in)}}})
	}
	if err := dispatch.Do(spec, w, len(w.in)); err != nil {
		return err
	}
	return nil
}

func (w *array[A, R]) Run(t *dispatch.Thread, lo, hi int) int {
	ctx, fn, in, out, stop, plain := t.Context(), w.fn, w.in[:hi], w.out[:hi], t.Stop(), t.Plain()
	if w.memo != nil {
		fn = noting(w.memo, fn)
	}
	i := lo
	for ; i < hi && !stop.Load(); i++ {
		t.Index = i
		if !plain {
			t.Begun()
		}
		r, err := fn(ctx, in[i])
		if err == nil && plain || t.Ended(err) {
			out[i] = r
		}
	}
	return i
}

func (w *array[A, R]) Name(i int) string { return w.name(&w.in[i]) }
func (w *array[A, R]) Args(i int) string { return shorten(w.declare(w.in[i]).args) }

// Fail has nothing to keep: the RunError holds the failures.
func (w *array[A, R]) Fail(int, *TaskError, time.Duration) {}

// Collect gives the results of a run their type:
//
//	cubes, err := Collect[int](Parallel(3)(tasks...))
//
// It keeps partial results beside err: what has none is R's zero value. A result that is no R is an error, too.
func Collect[R any](results []any, err error) ([]R, error) {
	out := make([]R, len(results))
	for i, result := range results {
		if r, ok := result.(R); ok {
			out[i] = r
			continue
		}
		if result == nil && (err != nil || reflect.TypeFor[R]().Kind() == reflect.Interface) {
			continue
		}
		what := "nothing"
		if result != nil {
			what = fmt.Sprintf("type %T", result)
		}
		return out, errors.Join(err, fmt.Errorf("parallel: Collect[%v]: task %d returned %s", reflect.TypeFor[R](), i, what))
	}
	return out, err
}
