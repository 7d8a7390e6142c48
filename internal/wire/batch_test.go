package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/registry"
)

// box has what a call may take along, at any depth.
type box struct {
	Plain  []float64
	ByName map[int][]uint16
	Far    *[]int32
	Lists  [][]byte
	Held   any
	Err    error
	Last   string
}

// bulky is an error that begins well: much of it has been written when the rest turns out to be unsendable.
type bulky struct {
	Data []byte
	Rest any
}

func (*bulky) Error() string { return "bulky" }

func init() {
	if err := registry.Register((*bulky)(nil)); err != nil {
		panic(err)
	}
}

// shapes are the types of functions whose calls are sent, and what makes arguments for them.
var shapes = []struct {
	name string
	fn   reflect.Type
	args func(*rapid.T) []any
}{
	{"a.None", reflect.TypeFor[func()](), func(*rapid.T) []any { return nil }},
	{"a.Only", reflect.TypeFor[func(context.Context) error](), func(*rapid.T) []any { return nil }},
	{"a.Int", reflect.TypeFor[func(int) int](), func(t *rapid.T) []any { return []any{rapid.Int().Draw(t, "int")} }},
	{"a.Text", reflect.TypeFor[func(context.Context, string, []byte)](), func(t *rapid.T) []any {
		return []any{rapid.String().Draw(t, "string"), drawn[byte](t, "bytes")}
	}},
	{"a.Many", reflect.TypeFor[func(context.Context, string, ...[]float32)](), func(t *rapid.T) []any {
		args := []any{rapid.String().Draw(t, "string")}
		for range rapid.IntRange(0, 4).Draw(t, "more") {
			args = append(args, drawn[float32](t, "floats"))
		}
		return args
	}},
	{"a.Empties", reflect.TypeFor[func(...struct{}) int](), func(t *rapid.T) []any {
		return make([]any, rapid.IntRange(0, 300).Draw(t, "empties"))
	}},
	{"a.Any", reflect.TypeFor[func(any, error, *box)](), func(t *rapid.T) []any {
		return []any{
			rapid.SampledFrom([]any{nil, 1, "x", []any{int8(1), math.NaN()}, map[string]any{"k": nil}, &pair{"p", 1}, drawn[byte](t, "held")}).Draw(t, "any"),
			rapid.SampledFrom([]any{nil, io.EOF, &codeError{4}, errOurs}).Draw(t, "error"),
			rapid.SampledFrom([]any{nil, (*box)(nil), &box{}, new(drawnBox(t))}).Draw(t, "pointer"),
		}
	}},
	{"a.Box", reflect.TypeFor[func(box, box) (box, error)](), func(t *rapid.T) []any { return []any{drawnBox(t), drawnBox(t)} }},
}

// drawn returns a slice of plain values, now and then so large that it travels as a segment.
func drawn[E any](t *rapid.T, label string) []E {
	size := int(reflect.TypeFor[E]().Size())
	most := (SegmentSize + size - 1) / size
	n := rapid.SampledFrom([]int{-1, 0, 1, 3, most - 1, most, most + 1}).Draw(t, label)
	if n < 0 {
		return nil
	}
	s := make([]E, n)
	fill := columnOf(s)
	salt := rapid.Byte().Draw(t, "salt")
	for i := range fill {
		fill[i] = (byte(i)*7 + byte(i>>8) + salt) & 0x3f // no NaN among floats: they take long to compare
	}
	return s
}

func drawnBox(t *rapid.T) box {
	b := box{Plain: drawn[float64](t, "plain"), Last: rapid.String().Draw(t, "last")}
	for i := range rapid.IntRange(0, 2).Draw(t, "entries") {
		if b.ByName == nil {
			b.ByName = map[int][]uint16{}
		}
		b.ByName[i] = drawn[uint16](t, "entry")
	}
	if rapid.Bool().Draw(t, "far") {
		b.Far = new(drawn[int32](t, "far slice"))
	}
	for range rapid.IntRange(0, 2).Draw(t, "lists") {
		b.Lists = append(b.Lists, drawn[byte](t, "list"))
	}
	b.Held = rapid.SampledFrom([]any{nil, 1.5, drawn[byte](t, "held")}).Draw(t, "held as")
	b.Err = rapid.SampledFrom([]error{nil, io.EOF, &codeError{1}}).Draw(t, "err")
	return b
}

// unsendable returns arguments of shape at, the last of which cannot be sent; false: it has none that may be so.
func unsendable(t *rapid.T, at int) ([]any, bool) {
	bad := any([]any{drawn[byte](t, "before"), make(chan int)})
	switch shapes[at].name {
	case "a.Any":
		return []any{drawn[byte](t, "large"), io.EOF, &box{Plain: drawn[float64](t, "larger"), Held: bad}}, true
	case "a.Box":
		return []any{drawnBox(t), box{Plain: drawn[float64](t, "larger"), Held: bad}}, true
	}
	return nil, false
}

// landed returns what was sent as it may come in: the body anywhere, segments where slices may be.
func landed(body []byte, segs [][]byte, skew int) ([]byte, [][]byte) {
	at := make([]byte, len(body)+16)[skew : skew+len(body)]
	copy(at, body)
	var came [][]byte
	for _, s := range segs {
		b := words(len(s))
		copy(b, s)
		came = append(came, b)
	}
	return at, came
}

// alike is same, faster for what is plain.
func alike(a, b reflect.Value) bool {
	return a.IsValid() && b.IsValid() && reflect.DeepEqual(a.Interface(), b.Interface()) || same(a, b)
}

// requireArgs compares what was sent to fn with what came.
func requireArgs(t require.TestingT, fn reflect.Type, sent []any, came []reflect.Value) {
	require.Len(t, came, len(sent))
	for i, a := range sent {
		want := reflect.New(param(fn, i)).Elem()
		if a != nil {
			want.Set(reflect.ValueOf(a))
		}
		require.Equal(t, want.Type(), came[i].Type())
		require.True(t, alike(want, came[i]), "argument %d of %v: sent %.200v, got %.200v", i, fn, want, came[i])
	}
}

func TestRowsCrossUnchanged(t *testing.T) {
	type sent struct {
		Call
		fn   reflect.Type
		args []any
	}
	var b Batch // used again and again, as a carrier does
	rapid.Check(t, func(t *rapid.T) {
		head := Head{Seed: rapid.Uint64().Draw(t, "seed"), Attempt: rapid.IntRange(1, 300).Draw(t, "attempt"), Timed: rapid.Bool().Draw(t, "timed")}
		split := rapid.Bool().Draw(t, "split")
		b.Begin(head, split)
		var calls []sent
		index := rapid.IntRange(0, 1000).Draw(t, "first")
		for range rapid.IntRange(0, 6).Draw(t, "calls") {
			at := rapid.IntRange(0, len(shapes)-1).Draw(t, "shape")
			c := sent{Call{shapes[at].name, rapid.SampledFrom([]string{"", "", "a name", strings.Repeat("n", 300)}).Draw(t, "name"), index}, shapes[at].fn, nil}
			if bad, ok := unsendable(t, at); ok && rapid.Bool().Draw(t, "fails") {
				body, segs := string(b.Body), len(b.Segments)
				require.ErrorContains(t, b.Add(c.Call, c.fn, bad), "chan int cannot be sent")
				require.Equal(t, body, string(b.Body))
				require.Len(t, b.Segments, segs)
				require.Equal(t, len(calls), b.N)
				for _, s := range b.Segments[segs:cap(b.Segments)] {
					require.Nil(t, s, "a call that was not added keeps its memory alive")
				}
				index++ // it fails alone, those after it follow
				continue
			}
			c.args = shapes[at].args(t)
			require.NoError(t, b.Add(c.Call, c.fn, c.args))
			calls = append(calls, c)
			index += rapid.SampledFrom([]int{1, 1, 1, 2, 100, 0, -5}).Draw(t, "step")
		}
		require.Equal(t, len(calls), b.N)
		if !split {
			require.Empty(t, b.Segments)
		}

		body, segs := landed(b.Body, b.Segments, rapid.IntRange(0, 8).Draw(t, "skew"))
		r, err := ReadBatch(body, segs)
		require.NoError(t, err)
		require.Equal(t, head, r.Head)
		_, _, isColumn, err := r.Column()
		require.False(t, isColumn)
		require.NoError(t, err)
		var in []reflect.Value // used again, as a worker does
		for _, want := range calls {
			c, args, err := r.Next()
			require.NoError(t, err)
			require.Equal(t, want.Call, c)
			if rapid.IntRange(0, 3).Draw(t, "skip") == 0 {
				continue // calls are read each by itself
			}
			in, err = args.Values(in[:0], want.fn)
			require.NoError(t, err)
			requireArgs(t, want.fn, want.args, in)
		}
		_, _, err = r.Next()
		require.ErrorIs(t, err, errShort)
	})
}

func TestAddOneIsAdd(t *testing.T) {
	large := make([]float64, SegmentSize/8)
	for _, split := range []bool{false, true} {
		var byReflection, typed Batch
		byReflection.Begin(Head{Attempt: 1}, split)
		typed.Begin(Head{Attempt: 1}, split)
		for i, v := range []box{{}, {Plain: large, Last: "x"}, {Lists: [][]byte{columnOf(large), {1}, columnOf(large)}}} {
			c := Call{"a.Box", "", i}
			require.NoError(t, byReflection.Add(c, reflect.TypeFor[func(box)](), []any{v}))
			require.NoError(t, AddOne(&typed, c, &v))
		}
		require.Equal(t, byReflection.Body, typed.Body)
		require.Len(t, typed.Segments, len(byReflection.Segments))
		body, n := string(typed.Body), typed.N
		require.ErrorContains(t, AddOne(&typed, Call{}, &Job{}), "argument 0: Job.Done: chan int")
		require.ErrorContains(t, AddOne(&typed, Call{}, &box{Plain: large, Held: make(chan int)}), "argument 0: ")
		require.Equal(t, body, string(typed.Body))
		require.Equal(t, n, typed.N)
		require.Len(t, typed.Segments, len(byReflection.Segments))

		r, err := ReadBatch(landed(typed.Body, typed.Segments, 1))
		require.NoError(t, err)
		for range typed.N {
			_, args, err := r.Next()
			require.NoError(t, err)
			var wrong int
			require.Error(t, ReadOne(args, &wrong))
			var v box
			require.NoError(t, ReadOne(args, &v))
		}
	}
}

// TestWhatAnErrorCannotSendTakesNoSegmentAlong has an error that is begun as a value and then crosses as its text: the
// slice after it must not be given the memory that the error's own had been put into.
func TestWhatAnErrorCannotSendTakesNoSegmentAlong(t *testing.T) {
	type twice struct {
		Err  error
		Tail []byte
	}
	other, tail := make([]byte, SegmentSize), make([]byte, SegmentSize)
	for i := range tail {
		other[i], tail[i] = 1, 2
	}
	bad := &bulky{other, make(chan int)}
	for name, err := range map[string]error{
		"an error":         bad,
		"a wrapped error":  fmt.Errorf("wrapped: %w", bad),
		"errors":           errors.Join(io.EOF, bad, bad),
		"a panic's value":  &backend.PanicError{Value: []any{other, make(chan int)}},
		"a panic's error":  &backend.PanicError{Value: bad},
		"one that crosses": &bulky{other, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var b Batch
			b.Begin(Head{Attempt: 1}, true)
			require.NoError(t, AddOne(&b, Call{"f", "", 0}, &twice{err, tail}))
			r, bad := ReadBatch(landed(b.Body, b.Segments, 0))
			require.NoError(t, bad)
			_, args, bad := r.Next()
			require.NoError(t, bad)
			var got twice
			require.NoError(t, ReadOne(args, &got))
			require.Equal(t, tail, got.Tail)
			require.Equal(t, err.Error(), got.Err.Error())

			var segs [][]byte
			row, bad := AppendResultOf(nil, &segs, false, 0, &twice{err, tail})
			require.NoError(t, bad)
			results, bad := ReadResults(landed(append([]byte{ResultFlags(false, false, true)}, row...), segs, 0))
			require.NoError(t, bad)
			v, bad := results.Next(1)
			require.NoError(t, bad)
			require.NoError(t, ReadValueInto(v, &got))
			require.Equal(t, tail, got.Tail)
		})
	}
}

// TestSegmentsThatDoNotFitAreErrors reads a batch whose segments were tampered with.
func TestSegmentsThatDoNotFitAreErrors(t *testing.T) {
	fn := reflect.TypeFor[func([]float64, []byte)]()
	floats, bytes := make([]float64, SegmentSize/8), make([]byte, SegmentSize+3)
	var b Batch
	b.Begin(Head{Attempt: 1}, true)
	require.NoError(t, b.Add(Call{"f", "", 0}, fn, []any{floats, []byte("x")}))
	require.NoError(t, b.Add(Call{"f", "", 1}, fn, []any{nil, []byte("x")}))
	require.NoError(t, b.Add(Call{"f", "", 2}, fn, []any{floats, bytes}))
	require.Len(t, b.Segments, 3)
	for name, c := range map[string]struct {
		segs func(s [][]byte) [][]byte
		want [3]string
	}{
		"as sent":        {func(s [][]byte) [][]byte { return s }, [3]string{}},
		"one too many":   {func(s [][]byte) [][]byte { return append(s, floatBytes(1)) }, [3]string{}},
		"none":           {func([][]byte) [][]byte { return nil }, [3]string{0: "a segment is missing", 2: "ends too early"}},
		"the last gone":  {func(s [][]byte) [][]byte { return s[:2] }, [3]string{2: "argument 1: damaged message: a segment is missing"}},
		"too short":      {func(s [][]byte) [][]byte { s[0] = s[0][:SegmentSize-8]; return s }, [3]string{0: "a segment of 32760 bytes for 4096 elements of float64"}},
		"too long":       {func(s [][]byte) [][]byte { s[0] = floatBytes(SegmentSize/8 + 1); return s }, [3]string{0: "a segment of 32776 bytes"}},
		"no whole":       {func(s [][]byte) [][]byte { s[0] = words(SegmentSize + 1); return s }, [3]string{0: "a segment of 32769 bytes"}},
		"empty":          {func(s [][]byte) [][]byte { s[0] = []byte{}; return s }, [3]string{0: "a segment of 0 bytes"}},
		"anywhere":       {func(s [][]byte) [][]byte { s[1] = words(SegmentSize + 1)[1:]; return s }, [3]string{2: "does not lie where a slice may"}},
		"in wrong order": {func(s [][]byte) [][]byte { return [][]byte{s[2], s[1], s[0]} }, [3]string{0: "a segment of 32771 bytes", 2: "a segment of 32768 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			body, segs := landed(b.Body, b.Segments, 0)
			r, err := ReadBatch(body, c.segs(segs))
			require.NoError(t, err)
			for k, want := range c.want {
				_, args, err := r.Next()
				if err == nil {
					_, err = args.Values(nil, fn)
				}
				if want == "" {
					require.NoError(t, err, "call %d", k)
				} else {
					require.ErrorContains(t, err, want, "call %d", k)
				}
				if errors.Is(err, errShort) {
					break
				}
			}
		})
	}
}

func floatBytes(n int) []byte { return columnOf(make([]float64, n)) }

// TestASegmentIsTheSlice: what has come in is not copied again.
func TestASegmentIsTheSlice(t *testing.T) {
	var b Batch
	b.Begin(Head{Attempt: 1}, true)
	require.NoError(t, AddOne(&b, Call{"f", "", 0}, new(make([]int64, SegmentSize/8))))
	body, segs := landed(b.Body, b.Segments, 0)
	r, err := ReadBatch(body, segs)
	require.NoError(t, err)
	_, args, err := r.Next()
	require.NoError(t, err)
	var got []int64
	require.NoError(t, ReadOne(args, &got))
	segs[0][8] = 5
	require.Equal(t, int64(5), got[1])
	require.Equal(t, len(got), cap(got))
}

func TestBatchesOfOthersAreErrors(t *testing.T) {
	for _, body := range []string{"", "\x00", "\x08123456789", "\x80123456781", "\x0012345678", "\x0012345678\x80"} {
		_, err := ReadBatch([]byte(body), nil)
		require.Error(t, err, "%q", body)
	}
	var b Batch
	b.Begin(Head{Attempt: 1}, false)
	require.NoError(t, b.Add(Call{"f", "name", 7}, reflect.TypeFor[func(int, string)](), []any{1, "x"}))
	for cut := range len(b.Body) {
		r, err := ReadBatch(b.Body[:cut], nil)
		if err == nil {
			_, _, err = r.Next()
		}
		require.Error(t, err, "a batch cut at %d of %d is whole", cut, len(b.Body))
	}
	for _, fn := range []reflect.Type{
		reflect.TypeFor[func()](), reflect.TypeFor[func(int)](), reflect.TypeFor[func(int, string, int)](),
		reflect.TypeFor[func(int, string, int, ...int)](), reflect.TypeFor[func(context.Context, int)](),
		reflect.TypeFor[func(string, string)](), reflect.TypeFor[func(int32, string)](), reflect.TypeFor[func(int, ...int)](),
		reflect.TypeFor[func(int, chan int)](), reflect.TypeFor[func(...any)](),
	} {
		r, err := ReadBatch(b.Body, nil)
		require.NoError(t, err)
		_, args, err := r.Next()
		require.NoError(t, err)
		_, err = args.Values(nil, fn)
		require.Error(t, err, "%v", fn)
	}
}

func TestColumnsCrossUnchanged(t *testing.T) {
	columnCrosses[int8](t, true)
	columnCrosses[uint16](t, true)
	columnCrosses[int32](t, true)
	columnCrosses[float32](t, true)
	columnCrosses[int](t, true)
	columnCrosses[float64](t, true)
	columnCrosses[complex64](t, true)
	columnCrosses[complex128](t, true)
	columnCrosses[celsius](t, true)
	columnCrosses[[3]int8](t, true)
	columnCrosses[[2][5]float32](t, true)
	columnCrosses[struct{ A, B int16 }](t, true)
	columnCrosses[struct {
		a [3]uint8
		b uint8
		c float32
		d [2]int64
	}](t, true)
	columnCrosses[bool](t, false)
	columnCrosses[string](t, false)
	columnCrosses[[]int](t, false)
	columnCrosses[struct{}](t, false)
	columnCrosses[[0]int](t, false)
	columnCrosses[[2]bool](t, false)
	columnCrosses[any](t, false)
	columnCrosses[chan int](t, false)
	columnCrosses[struct {
		a int8
		b int64
	}](t, false)
}

// columnCrosses sends values of a type at once, where plain says that they may be sent so.
func columnCrosses[A any](t *testing.T, isPlain bool) {
	typ := reflect.TypeFor[A]()
	t.Run(typ.String(), func(t *testing.T) {
		for n := range 9 {
			for _, name := range []string{"", "x", "a long name"} {
				as := make([]A, n)
				if isPlain {
					for i, mem := 0, columnOf(as); i < len(mem); i++ {
						mem[i] = byte(i*31 + 1)
					}
				}
				var b Batch
				b.Begin(Head{Seed: 1, Attempt: 200}, n%2 == 0)
				before := string(b.Body)
				first := Call{"pkg.F", name, 1 << n}
				require.Equal(t, isPlain, AddColumn(&b, first, as))
				if !isPlain {
					require.Equal(t, before, string(b.Body))
					require.Zero(t, b.N)
					continue
				}
				require.Equal(t, n, b.N)
				for skew := range 9 {
					body, _ := landed(b.Body, nil, skew)
					r, err := ReadBatch(body, nil)
					require.NoError(t, err)
					c, values, ok, err := r.Column()
					require.True(t, ok)
					require.NoError(t, err)
					require.Equal(t, first, c)
					got, ok := AsColumn[A](values, n)
					require.True(t, ok)
					require.Equal(t, columnOf(as), columnOf(got))
					_, ok = AsColumn[A](values, n+1)
					require.False(t, ok, "a column has values that were not sent")
					_, ok = AsColumn[A](values, -1)
					require.False(t, ok)
					_, ok = AsColumn[A](values, math.MaxInt/2)
					require.False(t, ok)
					for k := range n {
						v, err := At(values, k, typ)
						require.NoError(t, err)
						one := v.Interface().(A)
						require.Equal(t, columnOf(as[k:k+1]), columnOf([]A{one}))
					}
					for _, k := range []int{-1, n, math.MaxInt} {
						_, err := At(values, k, typ)
						require.Error(t, err)
					}
				}
				for cut := range len(b.Body) {
					r, err := ReadBatch(b.Body[:cut], nil)
					if err != nil {
						continue
					}
					_, values, ok, err := r.Column()
					require.True(t, ok)
					if err == nil {
						_, ok := AsColumn[A](values, n)
						require.False(t, ok, "a column cut at %d of %d is whole", cut, len(b.Body))
					}
				}
			}
		}
	})
}

func TestAColumnIsNoOtherType(t *testing.T) {
	values := floatBytes(4)
	_, ok := AsColumn[string](values, 1)
	require.False(t, ok)
	_, ok = AsColumn[struct{}](values, 1)
	require.False(t, ok)
	_, ok = AsColumn[int64](values[1:], 3)
	require.False(t, ok, "a column lies where no int64 may")
	_, ok = AsColumn[[3]float64](values, 2)
	require.False(t, ok)
	for _, typ := range []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[struct{}](), reflect.TypeFor[chan int]()} {
		_, err := At(values, 0, typ)
		require.Error(t, err)
	}
}
