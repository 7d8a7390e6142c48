package wire

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/gojoblib/parallel/backend"
)

func FuzzReadValue(f *testing.F) {
	some := hidden{c: "c", list: []pair{{"a", 1}}, when: time.Unix(1, 2), any: []any{1, "x", &pair{"p", 2}, io.EOF}, err: fmt.Errorf("w: %w", io.EOF)}
	for i, typ := range targets {
		seed, err := AppendValue(nil, reflect.Zero(typ))
		if err != nil {
			seed = nil // exploding
		}
		f.Add(byte(i), seed)
		f.Add(byte(i), []byte("\x02\x01\x03\x01\x01\x01\x01"))
	}
	var held any = map[string]any{"a": []any{1.5, nil, time.Second}, "b": &pair{"x", 1}, "c": map[int]error{1: errOurs}}
	for _, v := range []any{&held, &some, &node{1, &node{2, nil}}, &[]time.Time{time.Now().In(time.FixedZone("X", 60)), {}}, &map[any]any{1: "a", "b": nil}} {
		typ := reflect.TypeOf(v).Elem()
		for i, target := range targets {
			if target == typ || target == reflect.PointerTo(typ) {
				b, err := AppendValue(nil, reflect.ValueOf(v).Elem())
				if err != nil {
					f.Fatal(err)
				}
				f.Add(byte(i), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		typ := targets[int(which)%len(targets)]
		var v reflect.Value
		var rest []byte
		var err error
		bounded(t, len(b), func() { v, rest, err = ReadValue(b, typ) })
		if err != nil {
			if len(rest) != len(b) {
				t.Fatal("an error has consumed bytes")
			}
			return
		}
		if typ == reflect.TypeFor[[]exploding]() {
			return
		}
		encoded, err := AppendValue(nil, v)
		if err != nil {
			t.Fatalf("what was read cannot be sent: %v", err)
		}
		if _, rest, err := ReadValue(encoded, typ); err != nil || len(rest) != 0 {
			t.Fatalf("what was sent cannot be read: %v, rest %d", err, len(rest))
		}
	})
}

func FuzzReadError(f *testing.F) {
	for _, err := range []error{
		nil, io.EOF, &textual{"x"}, &wrapping{fs.ErrNotExist}, &codeError{1}, listError{"a"}, errors.Join(io.EOF, &textual{"y"}),
		&fs.PathError{Op: "open", Path: "p", Err: fs.ErrExist}, &stopped{io.EOF}, divide(), &loopError{&textual{"a"}, io.EOF},
		&backend.RunError{Failed: []*backend.TaskError{{Index: 1, Err: &backend.PanicError{Value: 3, Stack: []byte("s")}}}, NotRun: 1},
		&backend.PanicError{Value: struct{ A int }{1}}, &backend.CrashError{Err: backend.ErrMemory},
	} {
		f.Add(AppendError(nil, err))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var decoded, bad error
		bounded(t, len(b), func() { decoded, _, bad = ReadError(b) })
		if bad != nil {
			return
		}
		if _, rest, bad := ReadError(AppendError(nil, decoded)); bad != nil || len(rest) != 0 {
			t.Fatalf("what was sent cannot be read: %v, rest %d", bad, len(rest))
		}
	})
}

// bounded fails if reading allocates more than a multiple of what it reads. The constant is for what others in this
// process allocate meanwhile, and for types met for the first time.
func bounded(t *testing.T, n int, read func()) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	read()
	metrics.Read(sample)
	if got := sample[0].Value.Uint64() - before; got > uint64(16*allowance*n)+4<<20 {
		t.Fatalf("reading %d bytes allocated %d", n, got)
	}
}
