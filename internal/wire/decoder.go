package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"sync"
)

// allowance is how many bytes of memory one byte of input may ask for. Honest messages ask for less: the worst is an
// empty map, 56 bytes for one.
const allowance = 64

func damaged(format string, args ...any) error {
	return fmt.Errorf("damaged message: "+format, args...)
}

// decoder is the state of one value's decoding.
type decoder struct {
	b      []byte    // what is left
	segs   *Segments // where large slices of plain memory are; nil: in b
	budget uint64    // bytes of memory it may still ask for
	depth  int
	zone   zone // the last one met
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

func newDecoder(b []byte) *decoder {
	d := decoders.Get().(*decoder)
	d.b, d.budget = b, allowance*uint64(len(b))
	return d
}

// free ends the decoder and returns what it did not read.
func (d *decoder) free() []byte {
	b := d.b
	*d = decoder{}
	decoders.Put(d)
	return b
}

// descend counts a level of nesting, of which there is one more than when encoding: an error met at the last level
// crosses as its text. The caller takes it back, unless decoding ends in an error.
func (d *decoder) descend(t reflect.Type) error {
	if d.depth > maxDepth {
		return tooDeep(t)
	}
	d.depth++
	return nil
}

// spend accounts for memory before it is allocated.
func (d *decoder) spend(n int, cost uint64) error {
	if cost > 0 && uint64(n) > d.budget/cost {
		return damaged("it asks for more memory than it can fill")
	}
	d.budget -= uint64(n) * cost
	return nil
}

func (d *decoder) take(n int) ([]byte, error) {
	if n > len(d.b) {
		return nil, damaged("want %d bytes, have %d", n, len(d.b))
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b, nil
}

func (d *decoder) byte() (byte, error) {
	if len(d.b) == 0 {
		return 0, damaged("it ends early")
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c, nil
}

// tag reads a byte that is at most max.
func (d *decoder) tag(max byte) (byte, error) {
	c, err := d.byte()
	if err == nil && c > max {
		err = damaged("want a tag of at most %d, have %d", max, c)
	}
	return c, err
}

func (d *decoder) uvarint() (int, error) {
	n, size := binary.Uvarint(d.b)
	if size <= 0 || n > math.MaxInt {
		return 0, damaged("no length")
	}
	d.b = d.b[size:]
	return int(n), nil
}

// bytes reads a length and as many bytes; they are the message's.
func (d *decoder) bytes() ([]byte, error) {
	n, err := d.uvarint()
	if err != nil {
		return nil, err
	}
	return d.take(n)
}

func (d *decoder) string() (string, error) {
	b, err := d.bytes()
	return string(b), err
}

// count reads the number of elements that follow, -1 for a nil slice or map, and accounts for their memory.
func (d *decoder) count(cost uint64) (int, error) {
	n, err := d.uvarint()
	if err != nil || n == 0 {
		return -1, err
	}
	n--
	if cost > 0 && n > len(d.b) {
		return 0, damaged("want %d elements, have %d bytes", n, len(d.b))
	}
	return n, d.spend(n, cost)
}
