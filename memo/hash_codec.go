package memo

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/gojoblib/parallel/internal/registry"
)

// lump is the codec of values that are hashed as they lie.
type lump struct {
	bulk bulk
	size uintptr
}

func (c lump) encode(h *hasher, p addr) error {
	h.lump(c.bulk, p, c.size)
	return nil
}

// lump appends size bytes at p.
func (h *hasher) lump(b bulk, p addr, size uintptr) {
	switch b {
	case floats32:
		appendFloats(h, elements[float32](p, size/4), true, append32)
	case floats64:
		appendFloats(h, elements[float64](p, size/8), true, append64)
	default:
		h.bytes(memory(p, size))
	}
}

// appendFloats appends floating-point numbers; but for NaN, their memory is it where native is set.
func appendFloats[F float32 | float64](h *hasher, all []F, native bool, appendOne func([]byte, F) []byte) {
	for len(all) > 0 {
		some := all[:min(len(all), block)]
		all = all[len(some):]
		if native && !slices.ContainsFunc(some, func(f F) bool { return math.IsNaN(float64(f)) }) {
			h.bytes(bytesOf(some))
			continue
		}
		for _, f := range some {
			h.buf = appendOne(h.buf, f)
		}
		h.relieve()
	}
}

func append32(b []byte, f float32) []byte {
	if f != f {
		return binary.LittleEndian.AppendUint32(b, 0x7fc00000)
	}
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
}

func append64(b []byte, f float64) []byte {
	if f != f {
		return binary.LittleEndian.AppendUint64(b, 0x7ff8000000000000)
	}
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

// number is the codec of numbers that are not hashed as they lie: int and uint have 64 bits everywhere, and the lowest
// byte comes first. A complex number is two.
type number struct{ kind reflect.Kind }

func (c number) encode(h *hasher, p addr) error {
	switch c.kind {
	case reflect.Int16, reflect.Uint16:
		h.buf = binary.LittleEndian.AppendUint16(h.buf, *as[uint16](p))
	case reflect.Int32, reflect.Uint32:
		h.buf = binary.LittleEndian.AppendUint32(h.buf, *as[uint32](p))
	case reflect.Int64, reflect.Uint64:
		h.uint64(*as[uint64](p))
	case reflect.Int:
		h.uint64(uint64(*as[int](p)))
	case reflect.Uint:
		h.uint64(uint64(*as[uint](p)))
	case reflect.Uintptr:
		h.uint64(uint64(*as[uintptr](p)))
	case reflect.Float32:
		h.buf = append32(h.buf, *as[float32](p))
	case reflect.Float64:
		h.buf = append64(h.buf, *as[float64](p))
	case reflect.Complex64:
		appendFloats(h, elements[float32](p, 2), false, append32)
	case reflect.Complex128:
		appendFloats(h, elements[float64](p, 2), false, append64)
	}
	return nil
}

type text struct{}

func (text) encode(h *hasher, p addr) error {
	h.string(*as[string](p))
	return nil
}

// structure is the codec of structs that are not bulk.
type structure struct{ fields []field }

// field is a struct's field, or a run of those that are bulk in the same way.
type field struct {
	*plan
	offset uintptr
	name   string
}

// precedes reports whether the field ends at the given offset and is bulk in the same way as what begins there.
func (f field) precedes(b bulk, at uintptr) bool {
	return b != notBulk && f.bulk == b && f.offset+f.size == at
}

func (c structure) encode(h *hasher, p addr) error {
	for i := range c.fields {
		f := &c.fields[i]
		if err := f.encode(h, offset(p, f.offset)); err != nil {
			return within("."+f.name, err)
		}
	}
	return nil
}

// array is the codec of arrays that are not bulk.
type array struct {
	elem *plan
	n    int
}

func (c array) encode(h *hasher, p addr) error { return encodeAll(h, c.elem, p, c.n) }

func encodeAll(h *hasher, elem *plan, p addr, n int) error {
	for i := range n {
		if err := elem.encode(h, offset(p, uintptr(i)*elem.size)); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
		h.relieve()
	}
	return nil
}

// What a pointer, slice or map begins with. Of a slice and a map that is not nil, it is the length plus isValue.
const (
	isNil   = iota
	isAbove // it is under way: then comes how many levels up
	isValue
)

// enter begins what c's codec found at an address: inside reports whether to go on, leave then ends it.
func (p *plan) enter(h *hasher, at addr, n int) (inside bool, err error) {
	up := 0
	if p.loops {
		up, err = h.enter(visit{p.typ, at, n})
	} else {
		err = h.descend(p.typ)
	}
	if up > 0 {
		h.byte(isAbove)
		h.uvarint(up)
		return false, nil
	}
	h.uvarint(n + isValue)
	return err == nil, err
}

func (p *plan) leave(h *hasher) {
	if p.loops {
		h.leave()
	} else {
		h.depth--
	}
}

type pointer struct{ self, elem *plan }

func (c pointer) encode(h *hasher, p addr) error {
	target := *as[addr](p)
	if target == nil {
		h.byte(isNil)
		return nil
	}
	inside, err := c.self.enter(h, target, 0)
	if !inside {
		return err
	}
	h.relieve()
	err = c.elem.encode(h, target)
	c.self.leave(h)
	return err
}

type slice struct{ self, elem *plan }

func (c slice) encode(h *hasher, p addr) error {
	elems, n := sliceAt(p)
	switch {
	case elems == nil:
		h.byte(isNil)
		return nil
	case n == 0:
		h.byte(isValue)
		return nil
	case c.elem.bulk != notBulk:
		h.uvarint(n + isValue)
		h.lump(c.elem.bulk, elems, uintptr(n)*c.elem.size)
		return nil
	}
	inside, err := c.self.enter(h, elems, n)
	if !inside {
		return err
	}
	err = encodeAll(h, c.elem, elems, n)
	c.self.leave(h)
	return err
}

// table is the codec of maps: their entries' digests, sorted.
type table struct{ self, key, elem *plan }

func (c table) encode(h *hasher, p addr) error {
	m := reflect.ValueOf(valueAt(c.self.typ, p).Interface()) // which does not remember p
	if m.IsNil() {
		h.byte(isNil)
		return nil
	}
	if m.Len() == 0 {
		h.byte(isValue)
		return nil
	}
	inside, err := c.self.enter(h, m.UnsafePointer(), m.Len())
	if !inside {
		return err
	}
	outer, first := h.stream, len(h.digests)
	key, elem := reflect.New(c.key.typ), reflect.New(c.elem.typ)
	for it := m.MapRange(); it.Next(); {
		key.Elem().SetIterKey(it)
		elem.Elem().SetIterValue(it)
		h.stream = stream{start: len(h.buf)}
		if err := c.key.encode(h, key.UnsafePointer()); err != nil {
			return within("[key]", err)
		}
		if err := c.elem.encode(h, elem.UnsafePointer()); err != nil {
			return within(entry(key.Elem()), err)
		}
		h.digests = append(h.digests, h.sum())
	}
	h.stream = outer
	sortDigests(h.digests[first:])
	for i := range h.digests[first:] {
		h.bytes(h.digests[first+i][:])
	}
	h.digests = h.digests[:first]
	c.self.leave(h)
	return nil
}

// entry is a step of a path: the key where it is short to say.
func entry(key reflect.Value) string {
	switch {
	case key.Kind() == reflect.String && key.Len() <= maxPath/4:
		return "[" + strconv.Quote(key.String()) + "]"
	case key.CanInt():
		return "[" + strconv.FormatInt(key.Int(), 10) + "]"
	}
	return "[]"
}

// holder is the codec of interfaces: 0 for nil, else the type of what they hold, and that.
type holder struct{ typ reflect.Type }

func (c holder) encode(h *hasher, p addr) error {
	var t reflect.Type // of what it holds
	if c.typ.NumMethod() == 0 {
		t = reflect.TypeOf(*as[any](p))
	} else if v := valueAt(c.typ, p).Elem(); v.IsValid() {
		t = v.Type()
	}
	err := h.held(p, t, nil)
	if _, ok := err.(*pathError); ok { //nolint:errorlint // see within
		return within(".("+t.String()+")", err)
	}
	return err
}

// held appends what the interface at p holds, a t: by its plan, or by its type and its plan.
func (h *hasher) held(p addr, t reflect.Type, known *plan) (err error) {
	if t == nil {
		h.byte(isNil)
		return nil
	}
	c := known
	if c == nil {
		if c, err = planOf(t); err != nil {
			return err
		}
		if c.isError {
			if name, ok := registry.SentinelName(valueAt(t, heldAt(p, c.word)).Interface().(error)); ok {
				h.byte(codeSentinel)
				h.string(name)
				return nil
			}
		}
		if err := h.tag(c); err != nil {
			return err
		}
	}
	if err := h.descend(t); err != nil {
		return err
	}
	at := heldAt(p, c.word)
	if c.lent { // the interface's own value is nobody's to write to
		own := reflect.New(t)
		own.Elem().Set(valueAt(t, at))
		at = own.UnsafePointer()
	}
	err = c.encode(h, at)
	h.depth--
	return err
}

// keyer is the codec of types that have a MemoKey method.
type keyer struct{ typ reflect.Type }

func (c keyer) encode(h *hasher, p addr) error {
	key, err := c.ask(p)
	if err != nil {
		return fmt.Errorf("MemoKey of %s: %w", c.typ, err)
	}
	if err := h.held(addr(&key), reflect.TypeOf(key), nil); err != nil {
		return within(".MemoKey()", err)
	}
	return nil
}

func (c keyer) ask(p addr) (key any, err error) {
	err = contain(func() (err error) {
		key, err = reflect.NewAt(c.typ, p).Interface().(Keyer).MemoKey()
		return err
	})
	return key, err
}

// instant is the codec of time.Time. Two locations of one name may follow different rules, "Local" above all: the zone
// and its bounds at that instant tell them apart, unless they differ elsewhere only.
type instant struct{}

func (instant) encode(h *hasher, p addr) error {
	t := *as[time.Time](p)
	h.uint64(uint64(t.Unix()))
	h.buf = binary.LittleEndian.AppendUint32(h.buf, uint32(t.Nanosecond()))
	loc := t.Location()
	if loc == time.UTC {
		h.byte(0)
		return nil
	}
	h.byte(1)
	h.string(loc.String())
	name, seconds := t.Zone()
	h.string(name)
	h.uint64(uint64(seconds))
	from, to := t.ZoneBounds()
	h.uint64(uint64(from.Unix()))
	h.uint64(uint64(to.Unix()))
	return nil
}

// address is the codec of netip.Addr.
type address struct{}

func (address) encode(h *hasher, p addr) error {
	a := *as[netip.Addr](p)
	h.byte(byte(a.BitLen()))
	switch {
	case a.Is4():
		b := a.As4()
		h.buf = append(h.buf, b[:]...)
	case a.Is6():
		b := a.As16()
		h.buf = append(h.buf, b[:]...)
		h.string(a.Zone())
	}
	return nil
}

type bigInt struct{}

func (bigInt) encode(h *hasher, p addr) error {
	h.bigInt(as[big.Int](p))
	return nil
}

// bigInt appends the sign and the magnitude, whatever the words it is made of.
func (h *hasher) bigInt(x *big.Int) {
	h.byte(byte(x.Sign() + 1))
	n := (x.BitLen() + 7) / 8
	h.uvarint(n)
	h.buf = slices.Grow(h.buf, n)
	h.buf = h.buf[:len(h.buf)+n]
	x.FillBytes(h.buf[len(h.buf)-n:])
	h.relieve()
}

type bigRat struct{}

func (bigRat) encode(h *hasher, p addr) error {
	x := as[big.Rat](p)
	h.bigInt(x.Num())
	h.bigInt(x.Denom())
	return nil
}

// bigFloat is the codec of big.Float: all that its methods tell.
type bigFloat struct{}

func (bigFloat) encode(h *hasher, p addr) error {
	x := as[big.Float](p)
	h.uint64(uint64(x.Prec()))
	h.byte(byte(x.Mode()))
	h.byte(byte(x.Acc() + 1))
	h.string(x.Text('p', 0))
	return nil
}
