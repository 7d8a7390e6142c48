package wire

import (
	"reflect"
	"unsafe"
)

// addr is where a value lies: unexported fields are read and written like any other. This is the only file that
// imports unsafe. An addr keeps its value alive; one handed to encode or decode points to a whole value of the
// plan's type.
type addr = unsafe.Pointer

// offset returns the address n bytes further, within the same value.
func offset(p addr, n uintptr) addr { return unsafe.Add(p, n) }

// as views the value at p as a T, which must be laid out as the value is.
func as[T any](p addr) *T { return (*T)(p) }

// memory views the n bytes at p.
func memory(p addr, n uintptr) []byte { return unsafe.Slice((*byte)(p), n) }

// valueAt views the value at p as a settable value of type t.
func valueAt(t reflect.Type, p addr) reflect.Value { return reflect.NewAt(t, p).Elem() }

// addrOf returns where v lies; a value that lies nowhere is copied first.
func addrOf(v reflect.Value) addr {
	if !v.CanAddr() {
		lying := reflect.New(v.Type()).Elem()
		lying.Set(v)
		v = lying
	}
	return v.Addr().UnsafePointer()
}

// sliceAt returns the elements' address and number of the slice at p, whatever its type.
func sliceAt(p addr) (elems addr, n int) {
	s := *as[[]byte](p)
	return addr(unsafe.SliceData(s)), len(s)
}

// alias views b as a string, to look it up: it changes when b does.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// addressOf returns where the description of a type lies.
func addressOf(t reflect.Type) uintptr { return (*[2]uintptr)(addr(&t))[1] }

// setSlice makes b the memory of the slice at p, which has n elements. b begins where a slice of any type may.
func setSlice(p addr, b []byte, n int) {
	*as[sliceHeader](p) = sliceHeader{addr(unsafe.SliceData(b)), n, n}
}

type sliceHeader struct {
	data     addr
	len, cap int
}

// columnOf views a slice as its memory, and asColumn memory as a slice of n elements.
func columnOf[T any](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), uintptr(len(s))*unsafe.Sizeof(*new(T)))
}

func asColumn[T any](b []byte, n int) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// aligned reports whether a value of any type may begin where b does.
func aligned(b []byte) bool { return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%8 == 0 }
