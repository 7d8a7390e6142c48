package memo

import (
	"reflect"
	"unsafe"
)

// addr is where a value lies: unexported fields are read like any other. This is the only file that imports unsafe.
// Nothing is ever written through an addr.
type addr = unsafe.Pointer

// offset returns the address n bytes further, within the same value.
func offset(p addr, n uintptr) addr { return unsafe.Add(p, n) }

// as views the value at p as a T, which must be laid out as the value is.
func as[T any](p addr) *T { return (*T)(p) }

// memory views the n bytes at p.
func memory(p addr, n uintptr) []byte { return unsafe.Slice((*byte)(p), n) }

// elements views the n values of type T at p.
func elements[T any](p addr, n uintptr) []T { return unsafe.Slice((*T)(p), n) }

// bytesOf views the memory of s's elements, and textOf the bytes of s.
func bytesOf[T any](s []T) []byte {
	return unsafe.Slice((*byte)(addr(unsafe.SliceData(s))), uintptr(len(s))*unsafe.Sizeof(*new(T)))
}

func textOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// valueAt views the value at p as a value of type t.
func valueAt(t reflect.Type, p addr) reflect.Value { return reflect.NewAt(t, p).Elem() }

// sliceAt returns the elements' address and number of the slice at p, whatever its type.
func sliceAt(p addr) (elems addr, n int) {
	s := *as[[]byte](p)
	return addr(unsafe.SliceData(s)), len(s)
}

// heldAt returns where the value lies that the interface at p holds. The second word of an interface leads to the
// value, or is the value itself, where that is a pointer or laid out as one.
func heldAt(p addr, pointerShaped bool) addr {
	word := offset(p, unsafe.Sizeof(uintptr(0)))
	if pointerShaped {
		return word
	}
	return *as[addr](word)
}

// pointerShaped reports whether an interface holds a t itself, not its address. reflect knows and does not say, the
// rules have changed between releases of Go, so it is tried out: the zero value of such a type is a nil word.
func pointerShaped(t reflect.Type) bool {
	if t.Kind() == reflect.Interface || t.Size() != unsafe.Sizeof(uintptr(0)) {
		return false
	}
	zero := reflect.Zero(t).Interface()
	return heldAt(addr(&zero), false) == nil
}

// addressOf returns where the description of a type lies.
func addressOf(t reflect.Type) uintptr { return (*[2]uintptr)(addr(&t))[1] }

// local returns p in a way that keeps what lies there where it is: a variable on the stack stays there. Nobody may
// keep p beyond the call it is made for; what the variable's own pointers lead to is no concern of local.
func local[T any](p *T) addr {
	hidden := uintptr(addr(p))
	return *(*addr)(addr(&hidden))
}
