package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// The body of results is one byte of flags and then a frame for each call: how long it took, where the batch asked for
// that, and its value. Of values of one plain type it may be a column instead.

// ResultFlags is the first byte of a body of results.
func ResultFlags(isColumn, isTimed, hasSegments bool) (f byte) {
	if isColumn {
		f |= column
	}
	if isTimed {
		f |= timed
	}
	if hasSegments {
		f |= split
	}
	return f
}

// Where a result should be on a board, its frame's length may be marked: what follows is a failure, or nothing, the
// answer having been sent by itself.
const (
	FailureTag   = 1 << 30
	ElsewhereTag = 2 << 30
	TagMask      = FailureTag | ElsewhereTag
)

// What the first bytes of an arena say of the calls whose results lie in a column behind them.
const (
	ColumnResult    = 1
	ColumnElsewhere = 2
)

// FormOf is how results lie in an arena: the flags of their body, and the size of a value where they are a column.
func FormOf(flags byte, size int) uint64 { return uint64(size)<<8 | uint64(flags) }

// Form is the inverse of FormOf.
func Form(f uint64) (isColumn, isTimed bool, size int) {
	return f&column != 0, f&timed != 0, int(f >> 8 & (1<<31 - 1))
}

// CutRow returns the row at rows[at:], what it is, and where the next one begins.
func CutRow(rows []byte, at int) (tag uint32, row []byte, next int, err error) {
	if len(rows)-at < 4 {
		return 0, nil, 0, errShort
	}
	w := binary.LittleEndian.Uint32(rows[at:])
	tag = w & TagMask
	n := int(w &^ TagMask)
	if at += 4; n > len(rows)-at {
		return 0, nil, 0, errShort
	}
	return tag, rows[at : at+n : at+n], at + n, nil
}

// ReadRow reads a row that is no result.
func ReadRow(row []byte, isTimed bool) (took time.Duration, body []byte, err error) {
	if !isTimed {
		return 0, row, nil
	}
	if len(row) < 8 {
		return 0, nil, errShort
	}
	return max(0, time.Duration(binary.LittleEndian.Uint64(row))), row[8:], nil
}

// AppendResult appends the result of a call to b: v, or nothing when v is invalid. With segs, large slices go there.
// What fits into b's memory lies there: a worker looks no further than its length.
func AppendResult(b []byte, segs *[][]byte, isTimed bool, took time.Duration, v reflect.Value) ([]byte, error) {
	if !v.IsValid() {
		return appendResult(b, segs, isTimed, took, nil, nil)
	}
	p, err := planOf(v.Type())
	if err != nil {
		return b, labeled(v.Type(), err)
	}
	return appendResult(b, segs, isTimed, took, p, addrOf(v))
}

// AppendResultOf is AppendResult for a type that is known to the compiler.
func AppendResultOf[R any](b []byte, segs *[][]byte, isTimed bool, took time.Duration, v *R) ([]byte, error) {
	p, err := planOf(reflect.TypeFor[R]())
	if err != nil {
		return b, labeled(reflect.TypeFor[R](), err)
	}
	if p.plain && p.size <= maxFrame && !isTimed {
		return append(binary.LittleEndian.AppendUint32(b, uint32(p.size)), memory(addr(v), p.size)...), nil
	}
	lasting := *v
	return appendResult(b, segs, isTimed, took, p, addr(&lasting))
}

func appendResult(b []byte, segs *[][]byte, isTimed bool, took time.Duration, p *plan, at addr) ([]byte, error) {
	return AppendFrame(b, func(b []byte) ([]byte, error) {
		if isTimed {
			b = binary.LittleEndian.AppendUint64(b, uint64(took))
		}
		switch {
		case p == nil:
			return b, nil
		case p.plain:
			return append(b, memory(at, p.size)...), nil
		}
		e := newEncoder(b)
		e.segs = segs
		err := p.encode(e, at)
		b = e.free()
		if err == nil && segs != nil && len(*segs) > maxSegments {
			err = fmt.Errorf("it has more than the %d large slices that can be sent at once", maxSegments)
		}
		return b, labeled(p.typ, err)
	})
}

// Column returns the size of one value when results of type t may lie in a column, else 0.
func Column(t reflect.Type) int {
	if p, err := planOf(t); err == nil && p.plain {
		return int(p.size)
	}
	return 0
}

// AsColumn views memory, which begins where any value may, as n values of a plain type.
func AsColumn[T any](b []byte, n int) ([]T, bool) {
	size := Column(reflect.TypeFor[T]())
	if size == 0 || n < 0 || n > len(b)/size || n > 0 && !aligned(b) {
		return nil, false
	}
	if n == 0 {
		return []T{}, true // nothing lies behind the end of b
	}
	return asColumn[T](b, n), true
}

// ResultReader reads a body of results.
type ResultReader struct {
	flags byte
	b     []byte
	segs  Segments
}

// ReadResults begins to read a body of results.
func ReadResults(body []byte, segs [][]byte) (ResultReader, error) {
	if len(body) == 0 || body[0]&^known != 0 {
		return ResultReader{}, errShort
	}
	return ResultReader{body[0], body[1:], segs}, nil
}

// ReadColumn copies the results into out when they are a column of its type; false: they are not.
func ReadColumn[R any](r ResultReader, out []R) bool {
	if r.flags&column == 0 {
		return false
	}
	size := Column(reflect.TypeFor[R]())
	if size == 0 || len(r.b) != size*len(out) {
		return false
	}
	copy(columnOf(out), r.b)
	return true
}

// IsColumn reports whether the results are a column.
func (r ResultReader) IsColumn() bool { return r.flags&column != 0 }

// Value is a result that has not been read yet.
type Value struct {
	Took time.Duration // where the batch asked for it
	b    []byte
	segs Segments
	seg  bool
}

// Next returns the result of the next call, of which n are left in the body.
func (r *ResultReader) Next(n int) (v Value, err error) {
	v.segs, v.seg = r.segs, r.flags&split != 0
	if r.flags&column != 0 {
		if n <= 0 || len(r.b)%n != 0 {
			return v, errShort
		}
		size := len(r.b) / n
		v.b, r.b = r.b[:size], r.b[size:]
		return v, nil
	}
	if v.b, r.b, err = CutFrame(r.b); err != nil {
		return v, err
	}
	if r.flags&timed != 0 {
		if len(v.b) < 8 {
			return v, errShort
		}
		v.Took = time.Duration(binary.LittleEndian.Uint64(v.b))
		v.b = v.b[8:]
	}
	return v, nil
}

// Read reads the value, settable.
func (v Value) Read(t reflect.Type) (reflect.Value, error) {
	out := reflect.New(t)
	err := v.readAt(t, out.UnsafePointer())
	return out.Elem(), err
}

func (v Value) readAt(t reflect.Type, at addr) error {
	segs := v.segs
	rest, err := decodeAt(v.b, &segs, v.seg, t, at)
	if err == nil && len(rest) > 0 {
		err = damaged("%d bytes too many", len(rest))
	}
	return err
}

// ReadValueInto reads the value into *out.
func ReadValueInto[R any](v Value, out *R) error {
	if ReadPlain(v, out) {
		return nil
	}
	*out = *new(R)
	return v.readAt(reflect.TypeFor[R](), addr(out))
}

// ReadPlain reads the value into *out, which need not be allocated for it; false: R is not plain, or the value is no R.
func ReadPlain[R any](v Value, out *R) bool {
	p, err := planOf(reflect.TypeFor[R]())
	if err != nil || !p.plain || len(v.b) != int(p.size) {
		return false
	}
	copy(memory(addr(out), p.size), v.b)
	return true
}

// Verdict says what a failure means for another attempt.
type Verdict byte

const (
	Failed  Verdict = iota // the call was made and failed; it may be tried again
	Final                  // it was made, but what it returned cannot be sent
	Refused                // it was not made and never can be
)

// AppendFailure appends the error of a call.
func AppendFailure(b []byte, err error, v Verdict) []byte {
	return AppendError(append(b, byte(v)), err)
}

// ReadFailure reads what AppendFailure has appended.
func ReadFailure(b []byte) (err error, v Verdict, bad error) {
	if len(b) == 0 {
		return nil, Failed, errShort
	}
	err, _, bad = ReadError(b[1:])
	if bad == nil && err == nil {
		bad = errors.New("a failure without an error")
	}
	return err, Verdict(b[0]), bad
}

// At reads value k of a column of values of a plain type.
func At(column []byte, k int, t reflect.Type) (reflect.Value, error) {
	size := Column(t)
	if size == 0 || k < 0 || k >= len(column)/size {
		return reflect.Value{}, errShort
	}
	v := reflect.New(t)
	copy(memory(v.UnsafePointer(), uintptr(size)), column[k*size:])
	return v.Elem(), nil
}
