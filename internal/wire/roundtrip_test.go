package wire

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gojoblib/parallel/internal/registry"
)

func TestMain(m *testing.M) {
	if err := registry.Register(pair{}, celsius(0), node{}, (*codeError)(nil), valueError{}, listError{}, errOurs, isEOF{},
		lockedError{}, lateError{error: io.EOF}, (*loopError)(nil)); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

type celsius float64

type pair struct {
	Name string
	n    int
}

type node struct {
	Value int
	Next  *node
}

type hidden struct {
	a     int8
	b     bool
	c     string
	_     [0]func() // makes it incomparable
	inner pair
	list  []pair
	when  time.Time
	addr  netip.Addr
	any   any
	err   error
	_     int32
}

type base struct{ ID int }

type embedding struct {
	base
	*pair
	Extra []byte
}

type event struct {
	time.Time // its MarshalBinary is promoted and knows nothing of Name
	Name      string
}

type level int

func (l level) MarshalText() ([]byte, error) { return []byte(strings.Repeat("!", int(l))), nil }

func (l *level) UnmarshalText(b []byte) error { *l = level(len(b)); return nil }

type oneWay struct{ n int }

func (o oneWay) MarshalBinary() ([]byte, error) { return nil, errors.New("never called") }

// again encodes and decodes v as its type.
func again[T any](t testing.TB, v T) T {
	b, err := Append([]byte("before"), &v)
	require.NoError(t, err)
	var got T
	rest, err := Read(append(b[len("before"):], "after"...), &got)
	require.NoError(t, err)
	require.Equal(t, "after", string(rest))
	return got
}

func crosses[T any](t *testing.T, name string, v T) {
	t.Run(name, func(t *testing.T) {
		got := again(t, v)
		require.True(t, same(reflect.ValueOf(&v).Elem(), reflect.ValueOf(&got).Elem()), "sent %#v, got %#v", v, got)
		viaReflect, err := AppendValue(nil, reflect.ValueOf(&v).Elem())
		require.NoError(t, err)
		back, rest, err := ReadValue(viaReflect, reflect.TypeFor[T]())
		require.NoError(t, err)
		require.Empty(t, rest)
		require.True(t, same(reflect.ValueOf(&v).Elem(), back))
	})
}

func TestValuesCrossUnchanged(t *testing.T) {
	zero, berlin := 0, must(time.LoadLocation("Europe/Berlin"))
	now := time.Now().Round(0)
	crosses(t, "nil slice", []int(nil))
	crosses(t, "empty slice", []int{})
	crosses(t, "empty bytes", []byte{})
	crosses(t, "nil bytes", []byte(nil))
	crosses(t, "inner slices", [][]string{nil, {}, {""}, {"a", "b"}})
	crosses(t, "pointer to zero", &zero)
	crosses(t, "nil pointer", (*int)(nil))
	crosses(t, "pointer to pointer", new(&zero))
	crosses(t, "pointers in a slice", []*pair{nil, {}, {"x", 1}})
	crosses(t, "unexported fields", hidden{a: -1, b: true, c: "\xff\x00", inner: pair{"p", 2}, list: []pair{{}}, when: now,
		addr: netip.MustParseAddr("fe80::1%eth0"), any: pair{"held", 3}, err: io.EOF})
	crosses(t, "unexported fields only", struct{ a, b int16 }{1, -2})
	crosses(t, "padded struct", struct {
		a int8
		b int64
		c bool
	}{1, 2, true})
	crosses(t, "time", now)
	crosses(t, "zero time", time.Time{})
	crosses(t, "time in UTC", now.UTC())
	crosses(t, "time in a fixed zone", now.In(time.FixedZone("here", -12345)))
	crosses(t, "time in a loaded zone", []time.Time{now.In(berlin), time.Date(2026, 1, 2, 3, 4, 5, 6, berlin), now.UTC()})
	crosses(t, "far times", []time.Time{time.Unix(1<<62, 999999999), time.Unix(-1<<62, 0)})
	crosses(t, "duration", time.Second)
	crosses(t, "error field", struct{ Err error }{io.ErrUnexpectedEOF})
	crosses(t, "nil error field", struct{ Err error }{})
	crosses(t, "interface field", struct{ S fmt.Stringer }{time.Second})
	crosses(t, "int in any", any(7))
	crosses(t, "nil any", any(nil))
	crosses(t, "basics in any", []any{true, int8(1), uint16(2), float32(3), 4i, "5", nil, []byte{6}, time.March})
	crosses(t, "struct in any", any(pair{"x", 1}))
	crosses(t, "pointer in any", any(&pair{"x", 1}))
	crosses(t, "nil pointer in any", any((*pair)(nil)))
	crosses(t, "composites in any", any(map[string]any{"a": []any{1, nil}, "b": map[int][]*pair{1: {nil}}, "c": []error{io.EOF}}))
	crosses(t, "sentinel in any", any(io.EOF))
	crosses(t, "error in any", any(&codeError{5}))
	crosses(t, "floats", []float64{math.NaN(), math.Float64frombits(0x7ff8dead00000001), math.Inf(1), math.Inf(-1), math.Copysign(0, -1)})
	crosses(t, "one NaN", math.Float64frombits(0x7ff8dead00000001))
	crosses(t, "complex", []complex128{complex(math.NaN(), -1), 1i})
	crosses(t, "bools", []bool{true, false})
	crosses(t, "named type", celsius(-3.5))
	crosses(t, "named in any", any(celsius(-3.5)))
	crosses(t, "embedded", embedding{base{7}, &pair{"x", 1}, []byte("y")})
	crosses(t, "nil embedded pointer", embedding{})
	crosses(t, "embedded marshaler", event{now.UTC(), "kept"})
	crosses(t, "one-way marshaler", oneWay{3})
	crosses(t, "two-way marshaler", []level{0, 3})
	crosses(t, "array", [3]string{"a", "", "c"})
	crosses(t, "plain array", [4]uint32{1, 2, 3, 4})
	crosses(t, "array of no channels", [0]chan int{})
	crosses(t, "nil map", map[string]int(nil))
	crosses(t, "empty map", map[string]int{})
	crosses(t, "map with int keys", map[int]string{1: "a", -1: ""})
	crosses(t, "map with struct keys", map[pair][]int{{"x", 1}: nil, {"x", 2}: {}})
	crosses(t, "map with any keys", map[any]any{1: "a", "b": 2, pair{"c", 3}: nil})
	crosses(t, "set", map[string]struct{}{"a": {}, "b": {}})
	crosses(t, "map of nothing", map[struct{}]struct{}{{}: {}})
	crosses(t, "invalid UTF-8", "\xff\xfe\x00")
	crosses(t, "structs of nothing", make([]struct{}, 1<<30))
	crosses(t, "netip", []netip.Addr{{}, netip.MustParseAddr("1.2.3.4")})
	crosses(t, "zero marshalers", make([]url.URL, 1000)) // 120 bytes in memory, one on the wire
	crosses(t, "list", node{1, &node{2, &node{3, nil}}})
	crosses(t, "long list", list(maxDepth))
	crosses(t, "big block", make([]float64, 1<<16))

	t.Run("NaN keys", func(t *testing.T) {
		got := again(t, map[float64]int{math.NaN(): 1, math.Copysign(0, -1): 2})
		require.Len(t, got, 2)
	})
	t.Run("big numbers", func(t *testing.T) {
		type numbers struct {
			i *big.Int
			r big.Rat
			f *big.Float
			n *big.Int
		}
		in := numbers{i: new(big.Int).Lsh(big.NewInt(-3), 300), r: *big.NewRat(1, 3), f: big.NewFloat(1.5).SetPrec(200)}
		got := again(t, in)
		require.Zero(t, in.i.Cmp(got.i))
		require.Zero(t, in.r.Cmp(&got.r))
		require.Zero(t, in.f.Cmp(got.f))
		require.Equal(t, in.f.Prec(), got.f.Prec())
		require.Nil(t, got.n)
	})
	t.Run("daylight saving time", func(t *testing.T) {
		got := again(t, time.Date(2026, 1, 1, 0, 0, 0, 0, berlin))
		require.Equal(t, "2026-07-01 00:00:00 +0200 CEST", got.AddDate(0, 6, 0).String())
		fixed := again(t, time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("CET", 3600)))
		require.Equal(t, "2026-07-01 00:00:00 +0100 CET", fixed.AddDate(0, 6, 0).String())
	})
	t.Run("monotonic reading", func(t *testing.T) {
		now := time.Now()
		require.Equal(t, now.Round(0), again(t, now))
	})
	t.Run("unknown zone", func(t *testing.T) {
		odd := must(time.LoadLocationFromTZData("No/Where", tzdata))
		now := time.Now().In(odd)
		require.Equal(t, now.Format(time.RFC1123), again(t, now).Format(time.RFC1123))
	})
	t.Run("shared pointer becomes two", func(t *testing.T) {
		p := &pair{"x", 1}
		got := again(t, []*pair{p, p})
		require.Equal(t, []*pair{p, p}, got)
		require.NotSame(t, got[0], got[1])
	})
	t.Run("nothing of the message is kept", func(t *testing.T) {
		in := hidden{c: "text", list: []pair{{"a", 1}}, any: []byte("bytes"), err: fmt.Errorf("wrapped: %w", &textual{"t"})}
		b, err := Append(nil, &in)
		require.NoError(t, err)
		var got hidden
		_, err = Read(b, &got)
		require.NoError(t, err)
		clear(b)
		require.Equal(t, "text", got.c)
		require.Equal(t, []pair{{"a", 1}}, got.list)
		require.Equal(t, []byte("bytes"), got.any)
		require.EqualError(t, got.err, "wrapped: t")
	})
	t.Run("Read forgets what was there", func(t *testing.T) {
		b, _ := Append(nil, &hidden{})
		got := hidden{c: "old", list: []pair{{"old", 1}}, any: 1}
		_, err := Read(b, &got)
		require.NoError(t, err)
		require.Equal(t, hidden{}, got)
	})
}

// tzdata is a zone of one offset, "ODD", an hour and a half east.
var tzdata = []byte("TZif2" + strings.Repeat("\x00", 15) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x04" +
	"\x00\x00\x15\x18\x00\x00ODD\x00" +
	"TZif2" + strings.Repeat("\x00", 15) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x04" +
	"\x00\x00\x15\x18\x00\x00ODD\x00" + "\nODD-1:30\n")

func list(n int) *node {
	var head *node
	for range n {
		head = &node{n, head}
	}
	return head
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// same is reflect.DeepEqual, but NaN is itself, -0 is not 0, and a long list is no recursion of its own.
func same(a, b reflect.Value) bool {
	for a.IsValid() && a.Type() == reflect.TypeFor[*node]() && !a.IsNil() && b.IsValid() && !b.IsNil() {
		if a.Elem().Field(0).Int() != b.Elem().Field(0).Int() {
			return false
		}
		a, b = a.Elem().Field(1), b.Elem().Field(1)
	}
	if !a.IsValid() || !b.IsValid() || a.Type() != b.Type() {
		return a.IsValid() == b.IsValid()
	}
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return math.Float64bits(a.Float()) == math.Float64bits(b.Float())
	case reflect.Complex64, reflect.Complex128:
		return math.Float64bits(real(a.Complex())) == math.Float64bits(real(b.Complex())) &&
			math.Float64bits(imag(a.Complex())) == math.Float64bits(imag(b.Complex()))
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		if a.Type() == reflect.TypeFor[*time.Location]() {
			return a.Elem().FieldByName("name").String() == b.Elem().FieldByName("name").String()
		}
		return same(a.Elem(), b.Elem())
	case reflect.Slice:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		if a.Type().Elem().Size() == 0 {
			return true
		}
		fallthrough
	case reflect.Array:
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for _, k := range a.MapKeys() {
			if v := b.MapIndex(k); !v.IsValid() || !same(a.MapIndex(k), v) {
				return false
			}
		}
		return true
	case reflect.Func, reflect.Chan:
		return a.IsNil() && b.IsNil()
	}
	return a.Equal(b)
}

// TestAnyValueCrosses draws types, and values of them.
func TestAnyValueCrosses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := drawType(t, 3)
		v := reflect.New(typ).Elem()
		drawInto(t, v, 4)
		b, err := AppendValue(nil, v)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		got, rest, err := ReadValue(append(b, 1, 2, 3), typ)
		if err != nil || len(rest) != 3 {
			t.Fatalf("%s: %v, rest %v", typ, err, rest)
		}
		if !same(v, got) {
			t.Fatalf("sent %#v, got %#v", v, got)
		}
		for i := range b {
			if _, _, err := ReadValue(b[:i], typ); err == nil && typ.Size() > 0 {
				t.Fatalf("%s: a message cut at %d of %d is whole", typ, i, len(b))
			}
		}
	})
}

var leaves = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint16](), reflect.TypeFor[int32](),
	reflect.TypeFor[uint64](), reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[complex64](),
	reflect.TypeFor[string](), reflect.TypeFor[any](), reflect.TypeFor[error](), reflect.TypeFor[time.Time](),
	reflect.TypeFor[celsius](), reflect.TypeFor[pair](), reflect.TypeFor[node](), reflect.TypeFor[level](), reflect.TypeFor[struct{}](),
	reflect.TypeFor[hidden](), reflect.TypeFor[event](), reflect.TypeFor[netip.Addr](),
}

func drawType(t *rapid.T, depth int) reflect.Type {
	if depth == 0 {
		return rapid.SampledFrom(leaves).Draw(t, "leaf")
	}
	switch rapid.IntRange(0, 6).Draw(t, "shape") {
	case 0:
		return reflect.PointerTo(drawType(t, depth-1))
	case 1:
		return reflect.SliceOf(drawType(t, depth-1))
	case 2:
		return reflect.ArrayOf(rapid.IntRange(0, 3).Draw(t, "n"), drawType(t, depth-1))
	case 3:
		return reflect.MapOf(reflect.TypeFor[string](), drawType(t, depth-1))
	case 4:
		var fields []reflect.StructField
		for i := range rapid.IntRange(0, 5).Draw(t, "fields") {
			fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: drawType(t, depth-1)})
		}
		return reflect.StructOf(fields)
	}
	return rapid.SampledFrom(leaves).Draw(t, "leaf")
}

// drawInto fills v, unexported fields too.
func drawInto(t *rapid.T, v reflect.Value, depth int) {
	v = reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		zone := rapid.SampledFrom([]*time.Location{time.UTC, time.Local, time.FixedZone("X", 90)}).Draw(t, "zone")
		v.Set(reflect.ValueOf(time.Unix(rapid.Int64().Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).In(zone)))
		return
	case reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr")))))
		return
	case reflect.TypeFor[error]():
		v.Set(reflect.ValueOf(rapid.SampledFrom([]error{io.EOF, &codeError{1}, errors.New("x"), errors.Join(errOurs, io.EOF)}).Draw(t, "error")))
		return
	case reflect.TypeFor[level]():
		v.SetInt(rapid.Int64Range(0, 9).Draw(t, "level"))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Uint16, reflect.Uint64, reflect.Uint8:
		v.SetUint(rapid.Uint64().Draw(t, "uint"))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Copysign(0, -1)})).Draw(t, "float"))
	case reflect.Complex64:
		v.SetComplex(complex(rapid.Float64().Draw(t, "re"), rapid.Float64().Draw(t, "im")))
	case reflect.String:
		v.SetString(string(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "string")))
	case reflect.Interface:
		if depth > 0 && rapid.Bool().Draw(t, "held") {
			held := reflect.New(rapid.SampledFrom([]reflect.Type{
				reflect.TypeFor[int](), reflect.TypeFor[*pair](), reflect.TypeFor[[]any](), reflect.TypeFor[map[string]any](), reflect.TypeFor[celsius](),
			}).Draw(t, "type")).Elem()
			drawInto(t, held, depth-1)
			v.Set(held)
		}
	case reflect.Pointer:
		if depth > 0 && rapid.Bool().Draw(t, "some") {
			v.Set(reflect.New(v.Type().Elem()))
			drawInto(t, v.Elem(), depth-1)
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 3).Draw(t, "len"); n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			drawInto(t, v.Index(i), depth-1)
		}
	case reflect.Map:
		if n := rapid.IntRange(-1, 3).Draw(t, "len"); n >= 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				drawInto(t, key, depth-1)
				drawInto(t, elem, depth-1)
				v.SetMapIndex(key, elem)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			drawInto(t, v.Field(i), depth-1)
		}
	}
}
