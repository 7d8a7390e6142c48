package memo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"reflect"
	"slices"
	"sync"
)

// Digest is a key: what Hash makes of a value.
type Digest [sha256.Size]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Keyer is a type that says itself what identifies its values, where the fields do not: they hold a lock, a cache or
// what differs between equal values, or they are many and an identifier stands for them.
//
//	func (d *Dataset) MemoKey() (any, error) { return d.Version, nil }
//
// The digest is that of the type's name and the returned value, of whatever type; nothing else of the value counts.
// Values whose keys are equal must be the same to every function. MemoKey is called on the value itself, not on a
// copy, with a pointer receiver too, and never with a nil pointer; an interface that holds a T, not a *T, is the
// exception: what a pointer receiver gets is a copy. It must not change the value and may be called concurrently, on a
// goroutine of its own, which costs about 1 µs. Its error is the error of Hash, as are its panic and its runtime.Goexit.
//
// A struct that has the method from an embedded field only is hashed field by field.
type Keyer interface {
	MemoKey() (any, error)
}

// Hash returns a digest of v: the same for equal values, in every process, on every machine and with every release of
// this module; different for values that a function of v can tell apart.
//
// Types count: int(1), int64(1), 1.0 and T(1) have different digests. A named type is its package path, its name and
// what it is made of, so that changing it changes the digests of its values. All fields count, unexported ones too,
// but those named _. nil and empty differ, and 0 and -0. Map entries have no order, every NaN is the same, and neither
// a slice's capacity nor what lies beyond its length counts.
//
// A pointer is what it points to. Whether two pointers lead to one value or to two equal ones does not count, as it
// does not survive the way to another process either; data that contains itself has a digest. An error variable given
// to parallel.Register, or the standard library's, is that variable: io.EOF and errors.New("EOF") differ. A time.Time
// is its instant, its location's name, and the zone there with its bounds; the monotonic reading does not count.
//
// Numbers of math/big and addresses of net/netip are what they stand for, and a [Keyer] is what it says. No other
// method is asked: MarshalBinary and its like may leave out what matters. Other types of the standard library
// are their fields, so that a release of Go which changes these changes the digests.
//
// It is an error, which names the field, where v has a channel, a function, an unsafe.Pointer or a uintptr, types of
// sync, sync/atomic or os that mean something in this process only, or a *time.Location; where it is nested deeper
// than 100,000 levels; where ways through its pointers, slices and maps are more than 64 million; and where v has
// types that were declared in two functions with the same name and fields, which nothing can tell apart.
//
// Two digests are equal by accident, or by the intent of whoever made the values, as seldom as SHA-256 allows.
// A small value takes 100 to 200 ns and allocates nothing unless it holds a map; 1 MB of numbers takes 0.6 ms where the
// CPU has instructions for SHA-256. Hash may be called concurrently; nobody may write to what v holds meanwhile.
func Hash(v any) (Digest, error) {
	h := newHasher()
	defer h.free()
	if err := h.value(v); err != nil {
		return Digest{}, fmt.Errorf("parallel: %w", err)
	}
	return h.sum(), nil
}

// What a stream of bytes that is hashed begins with: none is the start of another.
const (
	ofValues = 1 // then come values, each with its type
	ofCall   = 2 // then come a signature's seed, and arguments
)

const (
	// maxDepth bounds how deep values nest, and with it the stack.
	maxDepth = 100_000
	// maxSteps bounds the work where pointers meet again and again: every way to a value is gone.
	maxSteps = 1 << 26
	// block is how many bytes are gathered before they are hashed.
	block = 4096
	// maxKept bounds the memory of a hasher that waits for its next use.
	maxKept = 64 << 10
)

// hasher turns values into digests. It is used by one goroutine; after an error it can only be freed.
//
// SHA-256, because arguments may come from strangers, and an entry on disk must not be found with another's key. Of
// hashes that promise this, blake3 takes the same 75 to 115 ns for what fits into one or two blocks; it is twice as
// fast from 64 KB on, by assembly for one architecture. SHA-256 is in the standard library and in most CPUs.
// xxh3 takes 6 ns and promises nothing.
type hasher struct {
	stream
	buf     []byte // what was not hashed yet, of all streams under way: each begins where its outer one waits
	spare   []hash.Hash
	digests []Digest // of the entries of all maps under way
	arg     any      // what value was given: there it has an address

	depth, steps int
	path         []mark        // what may contain itself, from the outermost one on
	far          map[visit]int // the depth of those on the path after the first nearby ones
}

// stream is a sequence of bytes with a digest of its own: all that is hashed, or one entry of a map.
type stream struct {
	start int       // in hasher.buf
	sha   hash.Hash // of what is not in hasher.buf any more, or nil
}

// visit is something that may contain itself. Two of different types may share an address: a struct and its first
// field.
type visit struct {
	typ reflect.Type
	at  addr
	n   int // a slice's length
}

// mark is a visit under way.
type mark struct {
	visit
	depth int
}

// nearby is how much of the path is searched one by one.
const nearby = 16

var hashers = sync.Pool{New: func() any { return new(hasher) }}

func newHasher() *hasher {
	h := hashers.Get().(*hasher)
	h.byte(ofValues)
	return h
}

func (h *hasher) free() {
	if cap(h.buf) > maxKept || cap(h.digests) > maxKept/len(Digest{}) || h.far != nil || len(h.spare) > nearby {
		return
	}
	if h.sha != nil {
		h.release()
	}
	clear(h.path)
	*h = hasher{buf: h.buf[:0], spare: h.spare, digests: h.digests[:0], path: h.path[:0]}
	hashers.Put(h)
}

// text appends s, as value would.
func (h *hasher) text(s string) {
	h.byte(kindCodes[reflect.String])
	h.string(s)
}

// value appends v and its type. It is no different whether v came as an interface or hashOf knew its type.
func (h *hasher) value(v any) error {
	h.arg = v
	err := h.held(addr(&h.arg), reflect.TypeOf(v), nil)
	h.arg = nil
	if v == nil {
		return err
	}
	return labeled(reflect.TypeOf(v), err)
}

// hashOf is value for a type known to the compiler: *a is not copied unless it has a method MemoKey.
func hashOf[A any](h *hasher, a *A) error {
	t := reflect.TypeFor[A]()
	p, err := planOf(t)
	if err != nil {
		return labeled(t, err)
	}
	if p.isError {
		return h.value(*a) // it may be an error variable
	}
	if t.Kind() != reflect.Interface {
		if err := h.tag(p); err != nil {
			return err
		}
	}
	return labeled(t, p.encode(h, place(p, a)))
}

// place returns an address of *a, or of a copy: whose address is asked for by a method of the user's, which may keep it,
// must not lie on the stack. It also tells the compiler that *a's own pointers lead to the heap, for the path's sake.
func place[A any](p *plan, a *A) addr {
	if p.lent {
		b := new(A)
		*b = *a
		return addr(b)
	}
	return local(a)
}

// sum ends what was appended and returns its digest. The hasher is as a new one, without its first byte.
func (h *hasher) sum() (d Digest) {
	if h.sha == nil {
		d = sha256.Sum256(h.buf[h.start:])
	} else {
		h.spill()
		h.buf = h.sha.Sum(h.buf)
		d = Digest(h.buf[h.start:])
		h.release()
	}
	h.buf = h.buf[:h.start]
	return d
}

// release keeps the stream's hash for another.
func (h *hasher) release() {
	h.sha.Reset()
	h.spare = append(h.spare, h.sha)
	h.sha = nil
}

// spill hashes what was gathered.
func (h *hasher) spill() {
	if h.sha == nil {
		if n := len(h.spare); n > 0 {
			h.sha, h.spare = h.spare[n-1], h.spare[:n-1]
		} else {
			h.sha = sha256.New()
		}
	}
	h.sha.Write(h.buf[h.start:])
	h.buf = h.buf[:h.start]
}

// relieve spills when much was gathered. Whoever appends in a loop calls it.
func (h *hasher) relieve() {
	if len(h.buf)-h.start >= block {
		h.spill()
	}
}

func (h *hasher) byte(c byte) { h.buf = append(h.buf, c) }

func (h *hasher) uvarint(n int) { h.buf = binary.AppendUvarint(h.buf, uint64(n)) }

func (h *hasher) uint64(n uint64) { h.buf = binary.LittleEndian.AppendUint64(h.buf, n) }

func (h *hasher) string(s string) {
	h.uvarint(len(s))
	h.bytes(textOf(s))
}

func (h *hasher) bytes(b []byte) {
	if len(b) >= block {
		h.spill()
		h.sha.Write(b)
		return
	}
	h.buf = append(h.buf, b...)
	h.relieve()
}

// tag appends the plan's type.
func (h *hasher) tag(p *plan) error {
	tag, err := p.tag()
	h.buf = append(h.buf, tag...)
	return err
}

var errSteps = errors.New("the value has more than 64 million pointers, slices and maps, each counted as often as there are ways to it, " +
	"and cannot be part of a key; give its type a MemoKey method")

// descend counts a level. Without an error, the caller takes it back.
func (h *hasher) descend(t reflect.Type) error {
	if h.depth >= maxDepth {
		return fmt.Errorf("%s is nested more than %d levels deep and cannot be part of a key", t, maxDepth)
	}
	if h.steps >= maxSteps {
		return errSteps
	}
	h.depth++
	h.steps++
	return nil
}

// enter begins what may contain itself, unless it is that which is under way already: then it returns how many
// levels up. Otherwise leave ends it.
func (h *hasher) enter(v visit) (up int, err error) {
	if err := h.descend(v.typ); err != nil {
		return 0, err
	}
	for i := range h.path[:min(len(h.path), nearby)] {
		if m := &h.path[i]; m.visit == v {
			h.depth--
			return h.depth + 1 - m.depth, nil
		}
	}
	if len(h.path) >= nearby {
		if depth, ok := h.far[v]; ok {
			h.depth--
			return h.depth + 1 - depth, nil
		}
		if h.far == nil {
			h.far = map[visit]int{}
		}
		h.far[v] = h.depth
	}
	h.path = append(h.path, mark{v, h.depth})
	return 0, nil
}

func (h *hasher) leave() {
	last := len(h.path) - 1
	if last >= nearby {
		delete(h.far, h.path[last].visit)
	}
	h.path[last] = mark{}
	h.path = h.path[:last]
	h.depth--
}

// signature is what the keys of one function have in common: texts, such as its name and version, and the types of its
// arguments. It may be used concurrently.
type signature struct {
	seed [16]byte // the program's own choice, not that of whoever makes arguments: half a digest will do
	args []*plan
}

// newSignature returns the signature of a function with arguments of these types; nil is one that keys leave out. The
// error says which cannot be part of a key.
func newSignature(args []reflect.Type, texts ...string) (*signature, error) {
	h := newHasher()
	defer h.free()
	h.uvarint(len(texts))
	for _, s := range texts {
		h.text(s)
	}
	s := &signature{args: make([]*plan, len(args))}
	h.uvarint(len(args))
	for i, t := range args {
		if t == nil {
			h.byte(0)
			continue
		}
		p, err := planOf(t)
		if err == nil {
			err = h.tag(p)
		}
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i, labeled(t, err))
		}
		s.args[i] = p
	}
	d := h.sum()
	copy(s.seed[:], d[:])
	return s, nil
}

func (s *signature) begin() *hasher {
	h := newHasher()
	h.buf[0] = ofCall
	h.buf = append(h.buf, s.seed[:]...)
	return h
}

// keyOf returns the key of a call of s's function, whose only argument is an A.
func keyOf[A any](s *signature, a *A) (Digest, error) {
	h := s.begin()
	defer h.free()
	p := s.args[0]
	if p == nil {
		return h.sum(), nil
	}
	if err := p.encode(h, place(p, a)); err != nil {
		return Digest{}, fmt.Errorf("argument 0: %w", labeled(p.typ, err))
	}
	return h.sum(), nil
}

// key returns the key of a call with these arguments: keyOf's, if there is one. Each can be assigned to its type,
// or is nil where that has a nil.
func (s *signature) key(args []any) (Digest, error) {
	h := s.begin()
	defer h.free()
	for i, p := range s.args {
		if p == nil {
			continue
		}
		if err := h.argument(p, args[i]); err != nil {
			return Digest{}, fmt.Errorf("argument %d: %w", i, labeled(p.typ, err))
		}
	}
	return h.sum(), nil
}

func (h *hasher) argument(p *plan, a any) error {
	t := reflect.TypeOf(a)
	switch {
	case p.typ.Kind() == reflect.Interface:
		return h.held(h.lay(a), t, nil)
	case t == nil:
		a = reflect.Zero(p.typ).Interface()
	case t != p.typ: // an unnamed type for a named one, or the other way round
		a = reflect.ValueOf(a).Convert(p.typ).Interface()
	}
	return h.held(h.lay(a), p.typ, p)
}

// lay returns where a lies, now that it has an address, until the next one.
func (h *hasher) lay(a any) addr {
	h.arg = a
	return addr(&h.arg)
}

// sortDigests sorts digests by their bytes.
func sortDigests(d []Digest) {
	slices.SortFunc(d, func(a, b Digest) int { return bytes.Compare(a[:], b[:]) })
}
