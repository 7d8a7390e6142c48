package wire

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

type Job struct {
	Name string
	Done chan int
}

type Deep struct {
	Parts []map[string]*Job
	Self  *Deep
}

type Guarded struct {
	mu sync.Mutex
	N  int
}

type Open struct{ Extra any }

type exploding struct{ n int }

func (exploding) MarshalBinary() ([]byte, error)     { panic("boom") }
func (*exploding) UnmarshalBinary(data []byte) error { panic("boom") }

const cure = " cannot be sent to another process; leave it out, or give the type that holds it MarshalBinary and UnmarshalBinary"

func TestCheckNamesTheFieldThatCannotCross(t *testing.T) {
	for _, c := range []struct {
		typ  reflect.Type
		want string
	}{
		{reflect.TypeFor[Job](), "Job.Done: chan int"},
		{reflect.TypeFor[*Job](), "Job.Done: chan int"},
		{reflect.TypeFor[Deep](), "Deep.Parts[][].Done: chan int"},
		{reflect.TypeFor[map[Job]int](), "map[wire.Job]int[key].Done: chan int"},
		{reflect.TypeFor[chan int](), "chan int"},
		{reflect.TypeFor[func()](), "func()"},
		{reflect.TypeFor[[]func()](), "[]func()[]: func()"},
		{reflect.TypeFor[struct{ P unsafe.Pointer }](), "struct { P unsafe.Pointer }.P: unsafe.Pointer"},
		{reflect.TypeFor[uintptr](), "uintptr"},
		{reflect.TypeFor[Guarded](), "Guarded.mu: sync.Mutex"},
		{reflect.TypeFor[struct{ N atomic.Int64 }](), "struct { N atomic.Int64 }.N: atomic.Int64"},
		{reflect.TypeFor[*os.File](), "os.File"},
		{reflect.TypeFor[*net.TCPConn](), "net.TCPConn"},
		{reflect.TypeFor[*time.Location](), "time.Location"},
		{reflect.TypeFor[time.Ticker](), "Ticker.C: <-chan time.Time"},
	} {
		for range 2 { // the second time from the cache
			require.EqualError(t, Check(c.typ), c.want+cure)
		}
		_, err := AppendValue(nil, reflect.Zero(c.typ))
		require.EqualError(t, err, c.want+cure)
		_, _, err = ReadValue(nil, c.typ)
		require.EqualError(t, err, c.want+cure)
	}
	require.NoError(t, Check(reflect.TypeFor[Open]()))
	require.NoError(t, Check(reflect.TypeFor[io.Reader]()))
	require.NoError(t, Check(reflect.TypeFor[bytes.Buffer]()))
}

func TestAppendNamesTheValueThatCannotCross(t *testing.T) {
	type stranger struct{}
	for _, c := range []struct {
		v    any
		want string
	}{
		{Open{make(chan int)}, "Open.Extra: chan int" + cure},
		{Open{Job{}}, "Open.Extra.(wire.Job).Done: chan int" + cure},
		{Open{stranger{}}, "Open.Extra: type wire.stranger is not registered; give a value of it to parallel.Register"},
		{map[string]any{"conn": func() {}}, `map[string]interface {}["conn"]: func()` + cure},
		{map[int][]any{7: {1, func() {}}}, `map[int][]interface {}[7][1]: func()` + cure},
		{[]exploding{{1}}, "[]wire.exploding[0]: marshaling wire.exploding: it panicked: boom"},
		{exploding{1}, "marshaling wire.exploding: it panicked: boom"},
	} {
		b, err := AppendValue([]byte("kept"), reflect.ValueOf(c.v))
		require.EqualError(t, err, c.want)
		require.Equal(t, "kept", string(b))
	}
}

func TestDataThatContainsItselfIsAnError(t *testing.T) {
	const want = "the data contains itself and cannot be sent to another process"
	ring := &node{1, &node{2, nil}}
	ring.Next.Next = ring
	_, err := Append(nil, ring)
	require.ErrorContains(t, err, want)
	require.ErrorContains(t, err, "node.Next.Next.")
	require.Less(t, len(err.Error()), 400)

	list := []any{1, nil}
	list[1] = list
	_, err = Append(nil, &list)
	require.ErrorContains(t, err, want)

	table := map[string]any{}
	table["self"] = table
	_, err = Append(nil, &table)
	require.ErrorContains(t, err, want)

	type heavy struct {
		load [1 << 20]byte
		self *heavy
	}
	h := new(heavy)
	h.self = h
	_, err = Append(nil, &h)
	require.ErrorContains(t, err, want)

	type first struct{ p *struct{ x *int } }
	shared := &first{&struct{ x *int }{new(int)}}
	deep := make([]*first, 100)
	for i := range deep {
		deep[i] = shared
	}
	again(t, deep)
}

func TestTooDeepDataIsAnError(t *testing.T) {
	_, err := Append(nil, list(maxDepth+2)) // the first node is behind no pointer
	require.ErrorContains(t, err, "is nested more than 100000 levels deep")

	var nested any
	for range maxDepth/4 + 1 { // an interface, a slice, an interface and a map: four levels
		nested = []any{map[string]any{"x": nested}}
	}
	_, err = Append(nil, &nested)
	require.ErrorContains(t, err, "levels deep")

	deepest := bytes.Repeat([]byte("\x01\x0e[]interface {}\x02"), maxDepth)
	_, _, err = ReadValue(deepest, reflect.TypeFor[any]())
	require.ErrorContains(t, err, "levels deep")
}

// targets are the types that damaged messages are read as.
var targets = []reflect.Type{
	reflect.TypeFor[any](), reflect.TypeFor[hidden](), reflect.TypeFor[[]struct{}](), reflect.TypeFor[map[struct{}]struct{}](),
	reflect.TypeFor[map[any]any](), reflect.TypeFor[[][]string](), reflect.TypeFor[map[string]map[string][]int](), reflect.TypeFor[*node](),
	reflect.TypeFor[[]*[1000]int](), reflect.TypeFor[padded](), reflect.TypeFor[time.Time](), reflect.TypeFor[[]time.Time](),
	reflect.TypeFor[[]bool](), reflect.TypeFor[string](), reflect.TypeFor[[]float64](), reflect.TypeFor[[]error](),
	reflect.TypeFor[embedding](), reflect.TypeFor[[]exploding](), reflect.TypeFor[[0]chan int](), reflect.TypeFor[map[[2]any]*any](),
}

type padded struct {
	Next *padded
	Pad  [1000]*int
}

func TestDamagedMessagesAreErrors(t *testing.T) {
	huge := "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
	for _, c := range []struct {
		typ   reflect.Type
		bytes string
		want  string
	}{
		{reflect.TypeFor[int](), "1234567", "want 8 bytes, have 7"},
		{reflect.TypeFor[string](), "", "no length"},
		{reflect.TypeFor[string](), "\x02a", "want 2 bytes, have 1"},
		{reflect.TypeFor[string](), huge, "want 9223372036854775807 bytes"},
		{reflect.TypeFor[string](), "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "no length"},
		{reflect.TypeFor[bool](), "\x02", "want a tag of at most 1, have 2"},
		{reflect.TypeFor[[]bool](), "\x04\x01\x01", "want 3 elements, have 2 bytes"},
		{reflect.TypeFor[[]int64](), huge, "elements"},
		{reflect.TypeFor[[][1 << 20]string](), "\x03abc", "more memory than it can fill"},
		{reflect.TypeFor[*[1 << 20]string](), "\x01abc", "more memory than it can fill"},
		{reflect.TypeFor[map[string]int](), huge, "elements"},
		{reflect.TypeFor[map[struct{}]struct{}](), huge, "entries in a map that has room for one"},
		{reflect.TypeFor[map[any]int](), "\x02\x01\x07[]uint8\x00\x00\x00\x00\x00\x00\x00\x00\x00", "cannot be compared"},
		{reflect.TypeFor[any](), "\x01\x03x.T", `type "x.T" is not registered in this process`},
		{reflect.TypeFor[any](), "\x01\x05error\x00", "a value of the interface type error"},
		{reflect.TypeFor[any](), "\x01\x05[]int\xff", "no length"},
		{reflect.TypeFor[fmt.Stringer](), "\x01\x02[]", "is not registered"},
		{reflect.TypeFor[fmt.Stringer](), "\x01\x03int12345678", "no fmt.Stringer"},
		{reflect.TypeFor[fmt.Stringer](), "\x02\x19*errors.errorString \"EOF\"", "no fmt.Stringer"},
		{reflect.TypeFor[error](), "\x02\x03int12345678", "int is no error"},
		{reflect.TypeFor[error](), "\x01\x01x", "the error value x is not registered in this process"},
		{reflect.TypeFor[error](), "\x07", "want a tag of at most 5, have 7"},
		{reflect.TypeFor[time.Time](), "\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x00", "4294967295 nanoseconds"},
		{reflect.TypeFor[exploding](), "\x00", "unmarshaling wire.exploding: it panicked: boom"},
	} {
		_, rest, err := ReadValue([]byte(c.bytes), c.typ)
		require.ErrorContains(t, err, c.want)
		require.Equal(t, c.bytes, string(rest))
	}
}

// TestDamagedMessagesAllocateLittle nests values that each ask for much.
func TestDamagedMessagesAllocateLittle(t *testing.T) {
	b := []byte(strings.Repeat("\x01", 100_000))
	for _, typ := range targets {
		bounded(t, len(b), func() { _, _, _ = ReadValue(b, typ) })
	}
}
