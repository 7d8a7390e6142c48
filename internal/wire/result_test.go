package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRowsOfResultsCrossUnchanged(t *testing.T) {
	types := []reflect.Type{
		reflect.TypeFor[int](), reflect.TypeFor[string](), reflect.TypeFor[[]byte](), reflect.TypeFor[[]float32](),
		reflect.TypeFor[box](), reflect.TypeFor[struct{}](), reflect.TypeFor[any](), reflect.TypeFor[error](), nil,
	}
	rapid.Check(t, func(t *rapid.T) {
		split, isTimed := rapid.Bool().Draw(t, "split"), rapid.Bool().Draw(t, "timed")
		var all [][]byte
		segs := &all
		if !split {
			segs = nil
		}
		body := []byte{ResultFlags(false, isTimed, split)}
		var sent []reflect.Value
		var took []time.Duration
		for range rapid.IntRange(0, 6).Draw(t, "results") {
			v := reflect.Value{}
			d := time.Duration(rapid.Int64Min(0).Draw(t, "took"))
			if typ := rapid.SampledFrom(types).Draw(t, "type"); typ != nil {
				v = reflect.New(typ).Elem()
				var one any
				switch typ {
				case types[0]:
					one = rapid.Int().Draw(t, "int")
				case types[1]:
					one = rapid.String().Draw(t, "string")
				case types[2]:
					one = drawn[byte](t, "bytes")
				case types[3]:
					one = drawn[float32](t, "floats")
				case types[4]:
					one = drawnBox(t)
				case types[6], types[7]:
					one = rapid.SampledFrom([]any{nil, io.EOF, &codeError{3}}).Draw(t, "held")
				}
				if one != nil {
					v.Set(reflect.ValueOf(one))
				}
			}
			if rapid.IntRange(0, 4).Draw(t, "fails") == 0 {
				before := string(body)
				b, err := AppendResult(body, segs, isTimed, d, reflect.ValueOf(box{Plain: []float64{1}, Held: make(chan int)}))
				require.ErrorContains(t, err, "chan int")
				require.Equal(t, before, string(b))
			}
			var err error
			body, err = AppendResult(body, segs, isTimed, d, v)
			require.NoError(t, err)
			sent, took = append(sent, v), append(took, d)
		}
		at, came := landed(body, all, rapid.IntRange(0, 8).Draw(t, "skew"))
		r, err := ReadResults(at, came)
		require.NoError(t, err)
		require.False(t, r.IsColumn())
		require.False(t, ReadColumn(r, make([]int, len(sent))))
		if len(all) > 0 {
			return // each such result is a message of its own; see below
		}
		for i, want := range sent {
			v, err := r.Next(len(sent) - i)
			require.NoError(t, err)
			if isTimed {
				require.Equal(t, took[i], v.Took)
			}
			if !want.IsValid() {
				require.Empty(t, v.b)
				continue
			}
			got, err := v.Read(want.Type())
			require.NoError(t, err)
			require.True(t, alike(want, got), "sent %.200v, got %.200v", want, got)
		}
		_, err = r.Next(1)
		require.Error(t, err)

		// The same as a near end sees it on a board: row by row, from anywhere.
		next := 1
		for i, want := range sent {
			tag, row, after, err := CutRow(at, next)
			require.NoError(t, err)
			require.Zero(t, tag)
			_, bare, err := ReadRow(row, isTimed)
			require.NoError(t, err)
			if want.IsValid() {
				got, rest, err := ReadValue(bare, want.Type())
				if !split {
					require.NoError(t, err, "result %d", i)
					require.Empty(t, rest)
					require.True(t, alike(want, got))
				}
			}
			next = after
		}
		require.Equal(t, len(at), next)
	})
}

// TestLargeResultsCrossUnchanged sends results that have segments, each by itself.
func TestLargeResultsCrossUnchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawnBox(t)
		isTimed := rapid.Bool().Draw(t, "timed")
		var segs [][]byte
		row, err := AppendResultOf(nil, &segs, isTimed, 5, &v)
		require.NoError(t, err)
		var byReflection [][]byte
		other, err := AppendResult(nil, &byReflection, isTimed, 5, reflect.ValueOf(v))
		require.NoError(t, err)
		require.Len(t, byReflection, len(segs))
		if len(v.ByName) < 2 {
			require.Equal(t, row, other)
		}
		r, err := ReadResults(landed(append([]byte{ResultFlags(false, isTimed, true)}, row...), segs, rapid.IntRange(0, 8).Draw(t, "skew")))
		require.NoError(t, err)
		got, err := r.Next(1)
		require.NoError(t, err)
		back := box{Last: "what was there before", Lists: make([][]byte, 3)}
		require.NoError(t, ReadValueInto(got, &back))
		require.True(t, alike(reflect.ValueOf(&v).Elem(), reflect.ValueOf(&back).Elem()), "sent %.300v, got %.300v", v, back)
		if len(segs) > 0 {
			r, err := ReadResults(landed(append([]byte{ResultFlags(false, isTimed, true)}, row...), segs[1:], 0))
			require.NoError(t, err)
			got, err := r.Next(1)
			require.NoError(t, err)
			require.Error(t, ReadValueInto(got, &back))
		}
	})
}

// TestAResultThatFitsLiesInItsPlace appends to memory that another process looks at: it must be there when it fits,
// even if on the way something longer was written and taken back.
func TestAResultThatFitsLiesInItsPlace(t *testing.T) {
	type failing struct {
		Err  error
		Tail string
	}
	v := failing{&bulky{make([]byte, 10_000), make(chan int)}, "the tail"}
	for _, room := range []int{20, 40, 100, 1000, 20_000} {
		for _, segs := range []*[][]byte{nil, new([][]byte)} {
			place := make([]byte, 4, room+4)
			want, err := AppendResultOf(nil, nil, true, 1, &v)
			require.NoError(t, err)
			got, err := AppendResultOf(place, segs, true, 1, &v)
			require.NoError(t, err)
			require.Equal(t, want, got[4:])
			if len(want) <= room {
				require.Equal(t, want, place[4:4+len(want)], "a place of %d bytes", room)
			}
		}
	}
}

func TestResultsInAColumnCrossUnchanged(t *testing.T) {
	want := []celsius{1, celsius(math.NaN()), -0.5, celsius(math.Inf(1))}
	body := append([]byte{ResultFlags(true, false, false)}, columnOf(want)...)
	for skew := range 9 {
		b, _ := landed(body, nil, skew)
		r, err := ReadResults(b, nil)
		require.NoError(t, err)
		require.True(t, r.IsColumn())
		got := make([]celsius, 4)
		require.True(t, ReadColumn(r, got))
		require.Equal(t, columnOf(want), columnOf(got))
		for k := range want { // or one by one
			v, err := r.Next(len(want) - k)
			require.NoError(t, err)
			one, err := v.Read(reflect.TypeFor[celsius]())
			require.NoError(t, err)
			require.Equal(t, math.Float64bits(float64(want[k])), math.Float64bits(one.Float()))
		}
		_, err = r.Next(0)
		require.Error(t, err)
	}
	r, err := ReadResults(body, nil)
	require.NoError(t, err)
	require.False(t, ReadColumn(r, make([]celsius, 3)))
	require.False(t, ReadColumn(r, make([]celsius, 5)))
	require.False(t, ReadColumn(r, make([]string, 2)))
	require.False(t, ReadColumn(r, make([]struct{}, 4)))
	require.False(t, ReadColumn(r, make([]chan int, 4)))
	_, err = r.Next(3)
	require.Error(t, err, "32 bytes are no 3 values")
	_, err = r.Next(-1)
	require.Error(t, err)
	v, err := r.Next(4)
	require.NoError(t, err)
	for _, typ := range []reflect.Type{reflect.TypeFor[int32](), reflect.TypeFor[[2]int](), reflect.TypeFor[string](), reflect.TypeFor[chan int]()} {
		_, err = v.Read(typ)
		require.Error(t, err, "8 bytes are no %v", typ)
	}
}

func TestRowsSayWhatTheyAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		isTimed := rapid.Bool().Draw(t, "timed")
		type row struct {
			tag  uint32
			took time.Duration
			body []byte
		}
		var want []row
		var rows []byte
		for range rapid.IntRange(0, 10).Draw(t, "rows") {
			w := row{rapid.SampledFrom([]uint32{0, FailureTag, ElsewhereTag, TagMask}).Draw(t, "tag"), 0, rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "body")}
			n := len(w.body)
			if isTimed {
				w.took = time.Duration(rapid.Int64().Draw(t, "took"))
				n += 8
			}
			rows = binary.LittleEndian.AppendUint32(rows, w.tag|uint32(n))
			if isTimed {
				rows = binary.LittleEndian.AppendUint64(rows, uint64(w.took))
				w.took = max(w.took, 0)
			}
			rows = append(rows, w.body...)
			want = append(want, w)
		}
		at := 0
		for _, w := range want {
			tag, b, next, err := CutRow(rows, at)
			require.NoError(t, err)
			require.Equal(t, w.tag, tag)
			require.Equal(t, len(b), cap(b), "whoever appends to a row writes over the next")
			took, body, err := ReadRow(b, isTimed)
			require.NoError(t, err)
			require.Equal(t, w.took, took)
			require.Equal(t, string(w.body), string(body))
			at = next
		}
		require.Equal(t, len(rows), at)
		_, _, _, err := CutRow(rows, at)
		require.Error(t, err)
		if len(want) > 0 {
			last := len(rows) - len(want[len(want)-1].body) - 4
			if isTimed {
				last -= 8
			}
			for cut := last; cut < len(rows); cut++ {
				_, _, _, err := CutRow(rows[:cut], last)
				require.Error(t, err, "a row cut at %d of %d is whole", cut-last, len(rows)-last)
			}
		}
	})
	for n := range 8 {
		_, _, err := ReadRow(make([]byte, n), true)
		require.Error(t, err)
	}
}

func TestFormsCross(t *testing.T) {
	for _, size := range []int{0, 1, 8, 1 << 20, 1<<31 - 1} {
		for flags := range 8 {
			isColumn, isTimed, hasSegments := flags&1 != 0, flags&2 != 0, flags&4 != 0
			c, timed, got := Form(FormOf(ResultFlags(isColumn, isTimed, hasSegments), size))
			require.Equal(t, isColumn, c)
			require.Equal(t, isTimed, timed)
			require.Equal(t, size, got)
		}
	}
	_, _, size := Form(math.MaxUint64)
	require.Positive(t, size)
}

func TestFailuresCross(t *testing.T) {
	for _, v := range []Verdict{Failed, Final, Refused} {
		for _, err := range []error{io.EOF, errOurs, &codeError{2}, errors.New("text")} {
			got, verdict, bad := ReadFailure(AppendFailure(nil, err, v))
			require.NoError(t, bad)
			require.Equal(t, v, verdict)
			require.EqualError(t, got, err.Error())
		}
	}
	for _, b := range []string{"", "\x00", "\x00\x00", "\x01\x07", "\x02\x03"} {
		err, _, bad := ReadFailure([]byte(b))
		require.Error(t, bad, "%q is a failure: %v", b, err)
	}
}

func TestResultsOfOthersAreErrors(t *testing.T) {
	for _, b := range []string{"", "\x08", "\xff"} {
		_, err := ReadResults([]byte(b), nil)
		require.Error(t, err, "%q", b)
	}
	for _, b := range []string{"\x00", "\x00\x01", "\x00\x01\x00\x00\x00", "\x00\xff\xff\xff\xff1234", "\x02\x07\x00\x00\x001234567", "\x02\x00\x00\x00\x00"} {
		r, err := ReadResults([]byte(b), nil)
		require.NoError(t, err)
		_, err = r.Next(1)
		require.Error(t, err, "%q", b)
	}
	long := slices.Concat([]byte{0, 9, 0, 0, 0}, make([]byte, 9))
	r, err := ReadResults(long, nil)
	require.NoError(t, err)
	v, err := r.Next(1)
	require.NoError(t, err)
	require.ErrorContains(t, ReadValueInto(v, new(int)), "1 bytes too many")
	_, err = v.Read(reflect.TypeFor[int]())
	require.ErrorContains(t, err, "1 bytes too many")
}
