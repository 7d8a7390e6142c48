package wire

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/registry"
)

// The forms in which an error crosses, best first.
const (
	errNil      = iota
	errSentinel // its name
	errTyped    // its type's name and its value
	errText     // its text, the sentinels that its Is method accepts, what it wraps
	errTree     // the same, for Unwrap() []error
	errRuntime  // the same as errText, for a runtime.Error
	errMax      = errRuntime
)

const (
	maxErrorDepth = 100    // of an error's tree; what is deeper crosses as its text
	maxForeign    = 10_000 // errors that cross as their text and tree, within one tree
	maxWasted     = 1000   // values begun in vain: each writes what is inside of it a second time
)

// AppendError appends err, whatever it is, nil included.
//
// A registered sentinel crosses as itself and an error of a registered type as its value: errors.Is and errors.As find
// them. Any other crosses as its text, the registered sentinels that its Is method accepts, and what it wraps, in the
// same shape; so does one of a registered type whose value cannot cross. Methods that panic are contained; a tree that
// contains itself, or is deeper than 100 levels, is cut.
func AppendError(b []byte, err error) []byte {
	e := newEncoder(b)
	e.error(err)
	return e.free()
}

// ReadError returns the error at the start of b, nil if that was appended, and what follows it. The second error says
// that b is damaged.
func ReadError(b []byte) (err error, rest []byte, bad error) {
	d := newDecoder(b)
	err, bad = d.error()
	if rest = d.free(); bad != nil {
		return nil, b, bad
	}
	return err, rest, nil
}

// failure is the codec of the type error.
type failure struct{}

func (failure) encode(e *encoder, p addr) error {
	e.error(*as[error](p))
	return nil
}

func (failure) decode(d *decoder, p addr) (err error) {
	*as[error](p), err = d.error()
	return err
}

func (e *encoder) error(err error) {
	if err == nil {
		e.byte(errNil)
		return
	}
	if name, ok := registry.SentinelName(err); ok {
		e.byte(errSentinel)
		e.string(name)
		return
	}
	v := visit{typ: reflect.TypeOf(err), n: isError}
	if v.typ.Kind() == reflect.Pointer {
		v.at = reflect.ValueOf(err).UnsafePointer()
	}
	if e.errDepth == 0 {
		e.foreign, e.wasted = 0, 0
	}
	if e.errDepth >= maxErrorDepth || e.depth >= maxDepth || v.at != nil && !e.mark(v) {
		e.text(errText, err)
		e.byte(errNil)
		return
	}
	e.errDepth++
	if b, segs := e.written(); e.wasted > maxWasted || !e.typedError(err) {
		e.cut(b, segs)
		e.foreignError(err)
	}
	e.errDepth--
	delete(e.path, v)
}

// typedError reports whether err could be written as its value; if not, the caller forgets what it has written.
func (e *encoder) typedError(err error) bool {
	e.byte(errTyped)
	start := len(e.b)
	if e.typed(reflect.ValueOf(err)) == nil {
		return true
	}
	if len(e.b) > start {
		e.wasted++
	}
	return false
}

// foreignError writes an error that cannot cross as itself.
func (e *encoder) foreignError(err error) {
	inner, tree := unwrap(err)
	if e.foreign++; e.foreign > maxForeign {
		inner = nil
	}
	e.depth++
	defer func() { e.depth-- }()
	if tree {
		e.text(errTree, err)
		e.uvarint(len(inner) + 1)
		for _, err := range inner {
			e.error(err)
		}
		return
	}
	form := byte(errText)
	if _, ok := err.(runtime.Error); ok {
		form = errRuntime
	}
	e.text(form, err)
	if inner == nil {
		e.byte(errNil)
		return
	}
	e.error(inner[0])
}

func (e *encoder) text(form byte, err error) {
	e.byte(form)
	e.string(textOf(err))
	is := accepted(err)
	e.uvarint(len(is) + 1)
	for _, name := range is {
		e.string(name)
	}
}

func textOf(err error) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("an error of type %T, whose Error method panicked: %v", err, p)
		}
	}()
	return err.Error()
}

// unwrap returns what err wraps, and whether it wraps as a tree does.
func unwrap(err error) (inner []error, tree bool) {
	defer func() {
		if recover() != nil {
			inner = nil
		}
	}()
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		if one := err.Unwrap(); one != nil {
			return []error{one}, false
		}
	case interface{ Unwrap() []error }:
		return err.Unwrap(), true
	}
	return nil, false
}

// accepted returns the names of the sentinels that err's own Is method takes for itself.
func accepted(err error) (names []string) {
	defer func() { _ = recover() }()
	is, ok := err.(interface{ Is(error) bool })
	if !ok {
		return nil
	}
	for sentinel, name := range registry.Sentinels() {
		if is.Is(sentinel) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (d *decoder) error() (error, error) {
	form, err := d.tag(errMax)
	if err != nil {
		return nil, err
	}
	switch form {
	case errNil:
		return nil, nil
	case errSentinel:
		return d.sentinel()
	case errTyped:
		return d.typedError()
	}
	return d.foreignError(form)
}

func (d *decoder) sentinel() (error, error) {
	name, err := d.bytes()
	if err != nil {
		return nil, err
	}
	sentinel, ok := registry.Sentinel(alias(name))
	if !ok {
		return nil, damaged("the error value %s is not registered in this process", name)
	}
	return sentinel, nil
}

func (d *decoder) typedError() (error, error) {
	v, err := d.typed()
	if err != nil {
		return nil, err
	}
	decoded, ok := v.Interface().(error)
	if !ok {
		return nil, damaged("%s is no error", v.Type())
	}
	return decoded, nil
}

// foreign stands for an error that did not cross as itself.
type foreign struct {
	text string
	is   []error
	err  error
}

func (f *foreign) Error() string        { return f.text }
func (f *foreign) Unwrap() error        { return f.err }
func (f *foreign) Is(target error) bool { return slices.Contains(f.is, target) }

// foreignTree stands for one that has Unwrap() []error.
type foreignTree struct {
	foreign
	errs []error
}

func (f *foreignTree) Unwrap() []error { return f.errs }

// foreignRuntime stands for a runtime.Error.
type foreignRuntime struct{ foreign }

func (*foreignRuntime) RuntimeError() {}

// What a foreign error and a reference to an error are charged.
const (
	foreignCost = 80
	errorCost   = 16
)

func (d *decoder) foreignError(form byte) (error, error) {
	if err := d.spend(1, foreignCost); err != nil {
		return nil, err
	}
	if err := d.descend(reflect.TypeFor[error]()); err != nil {
		return nil, err
	}
	var f foreignTree
	var err error
	if f.text, err = d.string(); err != nil {
		return nil, err
	}
	if f.is, err = d.errors(d.sentinel); err != nil {
		return nil, err
	}
	if form == errTree {
		f.errs, err = d.errors(d.error)
	} else {
		f.err, err = d.error()
	}
	if err != nil {
		return nil, err
	}
	d.depth--
	switch form {
	case errTree:
		return &f, nil
	case errRuntime:
		return &foreignRuntime{f.foreign}, nil
	}
	return &f.foreign, nil
}

// errors reads a number, and as many errors.
func (d *decoder) errors(read func() (error, error)) ([]error, error) {
	n, err := d.count(errorCost)
	if err != nil || n <= 0 {
		return nil, err
	}
	errs := make([]error, n)
	for i := range errs {
		if errs[i], err = read(); err != nil {
			return nil, err
		}
	}
	return errs, nil
}

// panicked is the codec of backend.PanicError: its Value crosses as an error, as itself, or else as its text.
type panicked struct{ stack *plan }

const (
	panickedText = iota
	panickedValue
	panickedError
	panickedMax = panickedError
)

func (c panicked) encode(e *encoder, p addr) error {
	panicError := as[backend.PanicError](p)
	if err, ok := panicError.Value.(error); ok {
		e.byte(panickedError)
		e.error(err)
	} else {
		b, segs := e.written()
		e.byte(panickedValue)
		if err := (holder{reflect.TypeFor[any]()}).encode(e, addr(&panicError.Value)); err != nil {
			e.cut(b, segs)
			e.byte(panickedText)
			if errors.Is(err, errCycle) { // fmt would follow it until the stack overflows
				e.string(fmt.Sprintf("%T, which contains itself", panicError.Value))
			} else {
				e.string(fmt.Sprint(panicError.Value))
			}
		}
	}
	return c.stack.encode(e, addr(&panicError.Stack))
}

func (c panicked) decode(d *decoder, p addr) error {
	panicError := as[backend.PanicError](p)
	tag, err := d.tag(panickedMax)
	if err != nil {
		return err
	}
	switch tag {
	case panickedText:
		panicError.Value, err = d.string()
	case panickedValue:
		err = holder{reflect.TypeFor[any]()}.decode(d, addr(&panicError.Value))
	case panickedError:
		panicError.Value, err = d.error()
	}
	if err != nil {
		return err
	}
	return c.stack.decode(d, addr(&panicError.Stack))
}
