package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
)

// A batch's body is
//
//	flags, seed, attempt     what its calls have in common
//	row, row, ...            a call each: how it differs from the one before, and its arguments
//
// or, where one function is called with values of one plain type, a column: the first call, and the values as they lie
// in memory. The body of results is flags and as many rows, or a column.
//
// Slices of plain memory from SegmentSize on may travel beside the body, each by itself and uncopied.

// SegmentSize is from how many bytes on a slice of plain memory travels as a segment, where the link has them.
const SegmentSize = 32 << 10

const (
	column = 1 << iota // the values lie in one piece
	timed              // a result says how long its call took
	split              // large slices are in segments
	known  = column | timed | split
)

// Segments are the segments of a message that have not been read yet.
type Segments [][]byte

func (s *Segments) next() ([]byte, error) {
	if len(*s) == 0 {
		return nil, damaged("a segment is missing")
	}
	seg := (*s)[0]
	if len(seg) > 0 && !aligned(seg) {
		return nil, damaged("a segment does not lie where a slice may")
	}
	*s = (*s)[1:]
	return seg, nil
}

// Head is what the calls of a batch have in common.
type Head struct {
	Seed    uint64 // the run's
	Attempt int
	Timed   bool // the results say how long each call took
}

// Call is one call on its way to a worker.
type Call struct {
	Func  string // the registered name
	Name  string // given by Named, or empty
	Index int
}

// Batch is calls being encoded for a worker. Its memory may be used for one batch after the other.
type Batch struct {
	Head
	Body     []byte
	Segments [][]byte // they are the values' own memory
	N        int      // calls in it
	large    int      // bytes in segments
	last     Call
}

// Begin makes b an empty batch. With segments, large slices travel beside the body.
func (b *Batch) Begin(h Head, segments bool) {
	clear(b.Segments)
	*b = Batch{Head: h, Body: b.Body[:0], Segments: b.Segments[:0]}
	var flags byte
	if h.Timed {
		flags |= timed
	}
	if segments {
		flags |= split
	}
	b.Body = binary.LittleEndian.AppendUint64(append(b.Body, flags), h.Seed)
	b.Body = binary.AppendUvarint(b.Body, uint64(h.Attempt))
}

const (
	otherFunc = 1 << iota // than the call before
	named
	jumps    // its index is not the next one
	segments // of its own, from a place that it tells
)

// Add adds a call. fn is the function's type; a leading context is not among args. After an error b is as it was.
func (b *Batch) Add(c Call, fn reflect.Type, args []any) error {
	return b.add(c, len(args), func(e *encoder) error {
		for i, a := range args {
			v := reflect.New(param(fn, i)).Elem()
			if a != nil {
				v.Set(reflect.ValueOf(a))
			}
			p, err := planOf(v.Type())
			if err == nil {
				err = p.encode(e, addrOf(v))
			}
			if err != nil {
				return fmt.Errorf("argument %d: %w", i, labeled(v.Type(), err))
			}
		}
		return nil
	})
}

// AddOne is Batch.Add for a function of one argument, whose type is known to the compiler.
func AddOne[A any](b *Batch, c Call, a *A) error {
	p, err := planOf(reflect.TypeFor[A]())
	if err == nil && p.plain && p.size < maxFrame/2 {
		b.addPlain(c, memory(addr(a), p.size)) // here and below: what does not escape need not be allocated
		return nil
	}
	if err == nil {
		lasting := *a
		err = b.add(c, 1, func(e *encoder) error { return p.encode(e, addr(&lasting)) })
	}
	if err != nil {
		return fmt.Errorf("argument 0: %w", labeled(reflect.TypeFor[A](), err))
	}
	return nil
}

// AddColumn adds to an empty batch the calls of one function with each of as, of which c is the first; false: this needs
// values of a plain type.
func AddColumn[A any](b *Batch, c Call, as []A) bool {
	p, err := planOf(reflect.TypeFor[A]())
	if err != nil || !p.plain || p.size == 0 {
		return false
	}
	b.Body[0] |= column
	b.Body = appendString(appendString(b.Body, c.Func), c.Name)
	b.Body = binary.AppendUvarint(b.Body, uint64(c.Index))
	b.Body = append(b.Body, make([]byte, -len(b.Body)&7)...)
	b.Body = append(b.Body, columnOf(as)...)
	b.N = len(as)
	return true
}

// begin appends what comes before a call's arguments, with room for its length and flags; these are returned.
func (b *Batch) begin(c Call) (body []byte, flags byte) {
	body = b.Body
	body = append(body, 0, 0, 0, 0, 0)
	if c.Func != b.last.Func {
		flags |= otherFunc
		body = appendString(body, c.Func)
	}
	if c.Name != "" {
		flags |= named
		body = appendString(body, c.Name)
	}
	if b.N == 0 || c.Index != b.last.Index+1 {
		flags |= jumps
		body = binary.AppendUvarint(body, uint64(c.Index))
	}
	return body, flags
}

// end makes the call that begins at start a part of the batch.
func (b *Batch) end(c Call, body []byte, start int, flags byte) {
	binary.LittleEndian.PutUint32(body[start:], uint32(len(body)-start-4))
	body[start+4] = flags
	b.Body, b.last = body, c
	b.N++
}

// addPlain adds a call with one argument, as it lies in memory.
func (b *Batch) addPlain(c Call, arg []byte) {
	start := len(b.Body)
	body, flags := b.begin(c)
	b.end(c, append(append(body, 1), arg...), start, flags)
}

func (b *Batch) add(c Call, args int, write func(*encoder) error) error {
	start, segs := len(b.Body), len(b.Segments)
	body, flags := b.begin(c)
	at := len(body)
	body = binary.AppendUvarint(body, uint64(args))

	e := newEncoder(body)
	if b.Body[0]&split != 0 {
		e.segs = &b.Segments
	}
	err := write(e)
	body = e.free()
	n := len(body) - start - 4
	if err == nil && n > maxFrame-16 {
		err = fmt.Errorf("its arguments are %d bytes, more than the %d that can be sent at once", n, maxFrame)
	}
	if err == nil && len(b.Segments) > maxSegments {
		err = fmt.Errorf("its arguments have more than the %d large slices that can be sent at once", maxSegments)
	}
	if err != nil {
		clear(b.Segments[segs:])
		b.Segments = b.Segments[:segs]
		return err
	}
	for _, s := range b.Segments[segs:] {
		b.large += len(s)
	}
	if len(b.Segments) > segs { // rare: make room for the place of the first
		flags |= segments
		place := binary.AppendUvarint(nil, uint64(segs))
		body = append(body, place...)
		copy(body[at+len(place):], body[at:])
		copy(body[at:], place)
	}
	b.end(c, body, start, flags)
	return nil
}

// Size is how many bytes the calls added so far take.
func (b *Batch) Size() int { return len(b.Body) + b.large }

// Reader reads a batch.
type Reader struct {
	Head
	flags byte
	size  int // of all of it
	body  []byte
	segs  Segments
	last  Call
}

// ReadBatch begins to read a batch.
func ReadBatch(body []byte, segs [][]byte) (*Reader, error) {
	if len(body) < 9 || body[0]&^known != 0 {
		return nil, damaged("no batch")
	}
	r := &Reader{flags: body[0], size: len(body), segs: segs}
	r.Timed, r.Seed = r.flags&timed != 0, binary.LittleEndian.Uint64(body[1:])
	attempt, body, err := readUvarint(body[9:])
	r.Attempt, r.body = int(attempt), body
	return r, err
}

// Column returns the first call of a batch that is a column, and the values, in memory that may be used as an array of
// theirs; false: it is none, and is read by Next.
func (r *Reader) Column() (c Call, values []byte, ok bool, err error) {
	if r.flags&column == 0 {
		return c, nil, false, nil
	}
	b := r.body
	if c.Func, b, err = readString(b); err == nil {
		if c.Name, b, err = readString(b); err == nil {
			var index uint64
			index, b, err = readUvarint(b)
			c.Index = int(index)
		}
	}
	if err != nil {
		return c, nil, true, err
	}
	pad := -(r.size - len(b)) & 7
	if pad > len(b) {
		return c, nil, true, errShort
	}
	if b = b[pad:]; len(b) > 0 && !aligned(b) {
		b = append(columnOf(make([]uint64, len(b)/8+1))[:0], b...)
	}
	return c, b, true, nil
}

// Args are a call's arguments, not read yet.
type Args struct {
	n    int
	b    []byte
	segs Segments
	seg  bool
}

// Next returns the next call of a batch. After an error those that follow cannot be read either.
func (r *Reader) Next() (c Call, a Args, err error) {
	b, rest, err := CutFrame(r.body)
	if err != nil || len(b) == 0 {
		return c, a, errShort
	}
	r.body = rest
	flags := b[0]
	b = b[1:]
	c = Call{Func: r.last.Func, Index: r.last.Index + 1}
	if flags&otherFunc != 0 {
		if c.Func, b, err = readString(b); err != nil {
			return c, a, err
		}
	}
	if flags&named != 0 {
		if c.Name, b, err = readString(b); err != nil {
			return c, a, err
		}
	}
	var n uint64
	if flags&jumps != 0 {
		if n, b, err = readUvarint(b); err != nil {
			return c, a, err
		}
		c.Index = int(n)
	}
	a.seg = r.flags&split != 0
	if flags&segments != 0 {
		if n, b, err = readUvarint(b); err != nil || n > uint64(len(r.segs)) {
			return c, a, errShort
		}
		a.segs = r.segs[n:]
	}
	if n, b, err = readUvarint(b); err != nil || n > uint64(len(b)) && n > 1<<16 {
		return c, a, errShort
	}
	a.n, a.b = int(n), b
	r.last = c
	return c, a, nil
}

// Values reads the arguments as those of a function and appends them to in. What in holds beyond its length is used
// again, where it is settable and of the right type.
func (a Args) Values(in []reflect.Value, fn reflect.Type) ([]reflect.Value, error) {
	fixed := fn.NumIn()
	if TakesContext(fn) {
		fixed--
	}
	if fn.IsVariadic() && a.n < fixed-1 || !fn.IsVariadic() && a.n != fixed {
		return in, fmt.Errorf("%d arguments came for %v", a.n, fn)
	}
	for i := range a.n {
		t := param(fn, i)
		n := len(in)
		if n < cap(in) {
			in = in[:n+1]
		} else {
			in = append(in, reflect.Value{})
		}
		if v := in[n]; v.IsValid() && v.CanSet() && v.Type() == t {
			v.SetZero()
		} else {
			in[n] = reflect.New(t).Elem()
		}
		if err := a.read(t, in[n].Addr().UnsafePointer()); err != nil {
			return in, fmt.Errorf("argument %d: %w", i, err)
		}
	}
	return in, a.end()
}

// ReadOne reads the only argument.
func ReadOne[A any](a Args, v *A) error {
	if a.n != 1 {
		return fmt.Errorf("%d arguments came for a function of one", a.n)
	}
	p, err := planOf(reflect.TypeFor[A]())
	if err == nil && p.plain && len(a.b) == int(p.size) {
		copy(memory(addr(v), p.size), a.b)
		return nil
	}
	return readSlowly(a, v)
}

func readSlowly[A any](a Args, v *A) error {
	lasting := new(A)
	if err := a.read(reflect.TypeFor[A](), addr(lasting)); err != nil {
		return fmt.Errorf("argument 0: %w", err)
	}
	*v = *lasting
	return a.end()
}

func (a *Args) read(t reflect.Type, at addr) (err error) {
	a.b, err = decodeAt(a.b, &a.segs, a.seg, t, at)
	return err
}

func (a *Args) end() error {
	if len(a.b) > 0 {
		return damaged("%d bytes too many", len(a.b))
	}
	return nil
}

// decodeAt decodes into zeroed memory.
func decodeAt(b []byte, segs *Segments, split bool, t reflect.Type, at addr) ([]byte, error) {
	p, err := planOf(t)
	if err != nil {
		return b, labeled(t, err)
	}
	d := newDecoder(b)
	if split {
		d.segs = segs
	}
	err = p.decode(d, at)
	return d.free(), labeled(t, err)
}

// AppendFrame appends what write appends, with its length in front: a reader can skip it unread. What fits into b's
// memory lies there. After an error b is as it was.
func AppendFrame(b []byte, write func([]byte) ([]byte, error)) ([]byte, error) {
	start := len(b)
	grown, err := write(append(b, 0, 0, 0, 0))
	if err != nil {
		return b, err
	}
	n := len(grown) - start - 4
	if n > maxFrame {
		return b, fmt.Errorf("%d bytes are more than the %d that can be sent at once", n, maxFrame)
	}
	binary.LittleEndian.PutUint32(grown[start:], uint32(n))
	if cap(grown) > cap(b) && len(grown) <= cap(b) { // it was longer for a while
		grown = append(b, grown[start:]...)
	}
	return grown, nil
}

// maxFrame leaves the two highest bits of a length free; see ResultTag.
const maxFrame = 1<<30 - 1

// CutFrame returns the frame that b begins with and what follows it.
func CutFrame(b []byte) (frame, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errShort
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n > uint64(len(b)-4) {
		return nil, nil, errShort
	}
	return b[4 : 4+n], b[4+n:], nil
}

var errShort = errors.New("it ends too early")

// TakesContext reports whether a function gets its run's context, as its first parameter: that one does not travel.
func TakesContext(fn reflect.Type) bool {
	return fn.NumIn() > 0 && fn.In(0) == reflect.TypeFor[context.Context]()
}

// param returns the type of argument i of a function, a leading context not counted.
func param(fn reflect.Type, i int) reflect.Type {
	if TakesContext(fn) {
		i++
	}
	if fn.IsVariadic() && i >= fn.NumIn()-1 {
		return fn.In(fn.NumIn() - 1).Elem()
	}
	return fn.In(i)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func readString(b []byte) (string, []byte, error) {
	n, b, err := readUvarint(b)
	if err != nil || n > uint64(len(b)) {
		return "", nil, errShort
	}
	return string(b[:n]), b[n:], nil
}

func readUvarint(b []byte) (uint64, []byte, error) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, nil, errShort
	}
	return n, b[size:], nil
}
