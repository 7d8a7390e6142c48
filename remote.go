package parallel

import (
	"fmt"
	"reflect"
	"time"

	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/wire"
	"github.com/samber/lo"
)

// What a run needs where workers share no memory with it: calls as bytes.

// append encodes the call.
func (d declared) append(b []byte, i, attempt int, seed uint64) ([]byte, error) {
	if d.err != nil {
		return b, &dispatch.Misuse{Site: d.site, Err: d.err}
	}
	name, err := registry.FuncName(d.fn)
	if err != nil {
		return b, err
	}
	c := wire.Call{Func: name, Name: d.name, Index: i, Attempt: attempt, Seed: seed}
	return wire.AppendCall(b, c, reflect.TypeOf(d.fn), d.args)
}

// strangers returns the calls whose functions cannot be found by name.
func strangers[A any](in []A, declare func(A) declared) []*TaskError {
	return lo.FilterMap(in, func(a A, i int) (*TaskError, bool) {
		d := declare(a)
		_, err := registry.FuncName(d.fn)
		if err == nil {
			return nil, false
		}
		return &TaskError{Index: i, Name: d.label(), Args: shorten(d.args), Err: err}, true
	})
}

// read decodes a result of the call into out, which is a value of the function's result type or an any.
func (d declared) read(b []byte, out any) error {
	t := reflect.TypeOf(d.fn)
	if !signatureOf(t).value {
		return nil
	}
	v, rest, err := wire.ReadValue(b, t.Out(0))
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes too many", len(rest))
	}
	reflect.ValueOf(out).Elem().Set(v)
	return nil
}

func (w *array[A, R]) Strangers() []*TaskError { return strangers(w.in, w.declare) }

func (w *array[A, R]) Append(b []byte, i, attempt int, seed uint64) ([]byte, error) {
	return w.declare(w.in[i]).append(b, i, attempt, seed)
}

func (w *array[A, R]) Store(i int, b []byte, _ int, _ time.Duration) error {
	return w.declare(w.in[i]).read(b, &w.out[i])
}

func (w *belt[A, R]) Strangers() []*TaskError { return nil }

func (w *belt[A, R]) Append(b []byte, i, attempt int, seed uint64) ([]byte, error) {
	return w.declare(w.slot(i).in).append(b, i, attempt, seed)
}

func (w *belt[A, R]) Store(i int, b []byte, attempt int, took time.Duration) error {
	s := w.slot(i)
	s.attempts, s.elapsed = attempt, took
	return w.declare(s.in).read(b, &s.out)
}
