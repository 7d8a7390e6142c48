// Package wire turns values and errors into bytes and back, for two processes that run the same program. It never
// sends anything, and it never guesses: what it cannot carry unchanged is an error that names the field.
//
// As both ends run the same program, no field names, tags or type descriptions cross: a value is encoded as its type
// is laid out. A type's plan is compiled at its first use and kept.
//
// What crosses: all of a value that its own memory holds, with unexported fields, nil and empty slices and maps kept
// apart, NaN and -0; interfaces that hold registered types; errors, see [AppendError]; a time.Time without its
// monotonic reading, with its zone. A type that has both MarshalBinary and UnmarshalBinary, or both GobEncode and
// GobDecode, or both MarshalText and UnmarshalText crosses by them, unless it may owe them to an embedded field.
//
// What changes: two pointers to one value become pointers to two; a slice's capacity is its length; a time zone that
// the other process cannot load becomes a fixed one.
//
// What does not cross: channels, functions, unsafe.Pointer, uintptr, and types of the standard library that hold
// locks or what belongs to this process; data that contains itself; data nested deeper than 100,000 levels.
//
// Decoding is safe with any bytes: damaged ones are an error, and what is allocated before it is found stays within a
// small multiple of their length. Everything here may be used concurrently; memory that is being encoded must not be
// written to.
package wire

import "reflect"

// Check returns an error that says where in t is something that cannot cross: "Job.Done: chan int cannot ...". What
// an interface will hold is not known before AppendValue.
func Check(t reflect.Type) error {
	_, err := planOf(t)
	return labeled(t, err)
}

// AppendValue appends v, encoded as its type. On an error it returns b as it was.
// A v that is not addressable is copied first.
func AppendValue(b []byte, v reflect.Value) ([]byte, error) {
	p, err := planOf(v.Type())
	if err != nil {
		return b, labeled(v.Type(), err)
	}
	return appendAt(b, p, addrOf(v))
}

// ReadValue returns the value of type t at the start of b, settable, and what follows it. The value keeps nothing of b.
func ReadValue(b []byte, t reflect.Type) (reflect.Value, []byte, error) {
	p, err := planOf(t)
	if err != nil {
		return reflect.Value{}, b, labeled(t, err)
	}
	v := reflect.New(t)
	rest, err := readAt(b, p, v.UnsafePointer())
	return v.Elem(), rest, err
}

// Append is AppendValue for a type known to the compiler; it does not copy v.
func Append[T any](b []byte, v *T) ([]byte, error) {
	t := reflect.TypeFor[T]()
	p, err := planOf(t)
	if err != nil {
		return b, labeled(t, err)
	}
	return appendAt(b, p, addr(v))
}

// Read is ReadValue into *v. Nothing of what *v held remains; after an error it may hold a part.
func Read[T any](b []byte, v *T) ([]byte, error) {
	t := reflect.TypeFor[T]()
	p, err := planOf(t)
	if err != nil {
		return b, labeled(t, err)
	}
	*v = *new(T)
	return readAt(b, p, addr(v))
}

func appendAt(b []byte, p *plan, at addr) ([]byte, error) {
	if p.plain {
		return append(b, memory(at, p.size)...), nil
	}
	e := newEncoder(b)
	err := p.encode(e, at)
	longer := e.free()
	if err != nil {
		return b, labeled(p.typ, err)
	}
	return longer, nil
}

// readAt decodes into zeroed memory.
func readAt(b []byte, p *plan, at addr) ([]byte, error) {
	d := newDecoder(b)
	err := p.decode(d, at)
	rest := d.free()
	if err != nil {
		return b, labeled(p.typ, err)
	}
	return rest, nil
}
