package wire

import (
	"encoding/binary"
	"reflect"
	"strconv"
)

// structure is the codec of structs that are not plain.
type structure struct{ fields []field }

// field is a struct's field, or a run of plain ones.
type field struct {
	*plan
	offset uintptr
	name   string
}

// precedes reports whether the field is plain and ends at the given offset.
func (f field) precedes(at uintptr) bool { return f.plain && f.offset+f.size == at }

func (c structure) encode(e *encoder, p addr) error {
	for i := range c.fields {
		f := &c.fields[i]
		if err := f.encode(e, offset(p, f.offset)); err != nil {
			return within("."+f.name, err)
		}
	}
	return nil
}

func (c structure) decode(d *decoder, p addr) error {
	for i := range c.fields {
		f := &c.fields[i]
		if err := f.decode(d, offset(p, f.offset)); err != nil {
			return within("."+f.name, err)
		}
	}
	return nil
}

// array is the codec of arrays that are not plain.
type array struct {
	elem *plan
	n    int
}

func (c array) encode(e *encoder, p addr) error { return encodeAll(e, c.elem, p, c.n) }

func (c array) decode(d *decoder, p addr) error { return decodeAll(d, c.elem, p, c.n) }

func encodeAll(e *encoder, elem *plan, p addr, n int) error {
	for i := range n {
		if err := elem.encode(e, offset(p, uintptr(i)*elem.size)); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

func decodeAll(d *decoder, elem *plan, p addr, n int) error {
	for i := range n {
		if err := elem.decode(d, offset(p, uintptr(i)*elem.size)); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

// slice writes 0 for nil, else the length plus one and the elements: plain ones as one block.
type slice struct {
	typ  reflect.Type
	elem *plan
}

func (c slice) encode(e *encoder, p addr) error {
	elems, n := sliceAt(p)
	if elems == nil {
		e.uvarint(0)
		return nil
	}
	e.uvarint(n + 1)
	if c.elem.plain {
		b := memory(elems, uintptr(n)*c.elem.size)
		if e.segs != nil && len(b) >= SegmentSize {
			*e.segs = append(*e.segs, b)
		} else {
			e.b = append(e.b, b...)
		}
		return nil
	}
	v := visit{c.typ, elems, n}
	if err := e.enter(v); err != nil {
		return err
	}
	defer e.leave(v)
	return encodeAll(e, c.elem, elems, n)
}

func (c slice) decode(d *decoder, p addr) error {
	if d.segs != nil && c.elem.plain {
		if taken, err := c.adopt(d, p); taken || err != nil {
			return err
		}
	}
	n, err := d.count(c.elem.cost)
	if err != nil || n < 0 {
		return err
	}
	v := valueAt(c.typ, p)
	if n == 0 {
		v.Set(reflect.MakeSlice(c.typ, 0, 0))
		return nil
	}
	v.Grow(n) // unlike MakeSlice, it allocates no slice header
	v.SetLen(n)
	v.SetCap(n)
	if c.elem.plain {
		b, err := d.take(n * int(c.elem.size))
		copy(memory(v.UnsafePointer(), uintptr(len(b))), b)
		return err
	}
	if err := d.descend(c.typ); err != nil {
		return err
	}
	err = decodeAll(d, c.elem, v.UnsafePointer(), n)
	d.depth--
	return err
}

// adopt makes the next segment the slice's memory, where the slice is so large that it travelled in one.
func (c slice) adopt(d *decoder, p addr) (bool, error) {
	n, size := binary.Uvarint(d.b)
	if size <= 0 || n < 2 || c.elem.size == 0 || n-1 < uint64(SegmentSize+c.elem.size-1)/uint64(c.elem.size) {
		return false, nil
	}
	seg, err := d.segs.next()
	if err != nil {
		return false, err
	}
	if uint64(len(seg))/uint64(c.elem.size) != n-1 || uint64(len(seg))%uint64(c.elem.size) != 0 {
		return false, damaged("a segment of %d bytes for %d elements of %s", len(seg), n-1, c.elem.typ)
	}
	d.b = d.b[size:]
	setSlice(p, seg, int(n-1))
	return true, nil
}

// pointer writes 0 for nil, else 1 and what it points to.
type pointer struct {
	typ  reflect.Type
	elem *plan
}

func (c pointer) encode(e *encoder, p addr) error {
	target := *as[addr](p)
	if target == nil {
		e.byte(0)
		return nil
	}
	e.byte(1)
	v := visit{c.typ, target, 0}
	if err := e.enter(v); err != nil {
		return err
	}
	err := c.elem.encode(e, target)
	e.leave(v)
	return err
}

func (c pointer) decode(d *decoder, p addr) error {
	tag, err := d.tag(1)
	if err != nil || tag == 0 {
		return err
	}
	if err := d.spend(1, c.elem.cost); err != nil {
		return err
	}
	if err := d.descend(c.typ); err != nil {
		return err
	}
	target := reflect.New(c.elem.typ).UnsafePointer()
	*as[addr](p) = target
	err = c.elem.decode(d, target)
	d.depth--
	return err
}

// table is the codec of maps: 0 for nil, else the number of entries plus one, and keys and values in no order.
type table struct {
	typ       reflect.Type
	key, elem *plan
}

func (c table) encode(e *encoder, p addr) error {
	m := valueAt(c.typ, p)
	if m.IsNil() {
		e.uvarint(0)
		return nil
	}
	e.uvarint(m.Len() + 1)
	v := visit{c.typ, m.UnsafePointer(), 0}
	if err := e.enter(v); err != nil {
		return err
	}
	defer e.leave(v)
	key, elem := reflect.New(c.key.typ).Elem(), reflect.New(c.elem.typ).Elem()
	keyAt, elemAt := addrOf(key), addrOf(elem)
	for it := m.MapRange(); it.Next(); {
		key.SetIterKey(it)
		elem.SetIterValue(it)
		if err := c.key.encode(e, keyAt); err != nil {
			return within("[key]", err)
		}
		if err := c.elem.encode(e, elemAt); err != nil {
			return within(entry(key), err)
		}
	}
	return nil
}

func (c table) decode(d *decoder, p addr) error {
	n, err := d.count(c.key.cost + c.elem.cost)
	if err != nil || n < 0 {
		return err
	}
	if c.key.size == 0 && n > 1 {
		return damaged("%d entries in a map that has room for one", n)
	}
	if err := d.spend(1, emptyMap); err != nil {
		return err
	}
	if err := d.descend(c.typ); err != nil {
		return err
	}
	m := reflect.MakeMapWithSize(c.typ, n)
	valueAt(c.typ, p).Set(m)
	key, elem := reflect.New(c.key.typ).Elem(), reflect.New(c.elem.typ).Elem()
	keyAt, elemAt := addrOf(key), addrOf(elem)
	for range n {
		key.SetZero()
		elem.SetZero()
		if err := c.key.decode(d, keyAt); err != nil {
			return within("[key]", err)
		}
		if !key.Comparable() {
			return damaged("a key of %s that cannot be compared", c.typ)
		}
		if err := c.elem.decode(d, elemAt); err != nil {
			return within(entry(key), err)
		}
		m.SetMapIndex(key, elem)
	}
	d.depth--
	return nil
}

// emptyMap is what a map takes without its entries.
const emptyMap = 48

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
