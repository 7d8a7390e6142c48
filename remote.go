package parallel

import (
	"reflect"
	"sync"
	"time"

	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/wire"
)

// What a run needs where workers share no memory with it: calls as bytes, and bytes as results.

// append encodes call i, which is made with *a.
func (l lane[A, R]) append(b *wire.Batch, i int, a *A) error {
	switch l.kind {
	case ofTasks:
		d := questions.Get().(*declared)
		*d = declared{asks: forBytes, batch: b, index: i}
		_, err := any(*a).(Task).ask(d)
		questions.Put(d)
		return err
	case ofFunc:
		name, err := registry.FuncName(l.fn)
		if err != nil {
			return err
		}
		return wire.AddOne(b, wire.Call{Func: name, Index: i}, a)
	}
	d := l.declare(*a)
	d.asks, d.batch, d.index = forBytes, b, i
	_, err := d.describe(d.fn, d.args...)
	return err
}

// questions are asked of every task of a run; each is used again.
var questions = sync.Pool{New: func() any { return new(declared) }}

// appendColumn encodes the calls of a typed function with as, of which the first has number i; false: it cannot.
func (l lane[A, R]) appendColumn(b *wire.Batch, i int, as []A) bool {
	if l.kind != ofFunc {
		return false
	}
	name, err := registry.FuncName(l.fn)
	return err == nil && wire.AddColumn(b, wire.Call{Func: name, Index: i}, as)
}

// read reads the result of the call that was made with *a.
func (l lane[A, R]) read(v wire.Value, a *A, out *R) error {
	if l.kind != ofTasks {
		return wire.ReadValueInto(v, out)
	}
	d := questions.Get().(*declared)
	*d = declared{asks: forResult, value: v}
	r, err := any(*a).(Task).ask(d)
	questions.Put(d)
	if err == nil {
		*any(out).(*any) = r
	}
	return err
}

// strangers returns the calls whose functions cannot be found by name.
func (l lane[A, R]) strangers(in []A) []*TaskError {
	var failed []*TaskError
	var known uintptr // the last function that can be
	d := new(declared)
	for i := range in {
		*d = declared{asks: forFunc}
		if l.kind == ofTasks {
			_, _ = any(in[i]).(Task).ask(d)
		} else {
			*d = l.declare(in[i])
		}
		fn := reflect.ValueOf(d.fn).Pointer()
		if fn == known {
			continue
		}
		if _, err := registry.FuncName(d.fn); err != nil {
			failed = append(failed, l.stranger(i, in[i], err))
			continue
		}
		if known = fn; l.kind != ofTasks {
			return nil // it is the function of all
		}
	}
	return failed
}

func (l lane[A, R]) stranger(i int, a A, err error) *TaskError {
	d := l.declare(a)
	return &TaskError{Index: i, Name: d.label(), Args: shorten(d.args), Err: err}
}

func (w *array[A, R]) Strangers() []*TaskError { return w.strangers(w.in) }

func (w *array[A, R]) Append(b *wire.Batch, i int) error { return w.append(b, i, &w.in[i]) }

func (w *array[A, R]) AppendColumn(b *wire.Batch, lo, hi int) bool {
	return w.appendColumn(b, lo, w.in[lo:hi])
}

func (w *array[A, R]) Store(i int, v wire.Value, _ int, took time.Duration) error {
	err := w.read(v, &w.in[i], &w.out[i])
	if err == nil && w.memo != nil {
		w.memo.noteTook(i, w.out[i], took)
	}
	return err
}

func (w *array[A, R]) StoreColumn(lo, hi int, r wire.ResultReader, _ int, _ time.Duration) bool {
	return w.kind == ofFunc && wire.ReadColumn(r, w.out[lo:hi])
}

func (w *belt[A, R]) Strangers() []*TaskError { return nil }

func (w *belt[A, R]) Append(b *wire.Batch, i int) error { return w.append(b, i, &w.slot(i).in) }

func (w *belt[A, R]) AppendColumn(*wire.Batch, int, int) bool { return false }

func (w *belt[A, R]) Store(i int, v wire.Value, attempt int, took time.Duration) error {
	s := w.slot(i)
	s.attempts, s.elapsed = attempt, took
	err := w.read(v, &s.in, &s.out)
	if err == nil && w.memo != nil {
		w.memo.noteTook(i, s.out, took)
	}
	return err
}

func (w *belt[A, R]) StoreColumn(int, int, wire.ResultReader, int, time.Duration) bool { return false }
