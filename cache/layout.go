package cache

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/gojoblib/parallel/internal/registry"
)

// layout is a digest of how a type is laid out, with all types that it is made of. A type that marshals itself goes by
// its name: it knows what it has written.
type layout [16]byte

var layouts sync.Map // reflect.Type -> layout

func layoutOf(t reflect.Type) layout {
	if p, ok := layouts.Load(t); ok {
		return p.(layout)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%x ", binary.NativeEndian.AppendUint16(nil, 1)) // plain memory is dumped as it is
	describe(h, t, map[reflect.Type]int{})
	var p layout
	copy(p[:], h.Sum(nil))
	layouts.Store(t, p)
	return p
}

// describe writes what tells a type apart; one that was met before by its number.
func describe(w io.Writer, t reflect.Type, met map[reflect.Type]int) {
	if n, ok := met[t]; ok {
		fmt.Fprintf(w, "^%d ", n)
		return
	}
	met[t] = len(met)
	fmt.Fprintf(w, "%s %q %q %d ", t.Kind(), t.PkgPath(), t.Name(), t.Size())
	if marshalsItself(t) {
		fmt.Fprint(w, "itself ")
		return
	}
	switch t.Kind() {
	case reflect.Array:
		fmt.Fprintf(w, "%d ", t.Len())
		describe(w, t.Elem(), met)
	case reflect.Pointer, reflect.Slice:
		describe(w, t.Elem(), met)
	case reflect.Map:
		describe(w, t.Key(), met)
		describe(w, t.Elem(), met)
	case reflect.Struct:
		for f := range t.Fields() {
			fmt.Fprintf(w, "%q %v %d ", f.Name, f.Anonymous, f.Offset)
			describe(w, f.Type, met)
		}
		fmt.Fprint(w, "} ")
	case reflect.Interface:
		fmt.Fprintf(w, "%d ", t.NumMethod())
	}
}

// pairs of methods by which a type is dumped, as package wire has them.
var pairs = [][2]reflect.Type{
	{reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler]()},
	{reflect.TypeFor[interface{ GobEncode() ([]byte, error) }](), reflect.TypeFor[interface{ GobDecode([]byte) error }]()},
	{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()},
}

// marshalsItself reports whether a type has a pair of methods of its own, not of a field that is embedded.
func marshalsItself(t reflect.Type) bool {
	if k := t.Kind(); k == reflect.Interface || k == reflect.Pointer {
		return false
	}
	for _, m := range pairs {
		if p := reflect.PointerTo(t); p.Implements(m[0]) && p.Implements(m[1]) && !embeds(t, m[0]) {
			return true
		}
	}
	return false
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

// typesIn returns the type of a value, and the registered ones that interfaces in it hold.
func typesIn(v reflect.Value) []dumpType {
	w := walker{may: map[reflect.Type]bool{}, met: map[spot]bool{}, held: map[reflect.Type]bool{}}
	name, _ := registry.TypeName(v.Type()) // it need not have one
	w.types = []dumpType{{name, layoutOf(v.Type())}}
	w.walk(v)
	return w.types
}

// walker looks for interfaces in a value, where its type allows for any.
type walker struct {
	may   map[reflect.Type]bool
	met   map[spot]bool
	held  map[reflect.Type]bool
	types []dumpType
}

// spot is something that may be met more than once.
type spot struct {
	typ reflect.Type
	at  uintptr
	n   int
}

func (w *walker) walk(v reflect.Value) {
	t := v.Type()
	if !w.mayHold(t) {
		return
	}
	switch t.Kind() {
	case reflect.Interface:
		if v.IsNil() {
			return
		}
		v = v.Elem()
		if name, err := registry.TypeName(v.Type()); err == nil && !w.held[v.Type()] { // others are errors, dumped as text
			w.held[v.Type()] = true
			w.types = append(w.types, dumpType{name, layoutOf(v.Type())})
		}
		w.walk(v)
	case reflect.Pointer:
		if !v.IsNil() && w.enter(spot{t, v.Pointer(), 0}) {
			w.walk(v.Elem())
		}
	case reflect.Slice:
		if !w.enter(spot{t, v.Pointer(), v.Len()}) {
			return
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			w.walk(v.Index(i))
		}
	case reflect.Map:
		if !w.enter(spot{t, v.Pointer(), 0}) {
			return
		}
		for it := v.MapRange(); it.Next(); {
			w.walk(it.Key())
			w.walk(it.Value())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			w.walk(v.Field(i))
		}
	}
}

func (w *walker) enter(p spot) bool {
	if w.met[p] {
		return false
	}
	w.met[p] = true
	return true
}

// mayHold reports whether a value of type t may have an interface in it.
func (w *walker) mayHold(t reflect.Type) bool {
	may, ok := w.may[t]
	if !ok {
		may = reachesInterface(t, map[reflect.Type]bool{})
		w.may[t] = may
	}
	return may
}

func reachesInterface(t reflect.Type, met map[reflect.Type]bool) bool {
	if met[t] || marshalsItself(t) {
		return false
	}
	met[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return reachesInterface(t.Elem(), met)
	case reflect.Map:
		return reachesInterface(t.Key(), met) || reachesInterface(t.Elem(), met)
	case reflect.Struct:
		for f := range t.Fields() {
			if reachesInterface(f.Type, met) {
				return true
			}
		}
	}
	return false
}
