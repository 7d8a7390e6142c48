package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"sync"
)

const (
	// maxDepth bounds how deep values nest, and with it the stack: 64 MB at most, on either side.
	maxDepth = 100_000
	// lightDepth is how deep values nest before the encoder looks for cycles. Every level of a cycle costs what
	// it holds, so that it is small.
	lightDepth = 32
)

// isError sets what is visited as an error apart from what is visited as a value.
const isError = -1

var errCycle = errors.New("the data contains itself and cannot be sent to another process")

func tooDeep(t reflect.Type) error {
	return fmt.Errorf("%s is nested more than %d levels deep and cannot be sent to another process", t, maxDepth)
}

// encoder is the state of one value's encoding.
type encoder struct {
	b     []byte
	segs  *[][]byte // where large slices of plain memory go; nil: they stay in b
	depth int
	path  map[visit]struct{} // what is being encoded, from lightDepth on, and all errors

	errDepth int // how many errors the present one is inside of
	foreign  int // how many errors of the outermost one's tree crossed as their text and tree
	wasted   int // how many values of registered types in that tree were begun and could not be finished
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

func newEncoder(b []byte) *encoder {
	e := encoders.Get().(*encoder)
	e.b = b
	return e
}

// free ends the encoder and returns what it wrote.
func (e *encoder) free() []byte {
	b := e.b
	*e = encoder{}
	encoders.Put(e)
	return b
}

// written returns how much was written so far, for cut to forget what follows.
func (e *encoder) written() (b, segs int) {
	if e.segs != nil {
		segs = len(*e.segs)
	}
	return len(e.b), segs
}

// cut forgets what was written since.
func (e *encoder) cut(b, segs int) {
	e.b = e.b[:b]
	if e.segs != nil {
		clear((*e.segs)[segs:])
		*e.segs = (*e.segs)[:segs]
	}
}

// visit is something that could contain itself. Two of different types may share an address: a struct and its first
// field.
type visit struct {
	typ reflect.Type
	at  addr
	n   int // a slice's length, or isError
}

// enter begins a value that may contain itself. Without an error, leave ends it.
func (e *encoder) enter(v visit) error {
	if err := e.descend(v.typ); err != nil {
		return err
	}
	if e.depth > lightDepth && !e.mark(v) {
		e.depth--
		return errCycle
	}
	return nil
}

func (e *encoder) leave(v visit) {
	if e.depth > lightDepth {
		delete(e.path, v)
	}
	e.depth--
}

// descend counts a level that no cycle is without others. Without an error, the caller takes it back.
func (e *encoder) descend(t reflect.Type) error {
	if e.depth >= maxDepth {
		return tooDeep(t)
	}
	e.depth++
	return nil
}

// mark puts v on the path, unless it is there.
func (e *encoder) mark(v visit) bool {
	if _, ok := e.path[v]; ok {
		return false
	}
	if e.path == nil {
		e.path = map[visit]struct{}{}
	}
	e.path[v] = struct{}{}
	return true
}

func (e *encoder) byte(c byte) { e.b = append(e.b, c) }

func (e *encoder) uvarint(n int) { e.b = binary.AppendUvarint(e.b, uint64(n)) }

func (e *encoder) string(s string) {
	e.uvarint(len(s))
	e.b = append(e.b, s...)
}
