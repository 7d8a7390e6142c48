package parallel

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/wire"
)

// Task is a call that has been declared and not made: Delayed makes them, Parallel and Stream run them. It is one
// word, so that a million of them are cheap, and may be run any number of times.
type Task struct{ call call }

// call makes the call when d is nil, and otherwise answers what d asks about it. (One function for both keeps a Task at
// one word; a struct of what it needs costs three times as much to build and to collect.)
type call func(ctx context.Context, d *declared) (any, error)

// declared is what a Task knows about itself.
type declared struct {
	asks  question
	batch *wire.Batch // forBytes
	index int
	value wire.Value // forResult

	fn   any
	args []any  // unless asked forFunc
	name string // given by Named
	site string // file:line of a misuse
	err  error  // the misuse
}

// question is what is asked about a call.
type question uint8

const (
	forAll    question = iota
	forFunc            // the function alone
	forBytes           // add the call to the batch, as number index of the run
	forResult          // read the value, which is what the call has returned elsewhere
)

// describe answers for a call that can be made.
func (d *declared) describe(fn any, args ...any) (any, error) {
	d.fn = fn
	switch d.asks {
	case forAll:
		d.args = args
	case forBytes:
		name, err := registry.FuncName(fn)
		if err == nil {
			err = d.batch.Add(wire.Call{Func: name, Name: d.name, Index: d.index}, reflect.TypeOf(fn), args)
		}
		return nil, err
	case forResult:
		t := reflect.TypeOf(fn)
		if !signatureOf(t).value {
			return nil, nil
		}
		v, err := d.value.Read(t.Out(0))
		if err != nil {
			return nil, err
		}
		return v.Interface(), nil
	}
	return nil, nil
}

// describe1 is describe for a call with one argument of a type known to the compiler, whose result read reads.
func describe1[A any](d *declared, fn any, a A, read func(wire.Value) (any, error)) (any, error) {
	d.fn = fn
	switch d.asks {
	case forAll:
		d.args = []any{a}
	case forBytes:
		name, err := registry.FuncName(fn)
		if err == nil {
			err = wire.AddOne(d.batch, wire.Call{Func: name, Name: d.name, Index: d.index}, &a)
		}
		return nil, err
	case forResult:
		return read(d.value)
	}
	return nil, nil
}

// readAs reads a result of type R.
func readAs[R any](v wire.Value) (any, error) {
	var plain R
	if wire.ReadPlain(v, &plain) {
		return plain, nil
	}
	r := new(R)
	err := wire.ReadValueInto(v, r)
	return *r, err
}

// readNone is for calls that return no value.
func readNone(wire.Value) (any, error) { return nil, nil }

// Delayed declares the call fn(args...), which Parallel or Stream will make: joblib's delayed(fn)(args...).
//
// fn is any function that returns nothing, a value, an error, or a value and an error (of type error: one of a concrete
// type, as *MyError, is a value). A leading context.Context
// comes from the run and is not among args; a variadic function takes any number of them. fn is called on a worker, by
// several goroutines at once if several tasks share it. Arguments are kept as they are, not copied: what they point to
// must not change until the run has ended.
//
// A mistake (no function, wrong number or type of arguments, nil for what cannot be nil) is kept in the Task with
// its file and line, and reported by the run together with all others before anything has run; go vet finds it earlier
// (see the vet folder). Functions of common types are called directly; the others by reflection, which
// costs some 250 ns.
func Delayed(fn any, args ...any) Task {
	if t, ok := direct(fn, args); ok {
		return t
	}
	f, err := reflected(fn, args)
	if err != nil {
		return faulty(fn, err)
	}
	in := make([]any, len(args))
	copy(in, args)
	return Task{func(ctx context.Context, d *declared) (any, error) {
		if d != nil {
			return d.describe(fn, in...)
		}
		return f.call(ctx, reflect.ValueOf(fn), in)
	}}
}

// Each declares a call of fn for every element of in: Parallel(4)(Each(cube, xs)...). fn takes one argument, and may
// take a context before it; what Delayed says of functions and mistakes holds here.
func Each[A any](fn any, in []A) []Task {
	tasks := make([]Task, len(in))
	for i, a := range in {
		if t, ok := direct1(fn, a); ok {
			tasks[i] = t
			continue
		}
		f, err := reflected(fn, []any{a})
		if err != nil {
			tasks[i] = faulty(fn, err)
			continue
		}
		tasks[i] = Task{func(ctx context.Context, d *declared) (any, error) {
			if d != nil {
				return d.describe(fn, a)
			}
			return f.call(ctx, reflect.ValueOf(fn), []any{a})
		}}
	}
	return tasks
}

// Named returns the task with a name of its own, which errors, progress and logs use instead of the function's.
func (t Task) Named(name string) Task {
	if t.call == nil {
		faults.Add(1)
	}
	return Task{func(ctx context.Context, d *declared) (any, error) {
		if d == nil {
			return t.run(ctx)
		}
		if d.name == "" { // the last name counts
			d.name = name
		}
		return t.ask(d)
	}}
}

// fault says why the task cannot run; nil when it can. It describes the task in d.
func (t Task) fault(d *declared) error {
	_, _ = t.ask(d)
	return d.err
}

// ask answers what d asks.
func (t Task) ask(d *declared) (any, error) {
	if t.call == nil {
		d.err = errNoTask
		return nil, &dispatch.Misuse{Err: errNoTask}
	}
	return t.call(nil, d)
}

var errNoTask = errors.New("a Task that no Delayed made")

// run makes the call.
func (t Task) run(ctx context.Context) (any, error) {
	if t.call == nil {
		return nil, &dispatch.Misuse{Err: errNoTask}
	}
	return t.call(ctx, nil)
}

func (t Task) declare() declared {
	var d declared
	_ = t.fault(&d) // it is in d
	return d
}

// label is the name that errors use.
func (d declared) label() string {
	if d.name != "" || d.fn == nil {
		return d.name
	}
	return funcName(d.fn)
}

// faults counts the misused tasks of this program, so that runs need not look for one where there is none.
var faults atomic.Int64

// faulty makes a task of a misuse, with the line that it stands in.
func faulty(fn any, err error) Task {
	faults.Add(1)
	site := site()
	return Task{func(_ context.Context, d *declared) (any, error) {
		if d != nil {
			d.fn, d.err, d.site = fn, err, site
		}
		return nil, &dispatch.Misuse{Site: site, Err: err}
	}}
}

// site returns file:line of the innermost frame outside of this package.
func site() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "github.com/gojoblib/parallel.") {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return ""
		}
	}
}

// funcName returns fn's full name, or what it is instead of a function.
func funcName(fn any) string {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func {
		return fmt.Sprintf("%T", fn)
	}
	if f := runtime.FuncForPC(v.Pointer()); f != nil {
		return f.Name()
	}
	return v.Type().String()
}

// signature is how a function of one type is called by reflection.
type signature struct {
	typ      reflect.Type
	context  bool // the first parameter is the run's context
	value    bool // the first result is a value
	err      bool // the last result is an error
	variadic bool
	in       []reflect.Type // the parameters after the context
	bad      error          // the type can be no task
}

var (
	signatures sync.Map // reflect.Type -> *signature
	errorType  = reflect.TypeFor[error]()
)

func signatureOf(t reflect.Type) *signature {
	if s, ok := signatures.Load(t); ok {
		return s.(*signature)
	}
	s := &signature{typ: t, context: wire.TakesContext(t), variadic: t.IsVariadic()}
	for i := range t.NumIn() {
		if i == 0 && s.context {
			continue
		}
		s.in = append(s.in, t.In(i))
	}
	switch n := t.NumOut(); {
	case n == 0:
	case n == 1 && t.Out(0) == errorType:
		s.err = true
	case n == 1:
		s.value = true
	case n == 2 && t.Out(1) == errorType:
		s.value, s.err = true, true
	default:
		s.bad = fmt.Errorf("it returns %d values: a task returns nothing, a value, an error, or a value and an error", n)
	}
	actual, _ := signatures.LoadOrStore(t, s)
	return actual.(*signature)
}

// reflected checks fn(args...) and returns how to call it.
func reflected(fn any, args []any) (*signature, error) {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func {
		if !v.IsValid() {
			return nil, errors.New("nil is not a function")
		}
		return nil, fmt.Errorf("a value of type %T is not a function: give the function and its arguments, Delayed(f, x), not Delayed(f(x))", fn)
	}
	if v.IsNil() {
		return nil, fmt.Errorf("the function is nil (of type %T)", fn)
	}
	s := signatureOf(v.Type())
	if s.bad != nil {
		return nil, s.bad
	}
	fixed := len(s.in)
	if s.variadic {
		fixed--
	}
	if len(args) < fixed || len(args) > fixed && !s.variadic {
		return nil, s.arity(len(args), fixed)
	}
	var errs []error
	for i, a := range args {
		errs = append(errs, assignable(i, a, s.param(i)))
	}
	return s, errors.Join(errs...)
}

func (s *signature) arity(got, want int) error {
	atLeast := ""
	if s.variadic {
		atLeast = "at least "
	}
	hint := ""
	if s.context {
		hint = "; the context comes from the run"
	}
	return fmt.Errorf("%d arguments given, %v takes %s%d%s", got, s.typ, atLeast, want, hint)
}

// param is the type of argument i.
func (s *signature) param(i int) reflect.Type {
	if s.variadic && i >= len(s.in)-1 {
		return s.in[len(s.in)-1].Elem()
	}
	return s.in[i]
}

// assignable says why a cannot be argument i of type t; nil when it can.
func assignable(i int, a any, t reflect.Type) error {
	if a == nil {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.UnsafePointer:
			return nil
		}
		return fmt.Errorf("argument %d is nil, want %v", i, t)
	}
	v := reflect.ValueOf(a)
	if v.Type().AssignableTo(t) {
		return nil
	}
	hint := ""
	if v.Kind() != reflect.String && t.Kind() != reflect.String && v.CanConvert(t) && v.Comparable() &&
		v.Convert(t).CanConvert(v.Type()) && v.Convert(t).Convert(v.Type()).Equal(v) {
		hint = fmt.Sprintf(": write %v(%v)", t, a)
	}
	return fmt.Errorf("argument %d is of type %T, want %v%s", i, a, t, hint)
}

// call calls fn by reflection. args have been checked.
func (s *signature) call(ctx context.Context, fn reflect.Value, args []any) (any, error) {
	var buf [8]reflect.Value
	in := buf[:0]
	if s.context {
		in = append(in, reflect.ValueOf(&ctx).Elem())
	}
	for i, a := range args {
		if a == nil {
			in = append(in, reflect.Zero(s.param(i)))
		} else {
			in = append(in, reflect.ValueOf(a))
		}
	}
	out := fn.Call(in)
	var value any
	var err error
	if s.value {
		value = out[0].Interface()
	}
	if s.err {
		err, _ = out[len(out)-1].Interface().(error)
	}
	return value, err
}
