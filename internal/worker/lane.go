package worker

import (
	"context"
	"reflect"

	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/wire"
)

// lane makes the calls of one function without reflection, which takes ten times as long as a small call.
type lane interface {
	// row reads the arguments of the call under way and makes it.
	row(w *worker, j *job, args wire.Args)
	// column makes the calls of j with the values that lie in memory; false: it cannot.
	column(w *worker, j *job, first int, values []byte) bool
}

// typed is the lane of functions of one argument that return a value.
type typed[A, R any] struct {
	fn func(context.Context, A) (R, error)
}

func (l typed[A, R]) row(w *worker, j *job, args wire.Args) {
	var a A
	if err := wire.ReadOne(args, &a); err != nil {
		w.fail(j, err, wire.Refused)
		return
	}
	w.starts(j)
	r, err := l.fn(j.scope, a)
	if err = j.late(err); err != nil {
		w.fail(j, err, wire.Failed)
		return
	}
	var segs [][]byte
	took := w.took(j)
	b, err := wire.AppendResultOf(w.room(j), w.segments(&segs), j.calls.Timed, took, &r)
	w.keep(j, took, b, segs, err)
}

func (l typed[A, R]) column(w *worker, j *job, first int, values []byte) bool {
	in, ok := wire.AsColumn[A](values, j.N)
	if !ok {
		return false
	}
	w.form(j, wire.Column(reflect.TypeFor[R]()))
	if j.column == 0 {
		l.each(w, j, first, in)
		return true
	}
	answered := j.slot.Arena[:j.N]
	out, _ := wire.AsColumn[R](j.slot.Arena[board.Column(j.N):], j.N)
	var ctx context.Context = j.scope
	for {
		k, ok := j.slot.Claim(j.gen)
		if !ok {
			return true
		}
		j.k, j.idle, j.scope.Index = k, false, first+k
		r, err := l.fn(ctx, in[k])
		if err != nil {
			w.fail(j, err, wire.Failed)
			continue
		}
		out[k] = r
		answered[k] = wire.ColumnResult
		j.idle = true
		j.slot.End(j.gen, k+1, 0)
	}
}

// each answers call by call.
func (l typed[A, R]) each(w *worker, j *job, first int, in []A) {
	for {
		k, ok := w.begin(j)
		if !ok {
			return
		}
		j.scope.Index = first + k
		w.starts(j)
		r, err := l.fn(j.scope, in[k])
		if err = j.late(err); err != nil {
			w.fail(j, err, wire.Failed)
			continue
		}
		var segs [][]byte
		took := w.took(j)
		b, err := wire.AppendResultOf(w.room(j), w.segments(&segs), j.calls.Timed, took, &r)
		w.keep(j, took, b, segs, err)
	}
}

// laneOf returns the lane of a function of a common type, nil for others.
func laneOf(fn any) lane {
	for _, make := range lanes {
		if l := make(fn); l != nil {
			return l
		}
	}
	return nil
}

var lanes = []func(any) lane{
	laneTo[int], laneTo[string], laneTo[float64], laneTo[int64], laneTo[[]byte], laneTo[[]float64],
}

func laneTo[A any](fn any) lane {
	for _, make := range [...]func(any) lane{
		typedLane[A, A], typedLane[A, int], typedLane[A, string], typedLane[A, float64], typedLane[A, bool], typedLane[A, []byte],
	} {
		if l := make(fn); l != nil {
			return l
		}
	}
	return nil
}

func typedLane[A, R any](fn any) lane {
	switch f := fn.(type) {
	case func(context.Context, A) (R, error):
		return typed[A, R]{f}
	case func(A) (R, error):
		return typed[A, R]{func(_ context.Context, a A) (R, error) { return f(a) }}
	case func(A) R:
		return typed[A, R]{func(_ context.Context, a A) (R, error) { return f(a), nil }}
	case func(context.Context, A) R:
		return typed[A, R]{func(ctx context.Context, a A) (R, error) { return f(ctx, a), nil }}
	}
	return nil
}
