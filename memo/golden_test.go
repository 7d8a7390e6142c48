package memo

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var writeGolden = flag.Bool("golden", false, "append digests that testdata/golden.txt does not have yet")

const goldenFile = "testdata/golden.txt"

// golden are values whose digests are in testdata/golden.txt, by name. A name, its value and its digest never change: an
// entry on somebody's disk is found by it. What may be done is to add some, at the end, and run the test with -golden.
func golden() (names []string, values map[string]any) {
	one := 1
	values = map[string]any{}
	add := func(name string, v any) {
		names = append(names, name)
		values[name] = v
	}
	add("nil", nil)
	add("false", false)
	add("true", true)
	add("int 0", 0)
	add("int -1", -1)
	add("int max", math.MaxInt32)
	add("int8", int8(-8))
	add("int16", int16(-16))
	add("int32", int32(-32))
	add("int64", int64(math.MinInt64))
	add("uint", uint(1))
	add("uint8", uint8(8))
	add("uint16", uint16(1<<15))
	add("uint32", uint32(1<<31))
	add("uint64", uint64(1<<63))
	add("float32", float32(0.1))
	add("float64", 0.1)
	add("-0", math.Copysign(0, -1))
	add("NaN", math.NaN())
	add("float32 NaN", float32(math.NaN()))
	add("-Inf", math.Inf(-1))
	add("complex64", complex64(complex(1, -2)))
	add("complex128", complex(math.NaN(), 2))
	add("empty string", "")
	add("string", "text é \x00\xff")
	add("long string", strings.Repeat("0123456789", 1000))
	add("bytes", []byte("bytes"))
	add("nil bytes", []byte(nil))
	add("no bytes", []byte{})
	add("ints", []int{1, -2, math.MaxInt32})
	add("uints", []uint{1, 2})
	add("uint16s", []uint16{1, 2})
	add("float64s", []float64{1, math.NaN(), math.Copysign(0, -1)})
	add("many float64s", append(make([]float64, 9999), math.NaN(), 1))
	add("many ints", make([]int, 9999))
	add("float32s", []float32{1, float32(math.NaN())})
	add("complexes", []complex64{1, 1i})
	add("strings", []string{"a", "", "bc"})
	add("nil strings", []string(nil))
	add("array", [3]int16{1, 2, 3})
	add("empty array", [0]string{})
	add("nested", [][]string{{"a"}, nil, {}})
	add("anys", []any{1, "a", nil, 1.5, []any{}})
	add("pointer", &one)
	add("nil pointer", (*int)(nil))
	add("map", map[string]int{"a": 1, "b": 2, "c": 3})
	add("nil map", map[string]int(nil))
	add("empty map", map[string]int{})
	add("map of any", map[any]any{1: "a", "b": 2, 1.5: nil, true: map[string][]int{"x": {1}}})
	add("NaN keys", map[float64]string{math.NaN(): "x"})
	add("large entries", map[string]string{"a": strings.Repeat("a", 9999), "b": strings.Repeat("b", 9999)})
	add("nothing", struct{}{})
	add("unnamed struct", struct {
		A int `json:"a"`
		B string
	}{1, "b"})
	add("named", celsius(36.6))
	add("struct", pair{"a", 1})
	add("with padding", gapped{A: 1, B: 2})
	add("all fields", fourFields{1, "n", 0.5, true})
	add("embedding", event{time.Unix(1700000000, 1).UTC(), "e"})
	add("generic", box[pair]{pair{"a", 1}})
	add("generic of any", box[any]{box[[]string]{[]string{"x"}}})
	add("list", chain(3))
	add("long list", chain(1000))
	add("ring", ring("a", "b", "c"))
	add("map in itself", func() any { m := nested{}; m["m"] = m; return m }())
	add("UTC", time.Date(2024, 2, 29, 12, 30, 0, 123456789, time.UTC))
	add("fixed zone", time.Date(2024, 2, 29, 12, 30, 0, 0, time.FixedZone("X", -5400)))
	add("zero time", time.Time{})
	add("duration", time.Second)
	add("month", time.May)
	add("big.Int", new(big.Int).Lsh(big.NewInt(-5), 100))
	add("big.Rat", big.NewRat(-3, 7))
	add("big.Float", big.NewFloat(0.1))
	add("addr", netip.MustParseAddr("192.0.2.1"))
	add("addr with zone", netip.MustParseAddr("fe80::1%eth0"))
	add("error variable", io.EOF)
	add("keyer", byValue{1, 2})
	add("interfaces", []fmt.Stringer{time.Second, nil})
	return names, values
}

func readGolden(t *testing.T) map[string]string {
	f, err := os.Open(goldenFile)
	require.NoError(t, err)
	defer f.Close()
	want := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		digest, name, _ := strings.Cut(lines.Text(), " ")
		want[name] = digest
	}
	return want
}

func TestDigestsNeverChange(t *testing.T) {
	want := readGolden(t)
	names, values := golden()
	for _, name := range names {
		got := hashed(t, values[name]).String()
		if _, ok := want[name]; !ok && *writeGolden {
			f, err := os.OpenFile(goldenFile, os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = fmt.Fprintln(f, got, name)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			continue
		}
		require.Equal(t, want[name], got, name)
		delete(want, name)
	}
	if !*writeGolden {
		require.Empty(t, want, "these were tested once")
	}
}

// On a machine whose memory is laid out the other way round, numbers are hashed one by one.
func TestDigestsAreThoseOfEveryMachine(t *testing.T) {
	want := readGolden(t)
	_, values := golden()
	for name, v := range values {
		if v == nil {
			continue
		}
		if _, ok := registeredError(v); ok {
			continue
		}
		c := newCompiler()
		c.native = false
		p, err := c.plan(reflect.TypeOf(v))
		require.NoError(t, err)
		lying := reflect.New(p.typ)
		lying.Elem().Set(reflect.ValueOf(v))
		h := newHasher()
		require.NoError(t, h.tag(p))
		require.NoError(t, p.encode(h, lying.UnsafePointer()))
		require.Equal(t, want[name], h.sum().String(), name)
		h.free()
	}
}

func registeredError(v any) (error, bool) { return io.EOF, v == any(io.EOF) }

func TestSeedsNeverChange(t *testing.T) {
	s, err := newSignature([]reflect.Type{reflect.TypeFor[string](), nil, reflect.TypeFor[pair]()}, "pkg.Func", "v1")
	require.NoError(t, err)
	require.Equal(t, "db377835d4824d8e31f9b7da1b9d4672", fmt.Sprintf("%x", s.seed))
	d, err := s.key([]any{"a", nil, pair{"b", 2}})
	require.NoError(t, err)
	require.Equal(t, "560e567c9b3608e6cf9d9a22be7c3a67b87131ea7e1ba0d277ac76bd66b99b3d", d.String())
}
