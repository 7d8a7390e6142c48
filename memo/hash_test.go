package memo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unique"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type (
	celsius    float64
	fahrenheit float64
	pair       struct {
		Name string
		n    int
	}
	twin struct {
		Name string
		n    int
	}
	node struct {
		Value int
		Next  *node
	}
	graph struct {
		Name string
		To   []*graph
	}
	list   []list
	nested map[string]nested
	event  struct {
		time.Time
		Name string
	}
	stamp  time.Time
	amount big.Int
	gapped struct {
		A int8
		_ int32
		B int64
	}
	box[T any] struct{ V T }
	wordy      struct{ p *int } // an interface holds it as the pointer it is
)

func hashed(t testing.TB, v any) Digest {
	t.Helper()
	d, err := Hash(v)
	require.NoError(t, err, "%#v", v)
	return d
}

func TestDigestIsSHA256OfTheseBytes(t *testing.T) {
	sum := func(parts ...string) Digest { return sha256.Sum256([]byte(strings.Join(parts, ""))) }
	for _, c := range []struct {
		v    any
		want Digest
	}{
		{nil, sum("\x01\x00")},
		{42, sum("\x01\x02\x2a\x00\x00\x00\x00\x00\x00\x00")},
		{"abc", sum("\x01\x10\x03abc")},
		{true, sum("\x01\x01\x01")},
		{1.0, sum("\x01\x0d\x00\x00\x00\x00\x00\x00\xf0\x3f")},
		{io.EOF, sum("\x01\x43\x19", `*errors.errorString "EOF"`)},
		{[]string{"x"}, func() Digest { d := sum("\x01\x13\x10"); return sum("\x01\x42", string(d[:16]), "\x03\x01x") }()},
		{map[bool]bool{true: false}, func() Digest {
			d, e := sum("\x01\x14\x01\x01"), sum("\x01\x00")
			return sum("\x01\x42", string(d[:16]), "\x03", string(e[:]))
		}()},
	} {
		assert.Equal(t, c.want, hashed(t, c.v), "%#v", c.v)
	}
}

// distinct are values that a function can tell apart, though some look alike.
func distinct() []any {
	one, zero := 1, 0
	at := time.Unix(1700000000, 5)
	localA := func() any { type T struct{ A int }; return T{} }()
	localB := func() any { type T struct{ B int }; return T{} }()
	localC := func() any { type T struct{ A int32 }; return T{} }()
	return []any{
		nil, "", []byte(nil), []byte{}, []string(nil), []string{}, map[string]int(nil), map[string]int{}, (*int)(nil), &zero, &one,
		(*pair)(nil), (**int)(nil), new(*int), false, true, 0, 1, -1, int8(1), int16(1), int32(1), int64(1), uint(1), uint8(1), uint16(1), uint32(1), uint64(1),
		float32(1), 1.0, complex64(1), complex128(1), celsius(1), fahrenheit(1), 0.0, math.Copysign(0, -1), math.NaN(), float32(math.NaN()), math.Inf(1),
		complex(0, math.Copysign(0, -1)), complex(0, 0), complex(math.NaN(), 0),
		"1", "a", []string{"a", "bc"}, []string{"ab", "c"}, []string{"abc"}, []any{"a", "bc"}, [2]string{"a", "bc"}, [2]any{"a", "bc"}, []any{1}, []any{int64(1)}, []any{nil}, []any{[]any{}}, []any{},
		[]byte("a"), []int8{97}, [1]byte{97}, []rune("a"), struct{}{}, pair{}, twin{}, pair{n: 1}, twin{n: 1}, &pair{}, &twin{}, new(*pair), pair{Name: "x"}, box[int]{}, box[int64]{}, box[any]{}, box[any]{V: 0}, box[box[int]]{},
		struct{ A int }{}, struct{ B int }{}, struct {
			A int `k:"v"`
		}{}, struct{ a int }{}, struct{ celsius }{}, struct{ celsius celsius }{}, localA, localB, localC,
		map[string]int{"a": 1}, map[string]int{"a": 1, "b": 2}, map[string]int{"a": 2, "b": 1}, map[string]any{"a": 1}, map[any]any{"a": 1}, map[any]any{1: "a"}, map[float64]int{math.NaN(): 1},
		[]float64{0, 1}, []float64{1, 0}, []float64{math.NaN()}, []celsius{0, 1}, [2]float64{0, 1}, [][]int{{1}, {}}, [][]int{{}, {1}}, [][]int{{1}, nil},
		node{}, &node{}, &node{Next: &node{}}, &node{1, nil}, list{}, list{{}}, list{nil}, nested{}, nested{"": nil}, wordy{}, wordy{&zero}, wordy{&one},
		at, at.UTC(), at.In(time.FixedZone("X", 3600)), at.In(time.FixedZone("Y", 3600)), at.In(time.FixedZone("X", 7200)), at.Add(1).UTC(), time.Time{}, stamp(at), stamp{}, event{}, event{at, "x"}, event{at, "y"}, event{at.UTC(), "y"},
		big.NewInt(0), big.NewInt(1), big.NewInt(-1), *big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 64), (*amount)(big.NewInt(1)), big.NewRat(1, 2), big.NewRat(1, 1), big.NewRat(-1, 2),
		big.NewFloat(1), big.NewFloat(1).SetPrec(20), big.NewFloat(0), big.NewFloat(math.Copysign(0, -1)), big.NewFloat(math.Inf(-1)), big.NewFloat(1).SetMode(big.ToZero),
		netip.Addr{}, netip.MustParseAddr("1.2.3.4"), netip.MustParseAddr("::ffff:1.2.3.4"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("fe80::1%eth1"), netip.MustParsePrefix("1.2.3.0/24"),
		url.URL{Host: "a"}, url.URL{Path: "a"}, &url.URL{User: url.User("u")}, &url.URL{User: url.UserPassword("u", "")},
		unique.Make("a"), unique.Make("b"), regexp.MustCompile("a"), regexp.MustCompile("b"), io.EOF, errors.New("EOF"), errors.New("x"), fmt.Errorf("x%w", io.EOF), errors.Join(io.EOF),
		[]error{io.EOF}, []error{nil}, []fmt.Stringer{time.Second}, time.Second, []fmt.Stringer{time.Duration(2)}, reflect.Int, context.Background(), context.TODO(),
	}
}

func TestDigestsDifferWhereAFunctionCanTell(t *testing.T) {
	seen := map[Digest]any{}
	for _, v := range distinct() {
		d := hashed(t, v)
		if other, ok := seen[d]; ok {
			t.Errorf("one digest for %T %#v and %T %#v", v, v, other, other)
		}
		seen[d] = v
	}
}

func TestDigestsAreEqualForEqualValues(t *testing.T) {
	x, y := 7, 7
	shared := &pair{"p", 1}
	roomy := make([]int, 2, 100)
	roomy[1:3][1] = 9
	odd := math.Float64frombits(0x7ff8000000000123)
	long := strings.Repeat("long", 10_000)
	now := time.Now()
	gap, filled := gapped{A: 1, B: 2}, gapped{A: 1, B: 2}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&filled)), 16)[1:8], "garbage")
	emptied := new(big.Int).Sub(big.NewInt(1), big.NewInt(1))
	m, n := map[int]string{}, map[int]string{}
	for i := range 1000 {
		m[i], n[999-i] = fmt.Sprint(i), fmt.Sprint(999-i)
	}
	for name, c := range map[string][2]any{
		"pointers":        {&x, &y},
		"sharing":         {[]*pair{shared, shared}, []*pair{{"p", 1}, {"p", 1}}},
		"capacity":        {roomy, []int{0, 0}},
		"NaN":             {math.NaN(), odd},
		"many NaN":        {append(make([]float64, 9999), math.NaN()), append(make([]float64, 9999), odd)},
		"float32 NaN":     {[]float32{float32(math.NaN())}, []float32{math.Float32frombits(0x7fa00001)}},
		"complex NaN":     {complex(odd, 1), complex(math.NaN(), 1)},
		"NaN keys":        {map[float64]int{odd: 1, math.NaN(): 2}, map[float64]int{math.NaN(): 2, odd: 1}},
		"strings":         {long, string([]byte(long))},
		"monotonic":       {now, now.Round(0)},
		"UTC":             {time.Time{}, time.Time{}.UTC()},
		"padding and _":   {gap, filled},
		"many of them":    {[]gapped{gap, gap}, []gapped{filled, gap}},
		"zero":            {new(big.Int), emptied},
		"order":           {m, n},
		"order inside":    {[]any{map[any]any{1: m, "x": nil}}, []any{map[any]any{"x": nil, 1: n}}},
		"unique":          {unique.Make(long), unique.Make(string([]byte(long)))},
		"error variables": {[]error{io.EOF}, []error{io.EOF}},
		"errors":          {errors.New("x"), errors.New("x")},
		"regexps":         {regexp.MustCompile("a+b"), regexp.MustCompile("a+b")},
		"empty":           {[]struct{}{{}, {}}, make([]struct{}, 2, 9)},
	} {
		assert.Equal(t, hashed(t, c[0]), hashed(t, c[1]), name)
	}
	assert.Equal(t, hashed(t, []struct{}{{}, {}}), hashed(t, make([]struct{}, 2)), "nothing")
	assert.NotEqual(t, hashed(t, make([]struct{}, 1<<30)), hashed(t, make([]struct{}, 2)), "much of nothing")
}

func TestZonesOfOneNameAreToldApartByTheirBounds(t *testing.T) {
	cet, err := time.LoadLocation("CET")
	if err != nil {
		t.Skip("no time zones here: ", err)
	}
	winter := time.Date(2024, 1, 15, 12, 0, 0, 0, time.UTC)
	assert.NotEqual(t, hashed(t, winter.In(cet)), hashed(t, winter.In(time.FixedZone("CET", 3600))))
}

func ring(names ...string) *graph {
	first := &graph{Name: names[0]}
	last := first
	for _, name := range names[1:] {
		next := &graph{Name: name}
		last.To = append(last.To, next)
		last = next
	}
	last.To = append(last.To, first)
	return first
}

func TestCyclesHaveDigests(t *testing.T) {
	loopList := func() list { l := make(list, 2); l[0] = l; return l }
	loopMap := func(key string) nested { m := nested{}; m[key] = m; m["other"] = nested{}; return m }
	loopAny := func() any { var p any; p = &p; return p }
	seen := map[Digest]bool{}
	for i, make := range []func() any{
		func() any { return ring("a") }, func() any { return ring("b") }, func() any { return ring("a", "b") }, func() any { return ring("b", "a") },
		func() any { return &graph{"a", []*graph{ring("a")}} }, func() any { return ring("a", "a") }, func() any { return loopList() },
		func() any { return loopMap("x") }, func() any { return loopMap("y") }, func() any { return loopAny() }, func() any { a := []any{nil, 1}; a[0] = a; return a },
		func() any { a := []any{nil, 1}; a[0] = a[:1]; return a }, func() any { return &node{Next: &node{}} },
		func() any { return ring(strings.Split(strings.Repeat("x,", 100), ",")...) }, func() any { return ring(strings.Split(strings.Repeat("x,", 101), ",")...) },
	} {
		d := hashed(t, make())
		assert.Equal(t, d, hashed(t, make()), i)
		assert.False(t, seen[d], i)
		seen[d] = true
	}
}

func TestDoublyLinkedListTakesOneWalk(t *testing.T) {
	type link struct{ next, prev *link }
	first := &link{}
	for at, i := first, 0; i < 10_000; i++ {
		at.next = &link{prev: at}
		at = at.next
	}
	hashed(t, first)
}

func chain(n int) (first *node) {
	for i := range n {
		first = &node{i, first}
	}
	return first
}

func TestDepthIsBounded(t *testing.T) {
	hashed(t, chain(maxDepth-1))
	_, err := Hash(chain(maxDepth))
	require.ErrorContains(t, err, "node is nested more than 100000 levels deep and cannot be part of a key")
	var boxes any
	for range maxDepth + 1 {
		boxes = box[any]{boxes}
	}
	_, err = Hash(boxes)
	require.ErrorContains(t, err, "levels deep")
	require.Less(t, len(err.Error()), 1000)
}

func TestWaysThroughAValueAreBounded(t *testing.T) {
	top := &graph{}
	for range 64 {
		top = &graph{To: []*graph{top, top}} // 2^64 ways
	}
	h := newHasher()
	h.steps = maxSteps - 1_000_000
	require.ErrorIs(t, h.value(top), errSteps)
	h.free()
	hashed(t, ring("a")) // the pool is none the worse
}

type job struct {
	Name string
	Done chan int
}

type locked struct {
	mu sync.Mutex
	n  int
}

func TestWhatCannotBePartOfAKeyIsNamed(t *testing.T) {
	const hint = " cannot be part of a key; leave it out, or give the type that holds it a MemoKey method"
	type deep struct {
		Parts map[string][]any
		Jobs  []*job
	}
	for _, c := range []struct {
		v    any
		want string
	}{
		{make(chan int), "chan int"},
		{job{}, "job.Done: chan int"},
		{&job{}, "job.Done: chan int"},
		{[]*job{}, "[]*memo.job[].Done: chan int"},
		{func() {}, "func()"},
		{uintptr(1), "uintptr"},
		{unsafe.Pointer(nil), "unsafe.Pointer"},
		{&locked{}, "locked.mu: sync.Mutex"},
		{struct{ N atomic.Int64 }{}, "struct { N atomic.Int64 }.N: atomic.Int64"},
		{new(sync.Map), "sync.Map"},
		{os.Stdout, "os.File"},
		{time.UTC, "time.Location"},
		{deep{}, "deep.Jobs[].Done: chan int"},
		{map[string][]any{"k": {1, job{}}}, `map[string][]interface {}["k"][1].(memo.job).Done: chan int`},
		{[]any{1, make(chan int)}, "[]interface {}[1]: chan int"},
		{map[any]int{job{}: 1}, "map[interface {}]int[key].(memo.job).Done: chan int"},
		{reflect.ValueOf(1), "Value"},
		{reflect.TypeOf(1), ""},
		{time.NewTimer(0), "Timer.C: <-chan time.Time"},
	} {
		for range 2 { // the second error comes from a plan that is known
			_, err := Hash(c.v)
			require.ErrorContains(t, err, hint, "%T", c.v)
			require.True(t, strings.HasPrefix(err.Error(), "parallel: "+c.want), err)
		}
	}
	hashed(t, struct {
		_ chan int
		_ [0]func()
	}{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := Hash(ctx)
	require.Error(t, err)
}

func TestTypesThatNothingTellsApartAreRefused(t *testing.T) {
	here := func() any { type same struct{ A int }; return same{} }()
	there := func() any { type same struct{ A int }; return same{} }()
	hashed(t, here)
	_, err := Hash(there)
	require.ErrorContains(t, err, "there are two types memo.same")
	hashed(t, here)
}

// dataset is known by its version. The rest could not be hashed.
type dataset struct {
	sync.Mutex
	version string
	load    func()
	asked   int
}

func (d *dataset) MemoKey() (any, error) {
	d.Lock()
	defer d.Unlock()
	d.asked++
	if d.version == "" {
		return nil, errors.New("not loaded")
	}
	return d.version, nil
}

type (
	byValue  struct{ id, other int }
	promoted struct {
		byValue
		extra int
	}
	overruled struct {
		byValue
		extra int
	}
	pointed struct {
		*dataset
		extra int
	}
	idle      func()
	panicking struct{}
	leaving   struct{}
	itself    struct{ n int }
	without   struct{ id, other int }
)

func (v byValue) MemoKey() (any, error)    { return v.id, nil }
func (v *overruled) MemoKey() (any, error) { return v.extra, nil }
func (idle) MemoKey() (any, error)         { return nil, nil }
func (panicking) MemoKey() (any, error)    { panic("ouch") }
func (leaving) MemoKey() (any, error)      { runtime.Goexit(); return nil, nil }
func (v itself) MemoKey() (any, error)     { return v, nil }

func TestKeyerSaysWhatCounts(t *testing.T) {
	a, b := &dataset{version: "1", load: func() {}}, &dataset{version: "1"}
	require.Equal(t, hashed(t, a), hashed(t, b))
	require.NotEqual(t, hashed(t, a), hashed(t, &dataset{version: "2"}))
	require.Equal(t, 2, a.asked, "the method was called on a copy")
	require.Equal(t, hashed(t, []any{a, nil}), hashed(t, []any{b, nil}))
	hashed(t, (*dataset)(nil))

	require.Equal(t, hashed(t, byValue{1, 2}), hashed(t, byValue{1, 3}))
	require.NotEqual(t, hashed(t, byValue{1, 2}), hashed(t, byValue{2, 2}))
	require.NotEqual(t, hashed(t, byValue{1, 2}), hashed(t, 1))
	require.Equal(t, hashed(t, map[byValue]int{{1, 2}: 1}), hashed(t, map[byValue]int{{1, 3}: 1}))
	require.Equal(t, hashed(t, promoted{byValue{1, 2}, 3}), hashed(t, promoted{byValue{1, 4}, 3}))
	require.NotEqual(t, hashed(t, promoted{byValue{1, 2}, 3}), hashed(t, promoted{byValue{1, 2}, 4}), "the embedded key stood for all")
	require.Equal(t, hashed(t, overruled{byValue{1, 2}, 3}), hashed(t, overruled{byValue{2, 2}, 3}))
	require.NotEqual(t, hashed(t, pointed{a, 1}), hashed(t, pointed{a, 2}))
	hashed(t, idle(func() {}))

	_, err := Hash([]*dataset{{}})
	require.EqualError(t, err, "parallel: []*memo.dataset[0]: MemoKey of memo.dataset: not loaded")
	_, err = Hash(panicking{})
	require.EqualError(t, err, "parallel: MemoKey of memo.panicking: it panicked: ouch")
	_, err = Hash(leaving{})
	require.EqualError(t, err, "parallel: MemoKey of memo.leaving: it called runtime.Goexit")
	if slack == 1 { // to the race detector, starting a goroutine costs what the stack is deep
		_, err = Hash(itself{1})
		require.ErrorContains(t, err, "nested more than")
	}

	held := any(overruled{extra: 1})
	hashed(t, held)
	d, err := keyOf(must(newSignature([]reflect.Type{reflect.TypeFor[overruled]()})), &overruled{extra: 1})
	require.NoError(t, err)
	require.NotZero(t, d)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTypedAndUntypedAreOneKey(t *testing.T) {
	both(t, 1)
	both(t, "x")
	both(t, pair{"a", 1})
	both(t, &pair{"a", 1})
	both(t, map[string]any{"a": []any{1}})
	both(t, ring("a", "b"))
	both[any](t, ring("a", "b"))
	both[any](t, nil)
	both[error](t, io.EOF)
	both[fmt.Stringer](t, time.Second)
	both(t, &dataset{version: "1"})
	both(t, promoted{})
	both(t, wordy{new(int)})
	both(t, [1]*int{new(int)})
	both(t, []int(nil))
	both(t, make([]float64, 10_000))
	both(t, strings.Repeat("x", 5000))
	both(t, [600]any{599: 1})
	both(t, time.Now())
}

func both[A any](t *testing.T, a A) {
	t.Helper()
	h := newHasher()
	require.NoError(t, hashOf(h, &a))
	require.Equal(t, hashed(t, a), h.sum(), "%T", a)
	h.free()
	s, err := newSignature([]reflect.Type{reflect.TypeFor[A]()}, "pkg.F")
	require.NoError(t, err)
	typed, err := keyOf(s, &a)
	require.NoError(t, err)
	untyped, err := s.key([]any{a})
	require.NoError(t, err)
	require.Equal(t, typed, untyped, "%T", a)
	require.NotEqual(t, typed, hashed(t, a))
}

func TestSignatures(t *testing.T) {
	integer, str, chars := reflect.TypeFor[int](), reflect.TypeFor[string](), reflect.TypeFor[[]byte]()
	key := func(types []reflect.Type, texts []string, args ...any) Digest {
		return must(must(newSignature(types, texts...)).key(args))
	}
	two := []reflect.Type{str, str}
	seen := map[Digest]int{}
	for i, d := range []Digest{
		key(nil, nil), key(nil, []string{""}), key(nil, []string{"a", "b"}), key(nil, []string{"ab"}), key(nil, []string{"a", "b", ""}),
		key(two, nil, "a", "bc"), key(two, nil, "ab", "c"), key([]reflect.Type{chars, chars}, nil, []byte("a"), []byte("bc")), key([]reflect.Type{chars, chars}, nil, []byte("a"), nil),
		key([]reflect.Type{chars, chars}, nil, []byte("a"), []byte{}), key([]reflect.Type{str, nil}, nil, "a", "bc"), key([]reflect.Type{nil, str}, nil, "a", "bc"), key([]reflect.Type{str}, nil, "a"), key([]reflect.Type{integer}, nil, 1),
	} {
		other, taken := seen[d]
		assert.False(t, taken, "%d and %d", i, other)
		seen[d] = i
	}
	require.Equal(t, key([]reflect.Type{nil, str}, nil, make(chan int), "x"), key([]reflect.Type{nil, str}, nil, nil, "x"))
	type chars2 []byte
	require.Equal(t, key([]reflect.Type{reflect.TypeFor[chars2]()}, nil, chars2("x")), key([]reflect.Type{reflect.TypeFor[chars2]()}, nil, []byte("x")))
	_, err := newSignature([]reflect.Type{integer, reflect.TypeFor[*job]()})
	require.ErrorContains(t, err, "argument 1: job.Done: chan int cannot be part of a key")
	_, err = must(newSignature([]reflect.Type{reflect.TypeFor[any]()})).key([]any{job{}})
	require.ErrorContains(t, err, "argument 0: ")
	require.ErrorContains(t, err, ".Done: chan int")
}

func TestHashersAllocateNothingForCommonArguments(t *testing.T) {
	free(t, 1)
	free(t, "x")
	free(t, fourFields{Name: "x"})
	free(t, &fourFields{Name: "x"})
	free(t, []byte("some bytes"))
	free(t, []float64{1, math.NaN()})
	free(t, []string{"a", "b"})
	free(t, time.Now())
	free(t, netip.MustParseAddr("1.2.3.4"))
	free(t, any(pair{"a", 1}))
	free(t, []any{"a", 1.5, &pair{}})
	free(t, big.NewInt(1))
}

func free[A any](t *testing.T, a A) {
	t.Helper()
	s := must(newSignature([]reflect.Type{reflect.TypeFor[A]()}))
	args := []any{a}
	measure := func(key func() error) float64 { return testing.AllocsPerRun(200, func() { require.NoError(t, key()) }) }
	assert.Less(t, measure(func() error { own := a; _, err := keyOf(s, &own); return err }), slack, "%T, typed", a)
	assert.Less(t, measure(func() error { _, err := s.key(args); return err }), slack, "%T", a)
	assert.Less(t, measure(func() error { _, err := Hash(args[0]); return err }), slack, "%T, Hash", a)
}

func TestDigestsDoNotDependOnWhoElseAsks(t *testing.T) {
	values := distinct()
	values = append(values, ring("a", "b"), chain(1000), bytes.Repeat([]byte("x"), 10_000), map[string][]byte{"a": bytes.Repeat([]byte("x"), 10_000)})
	want := make([]Digest, len(values))
	for i, v := range values {
		want[i] = hashed(t, v)
	}
	plans.Clear()
	for i := range recent {
		recent[i].Store(nil)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i, v := range values {
				if d, err := Hash(v); err != nil || d != want[i] {
					t.Errorf("%#v: %v %v", v, d, err)
				}
				_, _ = Hash(job{})
			}
		})
	}
	wg.Wait()
}

func TestDigestPrintsAsHex(t *testing.T) {
	require.Equal(t, "01"+strings.Repeat("00", 31), Digest{1}.String())
}

func TestArgumentsStayWhereTheyAreWhenTheStackMoves(t *testing.T) {
	type arg struct {
		text  string
		first *node
		last  [4]int
	}
	s := must(newSignature([]reflect.Type{reflect.TypeFor[arg]()}))
	long := chain(50_000)
	want := must(s.key([]any{arg{"x", long, [4]int{1, 2, 3, 4}}}))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { // on a small stack
			a := arg{"x", long, [4]int{1, 2, 3, 4}}
			if d, err := keyOf(s, &a); err != nil || d != want {
				t.Errorf("%v %v", d, err)
			}
		})
	}
	wg.Wait()
}
