package wire

import (
	"encoding"
	"fmt"
	"reflect"

	"github.com/gojoblib/parallel/backend"
)

// marshaler is the codec of types that turn themselves into bytes and back. They get a pointer into the value that is
// being sent or made; a panic or a Goexit of theirs is an error.
type marshaler struct {
	typ reflect.Type
	*methods
}

// methods are a pair of methods that undo one another, and how to call them on a pointer.
type methods struct {
	to, from  reflect.Type
	marshal   func(any) ([]byte, error)
	unmarshal func(any, []byte) error
}

// pairs are what a type may have, the first one found counts.
var pairs = []methods{
	{
		reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler](),
		func(v any) ([]byte, error) { return v.(encoding.BinaryMarshaler).MarshalBinary() },
		func(v any, b []byte) error { return v.(encoding.BinaryUnmarshaler).UnmarshalBinary(b) },
	},
	{
		reflect.TypeFor[gobEncoder](), reflect.TypeFor[gobDecoder](),
		func(v any) ([]byte, error) { return v.(gobEncoder).GobEncode() },
		func(v any, b []byte) error { return v.(gobDecoder).GobDecode(b) },
	},
	{
		reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
		func(v any) ([]byte, error) { return v.(encoding.TextMarshaler).MarshalText() },
		func(v any, b []byte) error { return v.(encoding.TextUnmarshaler).UnmarshalText(b) },
	},
}

// As encoding/gob has them, which would make every program larger.
type (
	gobEncoder interface{ GobEncode() ([]byte, error) }
	gobDecoder interface{ GobDecode([]byte) error }
)

// marshalsItself returns the codec of a type with a pair of methods. A struct that may owe them to an embedded field is
// sent field by field: struct{ time.Time; Name string } marshals as if it had no name.
func marshalsItself(t reflect.Type) (marshaler, bool) {
	if k := t.Kind(); k == reflect.Interface || k == reflect.Pointer {
		return marshaler{}, false
	}
	for i := range pairs {
		m := &pairs[i]
		if p := reflect.PointerTo(t); p.Implements(m.to) && p.Implements(m.from) && !embeds(t, m.to) {
			return marshaler{t, m}, true
		}
	}
	return marshaler{}, false
}

func embeds(t, methods reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for f := range t.Fields() {
		if f.Anonymous && (f.Type.Implements(methods) || reflect.PointerTo(f.Type).Implements(methods)) {
			return true
		}
	}
	return false
}

func (c marshaler) encode(e *encoder, p addr) (err error) {
	var b []byte
	if err := contain(func() (err error) {
		b, err = c.marshal(reflect.NewAt(c.typ, p).Interface())
		return err
	}); err != nil {
		return fmt.Errorf("marshaling %s: %w", c.typ, err)
	}
	e.uvarint(len(b))
	e.b = append(e.b, b...)
	return nil
}

func (c marshaler) decode(d *decoder, p addr) (err error) {
	b, err := d.bytes()
	if err != nil {
		return err
	}
	if err := contain(func() error { return c.unmarshal(reflect.NewAt(c.typ, p).Interface(), b) }); err != nil {
		return fmt.Errorf("unmarshaling %s: %w", c.typ, err)
	}
	return nil
}

// contain runs a type's own method on a goroutine of its own: neither a panic nor a Goexit of it gets further.
func contain(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := backend.ErrGoexit
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("it panicked: %v", p)
			}
			done <- err
		}()
		err = f()
	}()
	return <-done
}
