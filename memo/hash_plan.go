package memo

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// codec appends the values of one type, without it, in a way that tells where each ends.
type codec interface {
	encode(*hasher, addr) error
}

// plan is a type's codec and what the codecs of types made of it need to know.
type plan struct {
	codec
	typ   reflect.Type
	size  uintptr // in memory
	bulk  bulk
	loops bool // a value may contain itself
	lent  bool // its own memory is handed to a method MemoKey
	word  bool // an interface holds it itself, not its address
	ready bool // its compiler knows all this

	isError bool // it may be an error variable, where an interface holds it

	tagged atomic.Pointer[tag]
}

// bulk says how the memory of a value is what is hashed of it: without pointers, padding or anything that is skipped.
type bulk uint8

const (
	notBulk  bulk = iota
	raw           // all bytes
	floats32      // all are of that type, and every NaN is the same
	floats64
)

// tag is what stands for a type, or the error that there is none.
type tag struct {
	bytes []byte
	err   error
}

// plans holds for every reflect.Type that was asked for its *plan, or the error that refuses it.
var plans sync.Map

// recent are plans that were asked for, each in the place that its type's address says: most types are found here.
var recent [1 << 8]atomic.Pointer[plan]

func planOf(t reflect.Type) (*plan, error) {
	place := &recent[addressOf(t)>>6%uintptr(len(recent))]
	if p := place.Load(); p != nil && p.typ == t {
		return p, nil
	}
	p, err := lookUp(t)
	if err == nil {
		place.Store(p)
	}
	return p, err
}

func lookUp(t reflect.Type) (*plan, error) {
	if known, ok := plans.Load(t); ok {
		return verdict(known)
	}
	c := newCompiler()
	p, err := c.plan(t)
	if err != nil {
		plans.Store(t, err)
		return nil, err
	}
	for t, p := range c.plans {
		plans.LoadOrStore(t, p)
	}
	return p, nil
}

func verdict(known any) (*plan, error) {
	if p, ok := known.(*plan); ok {
		return p, nil
	}
	return nil, known.(error)
}

// compiler holds the plans under way. A type that contains itself does so behind a pointer, slice or map, whose codec
// needs the element's plan only when it runs.
type compiler struct {
	plans  map[reflect.Type]*plan
	native bool // this machine's memory is laid out as what is hashed: its lowest byte first
}

func newCompiler() compiler {
	return compiler{map[reflect.Type]*plan{}, binary.NativeEndian.Uint16([]byte{1, 0}) == 1}
}

func (c compiler) plan(t reflect.Type) (*plan, error) {
	if p, ok := c.plans[t]; ok {
		return p, nil
	}
	p := &plan{typ: t, size: t.Size(), word: pointerShaped(t), isError: t.Implements(reflect.TypeFor[error]())}
	c.plans[t] = p
	err := c.fill(p)
	p.ready = true
	return p, err
}

func (c compiler) fill(p *plan) (err error) {
	t := p.typ
	if keysItself(t) {
		p.codec, p.lent = keyer{t}, true
		return nil
	}
	if known, ok := wellKnown(t); ok {
		p.codec = known
		return nil
	}
	if meansNothingElsewhere(t) {
		return refusal(t)
	}
	switch kind := t.Kind(); kind {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		p.bulk = raw
	case reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.setNumber(raw, c.native)
	case reflect.Int, reflect.Uint, reflect.Uintptr:
		p.setNumber(raw, c.native && p.size == 8)
	case reflect.Float32, reflect.Complex64:
		p.setNumber(floats32, c.native)
	case reflect.Float64, reflect.Complex128:
		p.setNumber(floats64, c.native)
	case reflect.String:
		p.codec = text{}
	case reflect.Interface:
		p.codec, p.loops = holder{t}, true
	case reflect.Pointer:
		var elem *plan
		elem, err = c.plan(t.Elem())
		p.codec, p.loops = pointer{p, elem}, elem.mayLoop()
	case reflect.Slice:
		var elem *plan
		elem, err = c.plan(t.Elem())
		p.codec, p.loops, err = slice{p, elem}, elem.mayLoop(), within("[]", err)
	case reflect.Map:
		err = c.fillMap(p)
	case reflect.Array:
		err = c.fillArray(p)
	case reflect.Struct:
		err = c.fillStruct(p)
	default: // Chan, Func, UnsafePointer
		err = refusal(t)
	}
	if p.bulk != notBulk {
		p.codec = lump{p.bulk, p.size}
	}
	return err
}

// setNumber makes p the plan of a number, whose memory is what is hashed if asItLies is set.
func (p *plan) setNumber(b bulk, asItLies bool) {
	p.codec = number{p.typ.Kind()}
	if asItLies {
		p.bulk = b
	}
}

// mayLoop reports whether a value may contain itself, for all types that are in progress will. It is asked of what a
// type is made of, before the type is ready: so it is true of every type that leads back to itself.
func (p *plan) mayLoop() bool { return !p.ready || p.loops }

func (c compiler) fillMap(p *plan) error {
	key, err := c.plan(p.typ.Key())
	if err != nil {
		return within("[key]", err)
	}
	elem, err := c.plan(p.typ.Elem())
	p.codec, p.loops = table{p, key, elem}, key.mayLoop() || elem.mayLoop()
	return within("[]", err)
}

func (c compiler) fillArray(p *plan) error {
	if p.typ.Len() == 0 {
		p.bulk = raw
		return nil
	}
	elem, err := c.plan(p.typ.Elem())
	p.codec, p.bulk, p.loops, p.lent = array{elem, p.typ.Len()}, elem.bulk, elem.mayLoop(), elem.lent
	return within("[]", err)
}

func (c compiler) fillStruct(p *plan) error {
	var fields []field
	packed := uintptr(0)
	for f := range p.typ.Fields() {
		if f.Name == "_" { // no function sees it
			continue
		}
		fp, err := c.plan(f.Type)
		if err != nil {
			return within("."+f.Name, err)
		}
		p.loops = p.loops || fp.mayLoop()
		p.lent = p.lent || fp.lent
		packed += fp.size
		if n := len(fields); n > 0 && fp.size > 0 && fields[n-1].precedes(fp.bulk, f.Offset) {
			run := &plan{size: fields[n-1].size + fp.size, bulk: fp.bulk} // neighbours are hashed as one
			run.codec = lump{run.bulk, run.size}
			fields[n-1].plan = run
		} else if fp.size > 0 || fp.lent {
			fields = append(fields, field{fp, f.Offset, f.Name})
		}
	}
	p.codec = structure{fields}
	if p.size == 0 && !p.lent {
		p.bulk = raw
	} else if len(fields) == 1 && packed == p.size {
		p.bulk = fields[0].bulk
	}
	return nil
}

// Types that are what they stand for, whatever they are made of.
var known = map[reflect.Type]codec{
	reflect.TypeFor[time.Time]():  instant{},
	reflect.TypeFor[netip.Addr](): address{},
	reflect.TypeFor[big.Int]():    bigInt{},
	reflect.TypeFor[big.Rat]():    bigRat{},
	reflect.TypeFor[big.Float]():  bigFloat{},
}

// wellKnown returns the codec of a type that is one of those, or was declared as one is.
func wellKnown(t reflect.Type) (codec, bool) {
	if t.Kind() != reflect.Struct {
		return nil, false
	}
	for as, codec := range known {
		if as == t || as.ConvertibleTo(t) {
			return codec, true
		}
	}
	return nil, false
}

// keysItself reports whether t has its own method MemoKey: either is not enough for what may owe it to an embedded
// field, which knows nothing of the other fields.
func keysItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	if t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer || !p.Implements(reflect.TypeFor[Keyer]()) {
		return false
	}
	if t.Kind() != reflect.Struct {
		return true
	}
	for f := range t.Fields() {
		if f.Anonymous && (f.Type.Implements(reflect.TypeFor[Keyer]()) || reflect.PointerTo(f.Type).Implements(reflect.TypeFor[Keyer]())) {
			return written(t) || written(p)
		}
	}
	return true
}

// written reports whether t's MemoKey is in a source file: one that an embedded field gives was made by the compiler.
func written(t reflect.Type) bool {
	m, ok := t.MethodByName("MemoKey")
	if !ok {
		return false
	}
	pc := m.Func.Pointer()
	file, _ := runtime.FuncForPC(pc).FileLine(pc)
	return file != "<autogenerated>"
}

// meansNothingElsewhere reports whether t is a type of the standard library whose values mean something in their
// process only, or only where they lie.
func meansNothingElsewhere(t reflect.Type) bool {
	switch pkg := t.PkgPath(); pkg {
	case "sync", "sync/atomic", "hash/maphash":
		return true
	case "os":
		return t.Name() == "File" || t.Name() == "Process" || t.Name() == "Root"
	case "net":
		return t.Kind() == reflect.Struct && (strings.HasSuffix(t.Name(), "Conn") || strings.HasSuffix(t.Name(), "Listener"))
	case "time":
		return t.Name() == "Location"
	default:
		return strings.HasPrefix(pkg, "internal/") || t.Kind() == reflect.Uintptr && t != reflect.TypeOf(syscall.EINVAL)
	}
}

func refusal(t reflect.Type) error {
	return fmt.Errorf("%s cannot be part of a key; leave it out, or give the type that holds it a MemoKey method", t)
}

// kindCodes stand for the types that Go itself declares, and for what other types are made of. They never change.
var kindCodes = [...]byte{
	reflect.Bool: 1, reflect.Int: 2, reflect.Int8: 3, reflect.Int16: 4, reflect.Int32: 5, reflect.Int64: 6,
	reflect.Uint: 7, reflect.Uint8: 8, reflect.Uint16: 9, reflect.Uint32: 10, reflect.Uint64: 11,
	reflect.Float32: 12, reflect.Float64: 13, reflect.Complex64: 14, reflect.Complex128: 15, reflect.String: 16,
	reflect.Uintptr: 17, reflect.Array: 18, reflect.Slice: 19, reflect.Map: 20, reflect.Pointer: 21, reflect.Struct: 22,
	reflect.Interface: 23, reflect.Func: 24, reflect.Chan: 25, reflect.UnsafePointer: 26,
}

const (
	codeNamed    = 64 // then come package path, name, and what the type is made of
	codeAgain    = 65 // then comes the number of a type that came before
	codeDigest   = 66 // then comes half a digest of the description
	codeSentinel = 67 // for an error variable: then comes its name
)

// predeclared reports whether t is a type that Go itself declares; any and error are not among them.
func predeclared(t reflect.Type) bool {
	return t.PkgPath() == "" && t.Name() != "" && t.Kind() != reflect.Interface
}

// tag returns what stands for the plan's type: one byte, or 17.
func (p *plan) tag() ([]byte, error) {
	known := p.tagged.Load()
	if known == nil {
		known = newTag(p.typ)
		p.tagged.Store(known)
	}
	return known.bytes, known.err
}

// owners holds for each description's digest the reflect.Type that it stands for.
var owners sync.Map

func newTag(t reflect.Type) *tag {
	if predeclared(t) {
		return &tag{bytes: []byte{kindCodes[t.Kind()]}}
	}
	h := newHasher()
	defer h.free()
	describe(h, t, map[reflect.Type]int{})
	d := h.sum()
	if owner, taken := owners.LoadOrStore(d, t); taken && owner != t {
		return &tag{err: fmt.Errorf("there are two types %s, made of the same, and nothing tells which one is in a key; rename one, or declare it outside of functions", t)}
	}
	return &tag{bytes: append([]byte{codeDigest}, d[:16]...)}
}

// describe appends what tells t from all other types, however deep the difference. Types are numbered as they come:
// one that comes again is its number.
func describe(h *hasher, t reflect.Type, seen map[reflect.Type]int) {
	if predeclared(t) {
		h.byte(kindCodes[t.Kind()])
		return
	}
	if n, ok := seen[t]; ok {
		h.byte(codeAgain)
		h.uvarint(n)
		return
	}
	seen[t] = len(seen)
	h.relieve()
	if t.Name() != "" {
		h.byte(codeNamed)
		h.string(t.PkgPath())
		h.string(t.Name())
		if _, ok := wellKnown(t); ok || keysItself(t) {
			return // it may be made of anything
		}
	}
	h.byte(kindCodes[t.Kind()])
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		describe(h, t.Elem(), seen)
	case reflect.Array:
		h.uvarint(t.Len())
		describe(h, t.Elem(), seen)
	case reflect.Map:
		describe(h, t.Key(), seen)
		describe(h, t.Elem(), seen)
	case reflect.Struct:
		h.uvarint(t.NumField())
		for f := range t.Fields() {
			h.string(f.Name)
			h.string(f.PkgPath)
			h.string(string(f.Tag))
			embedded := byte(0)
			if f.Anonymous {
				embedded = 1
			}
			h.byte(embedded)
			describe(h, f.Type, seen)
		}
	case reflect.Interface:
		h.uvarint(t.NumMethod())
		for m := range t.Methods() {
			h.string(m.Name)
			h.string(m.PkgPath)
			h.string(m.Type.String())
		}
	case reflect.Func, reflect.Chan: // of an interface's method, or in an array that holds nothing
		h.string(t.String())
	}
}
