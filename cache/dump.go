package cache

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"time"

	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/wire"
)

// A dumped file is, compressed or not, with all numbers little-endian:
//
//	dumpMagic, version
//	head's length, head, CRC-32C of all so far
//	body, segments: large slices of plain memory, as they lay there
//	CRC-32C of body and segments
const (
	dumpMagic   = "\xfbpjdump"
	dumpVersion = 1
	maxHead     = 64 << 20
)

// A DumpOption is for Dump.
type DumpOption func(*dumpConfig)

type dumpConfig struct {
	level   int // 0: the codec's default
	durable bool
}

// Level sets how hard the codec tries: 1 to 9 for .gz, 1 to 22 for .zst, 1 to 3 for .s2.
func Level(n int) DumpOption { return func(c *dumpConfig) { c.level = n } }

// Durable makes Dump return only when the file would survive a power cut.
func Durable() DumpOption { return func(c *dumpConfig) { c.durable = true } }

// Dump writes v to a file, for [Load] to read: compressed if the name ends in .zst, .s2 or .gz. What can be dumped is
// what can be sent to a worker process; a type that an interface inside of v holds must be registered. Large slices of
// numbers, and of structs of numbers, are written from where they lie.
//
// The file is replaced when the new one is complete; after an error the old one is as it was. v must not be written to
// meanwhile.
func Dump(path string, v any, opts ...DumpOption) error {
	if err := dump(path, v, opts); err != nil {
		return fmt.Errorf("cache: dump to %s: %w", path, err)
	}
	return nil
}

func dump(path string, v any, opts []DumpOption) error {
	var c dumpConfig
	for _, o := range opts {
		o(&c)
	}
	pack, err := packer(path, c.level)
	if err != nil {
		return err
	}
	h, body, err := encodeDump(v)
	if err != nil {
		return err
	}
	return replace(path, c.durable, func(w io.Writer) error {
		out, err := pack(w)
		if err != nil {
			return err
		}
		return errors.Join(writeDump(out, h, body), out.Close())
	})
}

// dumpHead says what a dumped file holds.
type dumpHead struct {
	isSplit bool // there are segments
	name    string
	types   []dumpType // the value's, and those that interfaces in it hold
	sizes   []int      // body, segments
}

// dumpType is a type and its layout. name is what it is registered under, if it is.
type dumpType struct {
	name   string
	layout layout
}

func encodeDump(v any) (h dumpHead, parts [][]byte, err error) {
	if v == nil {
		return h, nil, errors.New("nil has no type, and Load would not know what to make of it")
	}
	value := reflect.ValueOf(v)
	h.isSplit, h.name = true, value.Type().String()
	var segments [][]byte
	body, err := wire.AppendResult([]byte{wire.ResultFlags(false, false, true)}, &segments, false, 0, value)
	if err != nil { // it may be too large for a frame
		h.isSplit, segments = false, nil
		if body, err = wire.AppendValue(nil, value); err != nil {
			return h, nil, err
		}
	}
	parts = append([][]byte{body}, segments...)
	for _, p := range parts {
		h.sizes = append(h.sizes, len(p))
	}
	h.types = typesIn(value)
	return h, parts, nil
}

func (h dumpHead) bytes() []byte {
	b := []byte{0}
	if h.isSplit {
		b[0] = 1
	}
	b = appendString(b, h.name)
	b = binary.AppendUvarint(b, uint64(len(h.types)))
	for _, t := range h.types {
		b = append(appendString(b, t.name), t.layout[:]...)
	}
	for _, n := range h.sizes {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func readDumpHead(b []byte) (h dumpHead, err error) {
	r := bytes.NewReader(b)
	text := func() string {
		n, e := binary.ReadUvarint(r)
		if e != nil || n > uint64(r.Len()) {
			err = errDamagedFile
			return ""
		}
		s := make([]byte, n)
		_, _ = io.ReadFull(r, s)
		return string(s)
	}
	flags, _ := r.ReadByte()
	if flags > 1 {
		return h, errDamagedFile
	}
	h.isSplit, h.name = flags == 1, text()
	n, e := binary.ReadUvarint(r)
	if e != nil || n == 0 || n > uint64(r.Len()) {
		return h, errDamagedFile
	}
	for range n {
		t := dumpType{name: text()}
		if m, _ := io.ReadFull(r, t.layout[:]); m < len(t.layout) {
			return h, errDamagedFile
		}
		h.types = append(h.types, t)
	}
	for r.Len() > 0 {
		n, e := binary.ReadUvarint(r)
		if e != nil || n > math.MaxInt {
			return h, errDamagedFile
		}
		h.sizes = append(h.sizes, int(n))
	}
	if len(h.sizes) == 0 || !h.isSplit && len(h.sizes) > 1 {
		return h, errDamagedFile
	}
	return h, err
}

func writeDump(w io.Writer, h dumpHead, parts [][]byte) error {
	head := h.bytes()
	b := binary.LittleEndian.AppendUint32(append([]byte(dumpMagic), dumpVersion), uint32(len(head)))
	b = append(b, head...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := w.Write(b); err != nil {
		return err
	}
	sum := uint32(0)
	for _, p := range parts {
		for len(p) > 0 {
			n := min(len(p), piece)
			sum = crc32.Update(sum, castagnoli, p[:n])
			if _, err := w.Write(p[:n]); err != nil {
				return err
			}
			p = p[n:]
		}
	}
	_, err := w.Write(binary.LittleEndian.AppendUint32(nil, sum))
	return err
}

// piece is how much is written and summed at once: it fits into the processor's cache.
const piece = 1 << 20

// replace puts a file in the place of another, whose permissions it keeps, when write has written all of it. A symbolic
// link stays one.
func replace(path string, durable bool, write func(io.Writer) error) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	temp := path + "." + strconv.Itoa(os.Getpid()) + strconv.FormatInt(time.Now().UnixNano(), 36) + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(temp)
		}
	}()
	if old, err := os.Stat(path); err == nil {
		if !old.Mode().IsRegular() {
			return errors.New("it is not a file")
		}
		if err := f.Chmod(old.Mode().Perm()); err != nil {
			return err
		}
	}
	if err := write(f); err != nil {
		return err
	}
	if durable {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	if durable {
		return syncFolder(filepath.Dir(path))
	}
	return nil
}

// syncFolder makes a rename in it last, where folders can be told to.
func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

var (
	// ErrWrongType is inside the error of a Load whose file holds another type, or one that has changed since.
	ErrWrongType   = errors.New("wrong type")
	errDamagedFile = errors.New("the file is damaged")
	errCutOff      = errors.New("the file is cut off")
)

// Load reads a file that Dump has written. T is the type of what was dumped, or an interface, if that type is registered.
// Its memory is the caller's own.
//
// A file that is damaged, cut off or continued, of a newer version, of another type, or of one whose fields have changed
// since, is an error: [ErrWrongType] for the last two. Which codec it is, the file itself says, not its name.
func Load[T any](path string) (T, error) {
	v, err := load(path, reflect.TypeFor[T]())
	if err != nil {
		return *new(T), fmt.Errorf("cache: load %s: %w", path, err)
	}
	return v.Interface().(T), nil
}

func load(path string, t reflect.Type) (v reflect.Value, err error) {
	f, err := os.Open(path)
	if err != nil {
		return v, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return v, err
	}
	if !info.Mode().IsRegular() {
		return v, errors.New("it is not a file")
	}
	in := bufio.NewReaderSize(f, 64<<10)
	r, isPacked, err := unpacker(in)
	if err != nil {
		return v, err
	}
	defer r.Close()
	room := info.Size()
	if isPacked {
		room = math.MaxInt64
	}
	return readDump(r, room, t)
}

// readDump reads a value of type t; there are no more than room bytes.
func readDump(r io.Reader, room int64, t reflect.Type) (v reflect.Value, err error) {
	var start [len(dumpMagic) + 1 + 4]byte
	if err := fill(r, start[:]); err != nil {
		return v, err
	}
	if string(start[:len(dumpMagic)]) != dumpMagic {
		return v, errors.New("it was not written by Dump")
	}
	if version := start[len(dumpMagic)]; version > dumpVersion || version == 0 {
		return v, fmt.Errorf("it was written by a newer version of this package (format %d, this is %d)", version, dumpVersion)
	}
	n := binary.LittleEndian.Uint32(start[len(dumpMagic)+1:])
	if n > maxHead || int64(n) > room {
		return v, errDamagedFile
	}
	rest := make([]byte, n+4)
	if err := fill(r, rest); err != nil {
		return v, err
	}
	if crc32.Update(crc32.Checksum(start[:], castagnoli), castagnoli, rest[:n]) != binary.LittleEndian.Uint32(rest[n:]) {
		return v, errDamagedFile
	}
	h, err := readDumpHead(rest[:n])
	if err != nil {
		return v, err
	}
	if t, err = h.check(t); err != nil {
		return v, err
	}
	parts, err := readParts(r, room, h.sizes)
	if err != nil {
		return v, err
	}
	if !h.isSplit {
		v, left, err := wire.ReadValue(parts[0], t)
		if err == nil && len(left) > 0 {
			err = errDamagedFile
		}
		return v, err
	}
	results, err := wire.ReadResults(parts[0], parts[1:])
	if err != nil {
		return v, err
	}
	result, err := results.Next(1)
	if err != nil {
		return v, err
	}
	return result.Read(t)
}

// readParts reads body and segments, and that nothing follows them.
func readParts(r io.Reader, room int64, sizes []int) ([][]byte, error) {
	parts, sum := make([][]byte, len(sizes)), uint32(0)
	for i, n := range sizes {
		if room -= int64(n); room < 0 {
			return nil, errCutOff
		}
		parts[i] = make([]byte, n)
		for p := parts[i]; len(p) > 0; {
			m := min(len(p), piece)
			if err := fill(r, p[:m]); err != nil {
				return nil, err
			}
			sum = crc32.Update(sum, castagnoli, p[:m])
			p = p[m:]
		}
	}
	var end [4]byte
	if err := fill(r, end[:]); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(end[:]) != sum {
		return nil, errDamagedFile
	}
	switch n, err := io.ReadFull(r, end[:1]); {
	case n > 0:
		return nil, errors.New("something follows the value: the file is damaged")
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("behind the value: %w", err)
	}
	return parts, nil
}

func fill(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCutOff
	}
	return err
}

// check returns the type to be read: t, or what is to be put into the interface t.
func (h dumpHead) check(t reflect.Type) (reflect.Type, error) {
	root := h.types[0]
	if t.Kind() == reflect.Interface {
		held, ok := registry.Type(root.name)
		if root.name == "" || !ok {
			return nil, fmt.Errorf("%w: it holds a %s, which is not registered in this program; load it as that, "+
				"or give a value of it to parallel.Register", ErrWrongType, h.name)
		}
		if !held.Implements(t) {
			return nil, fmt.Errorf("%w: it holds a %s, which is no %s", ErrWrongType, h.name, t)
		}
		t = held
	}
	if h.name != t.String() {
		return nil, fmt.Errorf("%w: it holds a %s, not a %s", ErrWrongType, h.name, t)
	}
	if root.layout != layoutOf(t) {
		return nil, changed(h.name)
	}
	for _, d := range h.types[1:] {
		held, ok := registry.Type(d.name)
		if !ok {
			return nil, fmt.Errorf("%w: in it is a %s, which is not registered in this program; "+
				"give a value of it to parallel.Register", ErrWrongType, d.name)
		}
		if d.layout != layoutOf(held) {
			return nil, changed(d.name)
		}
	}
	return t, nil
}

func changed(name string) error {
	return fmt.Errorf("%w: %s is laid out otherwise than when it was dumped (its fields, those of a type in it, or its package "+
		"have changed, or the machine is of another kind)", ErrWrongType, name)
}
