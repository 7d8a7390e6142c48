package parallel

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/scope"
)

// recall is a run's access to what is known of its calls.
type recall struct {
	memo    Memoizer
	declare func(i int) declared
	put     func(i int, value any) // the result of call i in its place

	mu    sync.Mutex
	leads map[int]lead // calls that this run makes for all who wait
	fault error        // of the Memoizer, not reported yet
}

// lead is a call that is being made.
type lead struct {
	made  func(value any, took time.Duration, ok bool)
	since time.Time
}

var _ dispatch.Memo = (*recall)(nil)

// Find looks call i up. What panics in the Memoizer, or comes from it and is no result of the call, is the call's error.
func (r *recall) Find(i int, again func()) (what dispatch.Found, stop func(), err error) {
	d := r.declare(i)
	if d.err != nil {
		return dispatch.Make, nil, &dispatch.Misuse{Site: d.site, Err: d.err}
	}
	defer func() {
		if v := recover(); v != nil {
			what, stop, err = dispatch.Make, nil, broken(v)
		}
	}()
	value, hit, made, wait, err := r.memo.Lookup(d.fn, d.args)
	switch {
	case err != nil:
		return dispatch.Make, nil, err
	case hit:
		if err := fits(value, d.fn); err != nil {
			return dispatch.Make, nil, err
		}
		r.put(i, value)
		return dispatch.Hit, nil, nil
	case wait != nil:
		stop := wait(again)
		return dispatch.Wait, func() {
			defer r.caught()
			stop()
		}, nil
	case made != nil:
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.leads == nil {
			r.leads = map[int]lead{}
		}
		r.leads[i] = lead{made, time.Now()}
	}
	return dispatch.Make, nil, nil
}

// fits says what is wrong with value as the result of fn.
func fits(value, fn any) error {
	t := reflect.TypeOf(fn)
	if t.NumOut() == 0 || value == nil {
		return nil // the zero value
	}
	if got, want := reflect.TypeOf(value), t.Out(0); got != want && !got.AssignableTo(want) {
		return fmt.Errorf("the Memoizer failed: it knows a %v as the result of a function that returns %v", got, want)
	}
	return nil
}

// broken is the error of what the Memoizer has panicked with.
func broken(v any) error {
	return fmt.Errorf("the Memoizer failed: %w", &PanicError{Value: v, Stack: debug.Stack()})
}

// note keeps what call i has returned, before anybody has it who may write to it.
func (r *recall) note(i int, value any) {
	if l, ok := r.take(i); ok {
		r.tell(l, value, time.Since(l.since), true)
	}
}

// noteTook is note for a call that took so long elsewhere.
func (r *recall) noteTook(i int, value any, took time.Duration) {
	if l, ok := r.take(i); ok {
		r.tell(l, value, max(took, 1), true)
	}
}

// Made tells whoever waits that call i has ended, if its value was not noted. The error is what the Memoizer has made of
// calls so far.
func (r *recall) Made(i int, _ bool, took time.Duration) error {
	if l, ok := r.take(i); ok {
		r.tell(l, nil, took, false)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.fault
	r.fault = nil
	return err
}

// tell hands the Memoizer what has become of a call.
func (r *recall) tell(l lead, value any, took time.Duration, ok bool) {
	defer r.caught()
	l.made(value, took, ok)
}

func (r *recall) caught() {
	if v := recover(); v != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fault = broken(v)
	}
}

func (r *recall) take(i int) (lead, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.leads[i]
	delete(r.leads, i)
	return l, ok
}

// noting returns fn, which has r keep what it returns, unless the run will not take it for being late.
func noting[A, R any](r *recall, fn func(context.Context, A) (R, error)) func(context.Context, A) (R, error) {
	return func(ctx context.Context, a A) (R, error) {
		v, err := fn(ctx, a)
		if err == nil && !errors.Is(context.Cause(ctx), ErrTimeout) {
			r.note(scope.From(ctx).Index, v)
		}
		return v, err
	}
}

// as returns a value that was kept, which may be a nil of an interface type, as an R.
func as[R any](value any) (r R) {
	if value != nil {
		reflect.ValueOf(&r).Elem().Set(reflect.ValueOf(value))
	}
	return r
}
