package wire

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/registry"
)

// codec carries the values of one type. decode is given zeroed memory.
type codec interface {
	encode(*encoder, addr) error
	decode(*decoder, addr) error
}

// plan is a type's codec and what the codecs of types made of it need to know.
type plan struct {
	codec
	typ   reflect.Type
	size  uintptr                // in memory
	plain bool                   // its memory is its encoding: no pointers, no padding, no bytes that are not allowed
	cost  uint64                 // bytes charged for its memory; at most allowance for each byte of its shortest encoding
	name  atomic.Pointer[string] // once it was asked for
}

// typeName returns the registered name of the plan's type.
func (p *plan) typeName() (string, error) {
	if name := p.name.Load(); name != nil {
		return *name, nil
	}
	name, err := registry.TypeName(p.typ)
	if err == nil {
		p.name.Store(&name)
	}
	return name, err
}

// plans holds for every reflect.Type that was asked for its *plan, or the error that refuses it.
var plans sync.Map

// recent are plans that were asked for, each in the place that its type's address says: most types are found here.
var recent [1 << 8]atomic.Pointer[plan]

func planOf(t reflect.Type) (*plan, error) {
	place := &recent[addressOf(t)>>6%uintptr(len(recent))]
	if p := place.Load(); p != nil && p.typ == t {
		return p, nil
	}
	p, err := lookUp(t)
	if err == nil {
		place.Store(p)
	}
	return p, err
}

func lookUp(t reflect.Type) (*plan, error) {
	if known, ok := plans.Load(t); ok {
		return verdict(known)
	}
	c := compiler{}
	p, err := c.plan(t)
	if err != nil {
		plans.Store(t, err)
		return nil, err
	}
	for t, p := range c {
		plans.LoadOrStore(t, p)
	}
	return p, nil
}

func verdict(known any) (*plan, error) {
	if p, ok := known.(*plan); ok {
		return p, nil
	}
	return nil, known.(error)
}

// compiler holds the plans under way. A type that contains itself does so behind a pointer, slice or map, whose codec
// needs the element's plan only when it runs.
type compiler map[reflect.Type]*plan

func (c compiler) plan(t reflect.Type) (*plan, error) {
	if known, ok := plans.Load(t); ok {
		return verdict(known)
	}
	if p, ok := c[t]; ok {
		return p, nil
	}
	p := &plan{typ: t, size: t.Size()}
	c[t] = p
	return p, c.fill(p)
}

func (c compiler) fill(p *plan) (err error) {
	t := p.typ
	if p.size == 0 {
		p.setPlain()
		return nil
	}
	switch t {
	case reflect.TypeFor[time.Time]():
		p.codec, p.cost = instant{}, uint64(p.size)
		return nil
	case reflect.TypeFor[error]():
		p.codec, p.cost = failure{}, uint64(p.size)
		return nil
	case reflect.TypeFor[backend.PanicError]():
		stack, err := c.plan(reflect.TypeFor[[]byte]())
		p.codec, p.cost = panicked{stack}, uint64(p.size)
		return err
	case reflect.TypeOf(syscall.EINVAL):
		if t.Kind() == reflect.Uintptr { // that is a number, which Plan 9 has none of
			p.setPlain()
			return nil
		}
	}
	if m, ok := marshalsItself(t); ok {
		p.codec, p.cost = m, allowance
		return nil
	}
	if local(t) {
		return refusal(t)
	}
	p.cost = uint64(p.size)
	switch t.Kind() {
	case reflect.Bool:
		p.codec = boolean{}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		p.setPlain()
	case reflect.String:
		p.codec = text{}
	case reflect.Interface:
		p.codec = holder{t}
	case reflect.Pointer:
		var elem *plan
		elem, err = c.plan(t.Elem())
		p.codec = pointer{t, elem}
	case reflect.Slice:
		var elem *plan
		elem, err = c.plan(t.Elem())
		p.codec, err = slice{t, elem}, within("[]", err)
	case reflect.Map:
		err = c.fillMap(p)
	case reflect.Array:
		err = c.fillArray(p)
	case reflect.Struct:
		err = c.fillStruct(p)
	default: // Chan, Func, UnsafePointer, Uintptr
		err = refusal(t)
	}
	return err
}

func (p *plan) setPlain() {
	p.codec, p.plain, p.cost = plain{p.size}, true, uint64(p.size)
}

func (c compiler) fillMap(p *plan) error {
	key, err := c.plan(p.typ.Key())
	if err != nil {
		return within("[key]", err)
	}
	elem, err := c.plan(p.typ.Elem())
	p.codec = table{p.typ, key, elem}
	return within("[]", err)
}

func (c compiler) fillArray(p *plan) error {
	elem, err := c.plan(p.typ.Elem())
	if err != nil {
		return within("[]", err)
	}
	p.codec, p.cost = array{elem, p.typ.Len()}, elem.cost*uint64(p.typ.Len())
	if elem.plain {
		p.setPlain()
	}
	return nil
}

func (c compiler) fillStruct(p *plan) error {
	var fields []field
	var packed uintptr
	allPlain := true
	p.cost = 0
	for f := range p.typ.Fields() {
		fp, err := c.plan(f.Type)
		if err != nil {
			return within("."+f.Name, err)
		}
		p.cost += fp.cost
		packed += fp.size
		allPlain = allPlain && fp.plain
		if n := len(fields); n > 0 && fp.plain && fields[n-1].precedes(f.Offset) {
			run := &plan{size: fields[n-1].size + fp.size} // plain neighbours are copied as one
			run.setPlain()
			fields[n-1].plan = run
			continue
		}
		fields = append(fields, field{fp, f.Offset, f.Name})
	}
	p.codec = structure{fields}
	if allPlain && packed == p.size {
		p.setPlain()
	}
	return nil
}

// local reports whether t is a type of the standard library whose values mean something in their process only, or
// only where they lie.
func local(t reflect.Type) bool {
	switch pkg := t.PkgPath(); pkg {
	case "sync", "sync/atomic", "unique":
		return true
	case "os":
		return t.Name() == "File" || t.Name() == "Process" || t.Name() == "Root"
	case "net":
		return t.Kind() == reflect.Struct && (strings.HasSuffix(t.Name(), "Conn") || strings.HasSuffix(t.Name(), "Listener"))
	case "time":
		return t.Name() == "Location"
	default:
		return strings.HasPrefix(pkg, "internal/")
	}
}

func refusal(t reflect.Type) error {
	return fmt.Errorf("%s cannot be sent to another process; leave it out, or give the type that holds it "+
		"MarshalBinary and UnmarshalBinary", t)
}
