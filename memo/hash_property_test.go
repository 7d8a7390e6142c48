package memo

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/wire"
)

func init() {
	if err := registry.Register(pair{}, celsius(0), record{}); err != nil {
		panic(err)
	}
}

// record has something of everything that crosses to another process.
type record struct {
	ID     int
	small  int8
	on     bool
	Name   string
	ratio  float64
	narrow float32
	phase  complex64
	data   []byte
	Floats []float64
	names  []string
	grid   [2][3]int16
	mixed  [2]struct {
		A int8
		B float64
	}
	byName map[string]*record
	byKey  map[pair][]int
	held   any
	err    error
	next   *record
	when   time.Time
	from   netip.Addr
	temp   celsius
	empty  struct{}
}

// drawn are the types of which values are drawn.
var drawn = []reflect.Type{
	reflect.TypeFor[record](), reflect.TypeFor[*record](), reflect.TypeFor[map[string]any](), reflect.TypeFor[[]map[int]pair](),
	reflect.TypeFor[[]any](), reflect.TypeFor[node](), reflect.TypeFor[[][]float64](), reflect.TypeFor[[3]*[]string](), reflect.TypeFor[event](),
	reflect.TypeFor[map[any]struct{}](), reflect.TypeFor[error](), reflect.TypeFor[box[map[float64]complex128]](), reflect.TypeFor[[]struct {
		A bool
		B uint32
	}](),
}

var heldTypes = []reflect.Type{
	reflect.TypeFor[int](), reflect.TypeFor[string](), reflect.TypeFor[float64](), reflect.TypeFor[*pair](), reflect.TypeFor[pair](), reflect.TypeFor[[]any](),
	reflect.TypeFor[map[string]any](), reflect.TypeFor[celsius](), reflect.TypeFor[time.Time](), reflect.TypeFor[[]byte](), reflect.TypeFor[bool](),
}

// open makes v's field settable, if it is unexported.
func open(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
}

func drawInto(t *rapid.T, v reflect.Value, depth int) {
	v = open(v)
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		zone := rapid.SampledFrom([]*time.Location{time.UTC, time.Local, time.FixedZone("X", 90)}).Draw(t, "zone")
		v.Set(reflect.ValueOf(time.Unix(rapid.Int64Range(-1e10, 1e10).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).In(zone)))
		return
	case reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr")))))
		return
	case reflect.TypeFor[error]():
		if rapid.Bool().Draw(t, "failed") {
			v.Set(reflect.ValueOf(rapid.SampledFrom([]error{io.EOF, io.ErrUnexpectedEOF}).Draw(t, "error")))
		}
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int8, reflect.Int16:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Uint8, reflect.Uint32:
		v.SetUint(rapid.Uint64().Draw(t, "uint"))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Copysign(0, -1)})).Draw(t, "float"))
	case reflect.Complex64, reflect.Complex128:
		v.SetComplex(complex(rapid.Float64().Draw(t, "re"), rapid.Float64().Draw(t, "im")))
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "string"))
	case reflect.Interface:
		if depth > 0 && rapid.Bool().Draw(t, "held") {
			held := reflect.New(rapid.SampledFrom(heldTypes).Draw(t, "type")).Elem()
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
			for i := range n {
				drawInto(t, v.Index(i), depth-1)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			drawInto(t, v.Index(i), depth-1)
		}
	case reflect.Map:
		n := rapid.IntRange(-1, 3).Draw(t, "len")
		if n < 0 {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range n {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			drawInto(t, key, 0)
			drawInto(t, elem, depth-1)
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			drawInto(t, v.Field(i), depth-1)
		}
	}
}

// clone copies what from leads to. Maps are filled last entry first, and slices have room to spare.
func clone(to, from reflect.Value) {
	to, from = open(to), open(from)
	switch from.Kind() {
	case reflect.Pointer:
		if from.Type() == reflect.TypeFor[*time.Location]() || from.IsNil() {
			to.Set(from)
			return
		}
		to.Set(reflect.New(from.Type().Elem()))
		clone(to.Elem(), from.Elem())
	case reflect.Interface:
		if from.IsNil() || from.Type() == reflect.TypeFor[error]() {
			to.Set(from)
			return
		}
		held, copied := reflect.New(from.Elem().Type()).Elem(), reflect.New(from.Elem().Type()).Elem()
		held.Set(from.Elem())
		clone(copied, held)
		to.Set(copied)
	case reflect.Slice:
		if from.IsNil() {
			return
		}
		to.Set(reflect.MakeSlice(from.Type(), from.Len(), from.Len()+3))
		for i := range from.Len() {
			clone(to.Index(i), from.Index(i))
		}
	case reflect.Map:
		if from.IsNil() {
			return
		}
		to.Set(reflect.MakeMapWithSize(from.Type(), 100))
		var keys, elems []reflect.Value
		for it := from.MapRange(); it.Next(); {
			elem, copied := reflect.New(from.Type().Elem()).Elem(), reflect.New(from.Type().Elem()).Elem()
			elem.Set(it.Value())
			clone(copied, elem)
			keys, elems = append(keys, it.Key()), append(elems, copied)
		}
		for i := len(keys) - 1; i >= 0; i-- {
			to.SetMapIndex(keys[i], elems[i])
		}
	case reflect.Array:
		for i := range from.Len() {
			clone(to.Index(i), from.Index(i))
		}
	case reflect.Struct:
		if from.Type() == reflect.TypeFor[netip.Addr]() {
			to.Set(from)
			return
		}
		for i := range from.NumField() {
			clone(to.Field(i), from.Field(i))
		}
	default:
		to.Set(from)
	}
}

// changes returns ways to change v in one place, and back.
func changes(path string, v reflect.Value, add func(path string, change func() (undo func()))) {
	v = open(v)
	set := func(path string, to reflect.Value) {
		add(path, func() func() {
			old := reflect.New(v.Type()).Elem()
			old.Set(v)
			v.Set(to)
			return func() { v.Set(old) }
		})
	}
	zero := reflect.Zero(v.Type())
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		at := v.Interface().(time.Time)
		set(path+" later", reflect.ValueOf(at.Add(1)))
		set(path+" elsewhere", reflect.ValueOf(at.In(time.FixedZone("Y", 90))))
		return
	case reflect.TypeFor[netip.Addr]():
		if v.Interface().(netip.Addr).IsValid() {
			set(path+" next", reflect.ValueOf(v.Interface().(netip.Addr).Next()))
		}
		return
	case reflect.TypeFor[error]():
		set(path+" error", reflect.ValueOf(errors.New("new")))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		set(path, reflect.ValueOf(!v.Bool()).Convert(v.Type()))
	case reflect.Int, reflect.Int8, reflect.Int16:
		set(path, reflect.ValueOf(v.Int()+1).Convert(v.Type()))
	case reflect.Uint8, reflect.Uint32:
		set(path, reflect.ValueOf(v.Uint()+1).Convert(v.Type()))
	case reflect.Float32, reflect.Float64:
		if v.Float() == v.Float() {
			set(path+" NaN", reflect.ValueOf(math.NaN()).Convert(v.Type()))
			set(path+" sign", reflect.ValueOf(-v.Float()).Convert(v.Type()))
		}
	case reflect.Complex64, reflect.Complex128:
		c := v.Complex()
		set(path+" sign", reflect.ValueOf(complex(real(c), -imag(c))).Convert(v.Type()))
	case reflect.String:
		set(path, reflect.ValueOf(v.String()+"\x00").Convert(v.Type()))
	case reflect.Interface:
		if v.IsNil() {
			set(path+" held", reflect.ValueOf(0))
			return
		}
		set(path+" nil", zero)
		set(path+" deeper", reflect.ValueOf([]any{v.Interface()}))
		held := reflect.New(v.Elem().Type()).Elem()
		held.Set(v.Elem())
		changes(path+".(held)", held, func(path string, change func() func()) {
			add(path, func() func() {
				old := v.Elem()
				undo := change()
				v.Set(held)
				return func() { undo(); v.Set(old) }
			})
		})
	case reflect.Pointer:
		if v.IsNil() {
			set(path+" new", reflect.New(v.Type().Elem()))
			return
		}
		set(path+" nil", zero)
		changes(path, v.Elem(), add)
	case reflect.Slice:
		if v.IsNil() {
			set(path+" empty", reflect.MakeSlice(v.Type(), 0, 0))
			return
		}
		set(path+" nil", zero)
		longer := reflect.MakeSlice(v.Type(), v.Len()+1, v.Len()+1)
		reflect.Copy(longer, v)
		set(path+" longer", longer)
		for i := range v.Len() {
			changes(fmt.Sprintf("%s[%d]", path, i), v.Index(i), add)
		}
	case reflect.Array:
		for i := range v.Len() {
			changes(fmt.Sprintf("%s[%d]", path, i), v.Index(i), add)
		}
	case reflect.Map:
		if v.IsNil() {
			set(path+" empty", reflect.MakeMap(v.Type()))
			return
		}
		set(path+" nil", zero)
		for it := v.MapRange(); it.Next(); {
			key, elem := it.Key(), reflect.New(v.Type().Elem()).Elem()
			if !v.MapIndex(key).IsValid() { // NaN
				continue
			}
			elem.Set(it.Value())
			add(path+" shorter", func() func() {
				old := v.MapIndex(key)
				v.SetMapIndex(key, reflect.Value{})
				return func() { v.SetMapIndex(key, old) }
			})
			changes(fmt.Sprintf("%s[%v]", path, key), elem, func(path string, change func() func()) {
				add(path, func() func() {
					undo := change()
					v.SetMapIndex(key, elem)
					return func() { undo(); v.SetMapIndex(key, elem) }
				})
			})
		}
	case reflect.Struct:
		for i := range v.NumField() {
			changes(path+"."+v.Type().Field(i).Name, v.Field(i), add)
		}
	}
}

func TestEqualValuesHaveEqualDigestsAndChangesShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(drawn).Draw(t, "type")
		v := reflect.New(typ).Elem()
		drawInto(t, v, 4)
		hash := func(v reflect.Value) Digest {
			d, err := Hash(v.Interface())
			if err != nil {
				t.Fatalf("%#v: %v", v, err)
			}
			return d
		}
		d := hash(v)

		copied := reflect.New(typ).Elem()
		clone(copied, v)
		if hash(copied) != d {
			t.Fatalf("a copy of %#v has another digest", v)
		}

		b, err := wire.AppendValue(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		crossed, _, err := wire.ReadValue(b, typ)
		if err != nil {
			t.Fatal(err)
		}
		if hash(crossed) != d {
			t.Fatalf("what came of %#v has another digest", v)
		}

		n := 0
		changes(typ.String(), copied, func(path string, change func() func()) {
			if n++; n > 100 {
				return
			}
			undo := change()
			if hash(copied) == d {
				t.Fatalf("%s was changed in %#v and does not show", path, copied)
			}
			undo()
			if hash(copied) != d {
				t.Fatalf("%s was changed and undone in %#v and shows", path, copied)
			}
		})
	})
}

// alike is what equal digests must mean: reflect.DeepEqual, but NaN is itself, 0 is not -0, errors and locations are
// looked at as what they tell.
func alike(a, b reflect.Value) bool {
	if !a.IsValid() || !b.IsValid() || a.Type() != b.Type() {
		return a.IsValid() == b.IsValid() && !a.IsValid()
	}
	switch a.Type() {
	case reflect.TypeFor[time.Time]():
		x, y := open(a).Interface().(time.Time), open(b).Interface().(time.Time)
		xn, xo := x.Zone()
		yn, yo := y.Zone()
		return x.Equal(y) && xn == yn && xo == yo && x.Location().String() == y.Location().String() && (x.Location() == time.UTC) == (y.Location() == time.UTC)
	case reflect.TypeFor[netip.Addr]():
		return open(a).Interface() == open(b).Interface()
	}
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return sameFloat(a.Float(), b.Float())
	case reflect.Complex64, reflect.Complex128:
		return sameFloat(real(a.Complex()), real(b.Complex())) && sameFloat(imag(a.Complex()), imag(b.Complex()))
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		x, y := a.Elem(), b.Elem()
		if a.Kind() == reflect.Interface { // what it holds has no address
			if x.Type() != y.Type() {
				return false
			}
			p, q := reflect.New(x.Type()).Elem(), reflect.New(y.Type()).Elem()
			p.Set(open(a).Elem())
			q.Set(open(b).Elem())
			if e, ok := p.Interface().(error); ok {
				_, sx := registry.SentinelName(e)
				_, sy := registry.SentinelName(q.Interface().(error))
				if sx || sy {
					return e == q.Interface()
				}
			}
			x, y = p, q
		}
		return alike(x, y)
	case reflect.Slice:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		fallthrough
	case reflect.Array:
		for i := range a.Len() {
			if !alike(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !alike(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		return a.IsNil() == b.IsNil() && a.Len() == b.Len() && matched(open(a), open(b))
	}
	return a.Equal(b)
}

func sameFloat(a, b float64) bool {
	return a != a && b != b || math.Float64bits(a) == math.Float64bits(b)
}

// matched finds for every entry of a another of b's that is alike; keys that are NaN cannot be looked up.
func matched(a, b reflect.Value) bool {
	type pair struct{ key, elem reflect.Value }
	entries := func(m reflect.Value) (all []pair) {
		for it := m.MapRange(); it.Next(); {
			key, elem := reflect.New(m.Type().Key()).Elem(), reflect.New(m.Type().Elem()).Elem()
			key.Set(it.Key())
			elem.Set(it.Value())
			all = append(all, pair{key, elem})
		}
		return all
	}
	rest := entries(b)
next:
	for _, e := range entries(a) {
		for i, o := range rest {
			if alike(e.key, o.key) && alike(e.elem, o.elem) {
				rest = append(rest[:i], rest[i+1:]...)
				continue next
			}
		}
		return false
	}
	return true
}

func FuzzDigestsAreEqualAsValuesAre(f *testing.F) {
	for i, typ := range drawn {
		if b, err := wire.AppendValue(nil, reflect.Zero(typ)); err == nil {
			f.Add(byte(i), b, append([]byte{1}, b...))
		}
	}
	f.Add(byte(6), []byte{2, 2, 0, 0, 0, 0, 0, 0, 0, 0}, []byte{2, 2, 0, 0, 0, 0, 0, 0, 0, 0x80})
	f.Fuzz(func(t *testing.T, which byte, x, y []byte) {
		if len(x)+len(y) > 10_000 {
			return
		}
		typ := drawn[int(which)%len(drawn)]
		a, _, errA := wire.ReadValue(x, typ)
		b, _, errB := wire.ReadValue(y, typ)
		if errA != nil || errB != nil {
			return
		}
		d, e := hashed(t, a.Interface()), hashed(t, b.Interface())
		require.Equal(t, alike(a, b), d == e, "%#v\n%#v", a, b)
		if again, _, err := wire.ReadValue(x, typ); err == nil {
			require.Equal(t, d, hashed(t, again.Interface()))
		}
	})
}
