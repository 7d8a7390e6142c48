package wire

import (
	"reflect"

	"github.com/gojoblib/parallel/internal/registry"
)

// holder is the codec of interfaces other than error. It writes the held value's type by its registered name, then
// the value; a sentinel by its own name, so that it stays itself.
type holder struct{ typ reflect.Type }

const (
	holdsNil = iota
	holdsValue
	holdsSentinel
	holdsMax = holdsSentinel
)

func (c holder) encode(e *encoder, p addr) error {
	v := valueAt(c.typ, p)
	if v.IsNil() {
		e.byte(holdsNil)
		return nil
	}
	v = v.Elem()
	if err, ok := v.Interface().(error); ok {
		if name, ok := registry.SentinelName(err); ok {
			e.byte(holdsSentinel)
			e.string(name)
			return nil
		}
	}
	e.byte(holdsValue)
	return e.typed(v)
}

func (c holder) decode(d *decoder, p addr) error {
	tag, err := d.tag(holdsMax)
	if err != nil || tag == holdsNil {
		return err
	}
	var v reflect.Value
	if tag == holdsSentinel {
		sentinel, bad := d.sentinel()
		v, err = reflect.ValueOf(sentinel), bad
	} else {
		v, err = d.typed()
	}
	if err != nil {
		return err
	}
	if !v.Type().Implements(c.typ) {
		return damaged("no %s in an interface of that type", c.typ)
	}
	valueAt(c.typ, p).Set(v)
	return nil
}

// typed writes the name of v's type, and v.
func (e *encoder) typed(v reflect.Value) error {
	t := v.Type()
	p, err := planOf(t)
	if err != nil {
		return held(t, err)
	}
	name, err := p.typeName()
	if err != nil {
		return err
	}
	e.string(name)
	if err := e.descend(t); err != nil {
		return err
	}
	err = p.encode(e, addrOf(v))
	e.depth--
	return held(t, err)
}

// typed reads the name of a type, and a value of it.
func (d *decoder) typed() (v reflect.Value, err error) {
	name, err := d.bytes()
	if err != nil {
		return v, err
	}
	t, ok := registry.Type(alias(name))
	if !ok {
		return v, damaged("type %q is not registered in this process", name)
	}
	if t.Kind() == reflect.Interface {
		return v, damaged("a value of the interface type %s", t)
	}
	p, err := planOf(t)
	if err != nil {
		return v, held(t, err)
	}
	if err := d.spend(1, p.cost); err != nil {
		return v, err
	}
	if err := d.descend(t); err != nil {
		return v, err
	}
	v = reflect.New(t)
	err = p.decode(d, v.UnsafePointer())
	d.depth--
	return v.Elem(), held(t, err)
}

// held says that err was met inside the t that an interface holds.
func held(t reflect.Type, err error) error {
	if _, ok := err.(*pathError); ok {
		return within(".("+t.String()+")", err)
	}
	return err
}
