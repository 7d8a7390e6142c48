package wire

import (
	"bytes"
	"context"
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

// called are the types of functions whose calls are read.
var called = []reflect.Type{
	reflect.TypeFor[func()](), reflect.TypeFor[func(int)](), reflect.TypeFor[func(context.Context, string, []byte)](),
	reflect.TypeFor[func(...struct{})](), reflect.TypeFor[func(string, ...[]float64)](), reflect.TypeFor[func(any, error)](),
	reflect.TypeFor[func(box)](), reflect.TypeFor[func([]float64, []byte, map[string][]int32)](), reflect.TypeFor[func([3]int16)](),
	reflect.TypeFor[func(*box, time.Time, bool)](), reflect.TypeFor[func([][]uint64)](), reflect.TypeFor[func(exploding, chan int)](),
}

// fuzzedSegments makes segments of so many times 512 bytes; every fifth size lies where no slice may.
func fuzzedSegments(sizes []byte) (segs [][]byte) {
	for _, s := range sizes[:min(len(sizes), 8)] {
		b := words(int(s)*512 + 1)
		skew := 0
		if s%5 == 4 {
			skew = 1
		}
		segs = append(segs, b[skew:int(s)*512+skew])
	}
	return segs
}

func FuzzReadBatch(f *testing.F) {
	large := make([]float64, SegmentSize/8)
	for _, split := range []bool{false, true} {
		for which, args := range map[byte][]any{
			0: nil, 1: {42}, 2: {"text", []byte("bytes")}, 3: {nil, nil, nil}, 4: {"s", []float64{1}, nil}, 5: {map[string]any{"k": 1.5}, io.EOF},
			6: {box{Lists: [][]byte{{1}}, Held: &pair{"p", 1}, Err: errOurs}}, 7: {large, columnOf(large), map[string][]int32{"x": {1}}}, 8: {[3]int16{1, 2, 3}},
			9: {&box{Plain: large}, time.Unix(1, 2).UTC(), true},
		} {
			var b Batch
			b.Begin(Head{Seed: 7, Attempt: 2, Timed: split}, split)
			for i, name := range []string{"", "named", ""} {
				if err := b.Add(Call{fmt.Sprint("pkg.F", i/2), name, i * i}, called[which], args); err != nil {
					f.Fatal(err)
				}
			}
			f.Add(b.Body, []byte{64, 64, 64, 64, 64, 64}, which)
		}
		var b Batch
		b.Begin(Head{Attempt: 1}, split)
		AddColumn(&b, Call{"pkg.Column", "c", 3}, [][3]int16{{1, 2, 3}, {4, 5, 6}})
		f.Add(b.Body, []byte{}, byte(8))
	}
	f.Fuzz(func(t *testing.T, body, sizes []byte, which byte) {
		fn := called[int(which)%len(called)]
		segs := fuzzedSegments(sizes)
		r, err := ReadBatch(body, segs)
		if err != nil {
			return
		}
		if c, values, ok, err := r.Column(); ok {
			if err != nil {
				return
			}
			n := len(values) / 8
			if got, ok := AsColumn[int64](values, n); !ok || len(got) != n {
				t.Fatal("what Column returns may not be used as an array")
			}
			if _, ok := AsColumn[int64](values, n+1); ok {
				t.Fatal("a column has more values than bytes")
			}
			if fn.NumIn() > 0 {
				_, _ = At(values, int(which), fn.In(fn.NumIn()-1))
			}
			var b Batch
			b.Begin(r.Head, false)
			if n > 0 && AddColumn(&b, c, columnAs[int64](values, n)) {
				again, err := ReadBatch(b.Body, nil)
				if err != nil {
					t.Fatal(err)
				}
				if d, back, ok, err := again.Column(); !ok || err != nil || c != d || !bytes.Equal(back, values[:8*n]) {
					t.Fatalf("what was read cannot be sent: %v, %v", d, err)
				}
			}
			return
		}
		var in []reflect.Value
		for range 100 {
			c, args, err := r.Next()
			if err != nil {
				return
			}
			size := len(body)
			for _, s := range segs {
				size += len(s)
			}
			bounded(t, size, func() {
				_, _ = ReadOne(args, new(int)), ReadOne(args, new([3]int16))
				_ = ReadOne(args, new(box))
			})
			bounded(t, size, func() { in, err = args.Values(in[:0], fn) })
			if err != nil {
				continue
			}
			var b Batch
			b.Begin(r.Head, r.flags&split != 0)
			values := make([]any, len(in))
			for i, v := range in {
				values[i] = v.Interface()
			}
			if err := b.Add(c, fn, values); err != nil {
				t.Fatalf("what was read cannot be sent: %v", err)
			}
			again, err := ReadBatch(b.Body, b.Segments)
			if err != nil {
				t.Fatal(err)
			}
			d, args, err := again.Next()
			if err != nil || c != d {
				t.Fatalf("sent %v, got %v: %v", c, d, err)
			}
			if _, err := args.Values(nil, fn); err != nil {
				t.Fatalf("what was sent cannot be read: %v", err)
			}
		}
	})
}

// columnAs is AsColumn of values that may be used so.
func columnAs[T any](values []byte, n int) []T {
	s, _ := AsColumn[T](values, n)
	return s
}

func FuzzReadResults(f *testing.F) {
	for i, typ := range targets {
		for flags := range byte(8) {
			b, err := AppendResult([]byte{flags}, nil, flags&timed != 0, time.Second, reflect.Zero(typ))
			if err != nil {
				continue
			}
			f.Add(append(b, b[1:]...), []byte{64, 65}, byte(i), byte(2))
		}
	}
	large := make([]float64, SegmentSize/8)
	var segs [][]byte
	b, err := AppendResultOf([]byte{split}, &segs, false, 0, &large)
	if err != nil {
		f.Fatal(err)
	}
	for i := range targets {
		f.Add(b, []byte{64}, byte(i), byte(1))
	}
	f.Fuzz(func(t *testing.T, body, sizes []byte, which, n byte) {
		typ := targets[int(which)%len(targets)]
		segs := fuzzedSegments(sizes)
		r, err := ReadResults(body, segs)
		if err != nil {
			return
		}
		out := make([]int64, n)
		if ReadColumn(r, out) && (!r.IsColumn() || !bytes.Equal(columnOf(out), body[1:])) {
			t.Fatal("a column was read that was none")
		}
		size := len(body)
		for _, s := range segs {
			size += len(s)
		}
		for left := int(n); left > 0; left-- {
			v, err := r.Next(left)
			if err != nil {
				return
			}
			var got reflect.Value
			bounded(t, size, func() { _, _ = ReadValueInto(v, new(int64)), ReadValueInto(v, new(box)) })
			bounded(t, size, func() { got, err = v.Read(typ) })
			if err != nil || typ == reflect.TypeFor[[]exploding]() {
				continue
			}
			again := []byte{ResultFlags(false, true, true)}
			var parts [][]byte
			if again, err = AppendResult(again, &parts, true, v.Took, got); err != nil {
				t.Fatalf("what was read cannot be sent: %v", err)
			}
			s, err := ReadResults(again, parts)
			if err != nil {
				t.Fatal(err)
			}
			w, err := s.Next(1)
			if err == nil {
				_, err = w.Read(typ)
			}
			if err != nil || w.Took != v.Took {
				t.Fatalf("what was sent cannot be read: %v, it took %v, then %v", err, v.Took, w.Took)
			}
		}
	})
}

func FuzzFrame(f *testing.F) {
	for i, frame := range []Frame{
		{Kind: Hello}, {Kind: Setup, Body: []byte("setup")}, {Kind: Run, Flag: true, Gen: 513, Hi: 3, Batch: 1 << 40, Took: 5, Deadline: 6, Body: []byte("calls")},
		{Kind: News, Slot: 2, Lo: 1, Hi: 2, Body: []byte("b"), Segments: [][]byte{[]byte("0123456789abcdef"), {}, []byte("x")}},
		{Kind: Bell, Batch: 3}, {Kind: Share, Lo: 2}, {Kind: Bye}, {Kind: Cancel, Batch: 9}, {Kind: Refuse, Body: AppendError(nil, io.EOF)},
	} {
		b := bytesOf(f, frame)
		f.Add(b, []byte{byte(i)})
		f.Add(append(b, bytesOf(f, Frame{Kind: Bell})...), []byte{0, 1, 47, 0})
	}
	f.Add(forgedHead(News, 3, 1<<40, 1, 2, 3), []byte{})
	f.Add(forgedHead(News, 1<<31-1, 0), []byte{7})
	f.Fuzz(func(t *testing.T, stream, sizes []byte) {
		r := NewFrameReader(&pieces{from: stream, sizes: sizes}, never)
		rest := stream
		for {
			var frame Frame
			var err error
			before := allocated()
			frame, err = next(r)
			if got := allocated() - before; got > uint64(inOne+8*maxSegments+8*len(stream)+4<<20) {
				t.Fatalf("reading a stream of %d bytes allocated %d", len(stream), got)
			}
			if err != nil {
				return
			}
			b := bytesOf(t, frame)
			if !bytes.HasPrefix(rest, b) {
				t.Fatalf("what was read is not what was sent: %+v", frame)
			}
			rest = rest[len(b):]
		}
	})
}

func FuzzRows(f *testing.F) {
	failed, err := AppendFrame(nil, func(b []byte) ([]byte, error) { return AppendFailure(b, io.EOF, Refused), nil })
	if err != nil {
		f.Fatal(err)
	}
	failed[3] |= FailureTag >> 24
	f.Add(failed, false, byte(0))
	f.Add(append(append(failed, 0, 0, 0, ElsewhereTag>>24), failed...), false, byte(1))
	f.Add([]byte{8, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 8, 0, 0, 0xc0, 1, 2, 3, 4, 5, 6, 7, 8}, true, byte(2))
	for i, typ := range targets {
		for _, isTimed := range []bool{false, true} {
			if b, err := AppendResult(nil, nil, isTimed, 1, reflect.Zero(typ)); err == nil {
				f.Add(b, isTimed, byte(i))
			}
		}
	}
	f.Fuzz(func(t *testing.T, rows []byte, isTimed bool, which byte) {
		at := 0
		for {
			tag, row, next, err := CutRow(rows, at)
			if err != nil {
				return
			}
			if next < at+4 || next > len(rows) || len(row) != next-at-4 || cap(row) != len(row) || tag&^uint32(TagMask) != 0 {
				t.Fatalf("row at %d of %d: tag %x, %d bytes, the next is at %d", at, len(rows), tag, len(row), next)
			}
			at = next
			took, body, err := ReadRow(row, isTimed)
			if err != nil {
				continue
			}
			if took < 0 || len(body) > len(row) {
				t.Fatalf("it took %v, %d bytes of %d", took, len(body), len(row))
			}
			if tag == FailureTag {
				var cause, bad error
				bounded(t, len(body), func() { cause, _, bad = ReadFailure(body) })
				if bad == nil && cause == nil {
					t.Fatal("a failure without an error")
				}
				continue
			}
			typ := targets[int(which)%len(targets)]
			bounded(t, len(body), func() { _, _ = Value{b: body}.Read(typ) })
			bounded(t, len(body), func() { _, _ = Value{b: body, seg: true}.Read(typ) })
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
