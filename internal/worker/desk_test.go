package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/scope"
	"github.com/gojoblib/parallel/internal/wire"
)

func TestMain(m *testing.M) {
	if err := registry.Register(half, half32, blow, blowTwo, long, longTwo, waits, waitsTwo, deaf, deafTwo, asks, asksTwo, tells, tellsTwo,
		bad, odd, add, nothing, only, (*heavy)(nil)); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

var errHalf = errors.New("no half")

// half fails, panics and ends its goroutine where it is told to. It has a lane; half32 has none.
func half(x float64) (float64, error) {
	switch x {
	case -1:
		return 1, errHalf
	case -2:
		panic("no half")
	case -3:
		runtime.Goexit()
	}
	return x / 2, nil
}

func half32(x int32) (int32, error) {
	y, err := half(float64(x))
	return int32(y * 2), err
}

// blow and long return so many bytes; the former may travel as a segment.
func blow(n int) []byte           { return bytes.Repeat([]byte{byte(n)}, n) }
func blowTwo(n, m int) [][]byte   { return [][]byte{blow(n), blow(m)} }
func long(n int) string           { return strings.Repeat("x", n) }
func longTwo(n int, _ int) string { return long(n) }

// waits returns when its context ends; deaf does not care.
func waits(ctx context.Context, n int) (int, error) {
	<-ctx.Done()
	return n, context.Cause(ctx)
}
func waitsTwo(ctx context.Context, n, _ int) (int, error) { return waits(ctx, n) }

func deaf(ctx context.Context, n int) (int, error) {
	<-ctx.Done()
	return n, nil
}
func deafTwo(ctx context.Context, n, _ int) (int, error) { return deaf(ctx, n) }

// asks returns the deadline of its context.
func asks(ctx context.Context, _ int) (int64, error) {
	d, ok := ctx.Deadline()
	if !ok {
		return 0, ctx.Err()
	}
	return d.UnixNano(), ctx.Err()
}
func asksTwo(ctx context.Context, n, _ int) (int64, error) { return asks(ctx, n) }

// tells returns what a call knows of itself.
func tells(ctx context.Context, n int) (string, error) {
	s := scope.From(ctx)
	return fmt.Sprintf("%d %d %d %s %d", s.Index, s.Attempt, s.Seed, s.Names.Name(s.Index), n), nil
}
func tellsTwo(ctx context.Context, n, _ int) (string, error) { return tells(ctx, n) }

// bad returns what cannot be sent.
func bad(n int, _ string) any { return []any{n, make(chan int)} }

// heavy is an error of which much is written before it turns out that it cannot be sent as itself.
type heavy struct {
	Data []string
	Rest any
}

func (*heavy) Error() string { return "heavy" }

// odd returns an error as a part of its value.
func odd(n, _ int) struct{ Err error } {
	return struct{ Err error }{&heavy{[]string{long(n)}, make(chan int)}}
}

func add(a int, more ...int) int {
	for _, b := range more {
		a += b
	}
	return a
}
func nothing() {}
func only(x int) error {
	_, err := half(float64(x))
	return err
}

func nameOf(fn any) string {
	name, err := registry.FuncName(fn)
	if err != nil {
		panic(err)
	}
	return name
}

// desk is both ends of a link, in memory.
type desk struct {
	t      require.TestingT
	orders chan backend.Order
	bells  chan uint64
	slots  [board.Slots]board.Slot
	gens   [board.Slots]uint16
	served chan error
	ids    uint64

	mu      sync.Mutex
	places  map[uint64]int
	reports map[uint64][]backend.Report
	failure error // of Next, at the end
}

func newDesk(t require.TestingT) *desk {
	mem := make([]byte, board.Size+8)
	mem = mem[-uintptr(unsafe.Pointer(unsafe.SliceData(mem)))&7:]
	d := &desk{
		t: t, orders: make(chan backend.Order), bells: make(chan uint64, 10), slots: board.View(mem[:board.Size]), served: make(chan error, 1),
		places: map[uint64]int{}, reports: map[uint64][]backend.Report{}, failure: io.EOF,
	}
	go func() { d.served <- Serve(context.Background(), d, new(scope.Locals)) }()
	return d
}

func (d *desk) Next() (backend.Order, error) {
	if o, ok := <-d.orders; ok {
		return o, nil
	}
	return backend.Order{}, d.failure
}

func (d *desk) Slot(batch uint64) (board.Slot, uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.places[batch]
	return d.slots[at], d.gens[at]
}

func (d *desk) Bell(batch uint64) { d.bells <- batch }

// Report keeps a copy, as a link does: segments are memory of the values.
func (d *desk) Report(r backend.Report) error {
	r.Body = bytes.Clone(r.Body)
	for i, s := range r.Segments {
		came := make([]uint64, len(s)/8+1)
		r.Segments[i] = unsafe.Slice((*byte)(unsafe.Pointer(&came[0])), len(s))
		copy(r.Segments[i], s)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reports[r.Batch] = append(d.reports[r.Batch], r)
	return nil
}

// close ends the link and returns what Serve does.
func (d *desk) close() error {
	close(d.orders)
	return <-d.served
}

// send orders a batch in a slot that is free.
func (d *desk) send(slot int, b *wire.Batch, o backend.Batch) (id uint64) {
	d.mu.Lock()
	d.ids++
	o.ID = d.ids
	d.gens[slot]++
	d.places[o.ID] = slot
	o.Body, o.Segments = bytes.Clone(b.Body), b.Segments
	if o.N == 0 {
		o.N = b.N
	}
	d.slots[slot].Open(d.gens[slot], o.N)
	d.mu.Unlock()
	d.orders <- backend.Order{Batch: o}
	return o.ID
}

// answer is how a call has ended.
type answer struct {
	value   wire.Value
	err     error
	verdict wire.Verdict
	took    time.Duration
	far     bool // it was reported, and does not lie in the arena
}

// sound is require.NoError, faster where there is none: a column has many values.
func sound(t require.TestingT, err error) {
	if err != nil {
		require.NoError(t, err)
	}
}

// of returns the value of an answer that is one.
func of[R any](t require.TestingT, a answer) (r R) {
	sound(t, a.err)
	sound(t, wire.ReadValueInto(a.value, &r))
	return r
}

// answers waits until the worker rings and returns what there is of a batch, read as the near end does; the rest was
// not begun.
func (d *desk) answers(id uint64) []answer {
	require.Equal(d.t, id, <-d.bells)
	slot := d.places[id]
	st, ok := d.slots[slot].Look(d.gens[slot])
	require.True(d.t, ok)
	require.Equal(d.t, st.Limit, st.Begun, "the worker rings when all was begun")
	require.Equal(d.t, st.Begun, st.Ended, "and has ended")
	if st.Ended > 0 {
		require.Positive(d.t, st.Took)
	}
	all := make([]answer, st.Ended)
	var far []int
	arena := d.slots[slot].Arena
	isColumn, isTimed, size := wire.Form(st.Form)
	if isColumn {
		n := st.Limit // no test takes calls back from a column but through its own check
		for k := range all {
			switch arena[k] {
			case wire.ColumnResult:
				from := board.Column(n) + k*size
				r, err := wire.ReadResults(append([]byte{wire.ResultFlags(true, false, false)}, arena[from:from+size]...), nil)
				sound(d.t, err)
				all[k].value, err = r.Next(1)
				sound(d.t, err)
			case wire.ColumnElsewhere:
				far = append(far, k)
			default:
				require.Fail(d.t, "a call without an answer")
			}
		}
	} else {
		at := 0
		for k := range all {
			if at == st.Used {
				far = append(far, k)
				continue
			}
			tag, row, next, err := wire.CutRow(arena[:st.Used], at)
			sound(d.t, err)
			switch tag {
			case wire.FailureTag:
				took, body, err := wire.ReadRow(row, isTimed)
				sound(d.t, err)
				all[k] = d.failed(body, took)
			case wire.ElsewhereTag:
				far = append(far, k)
			default:
				if tag != 0 {
					require.Fail(d.t, "a row that is two things")
				}
				r, err := wire.ReadResults(append([]byte{wire.ResultFlags(false, isTimed, true)}, arena[at:next]...), nil)
				sound(d.t, err)
				v, err := r.Next(1)
				sound(d.t, err)
				all[k] = answer{value: v, took: v.Took}
			}
			at = next
		}
		require.Equal(d.t, st.Used, at)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	reports := d.reports[id]
	require.Len(d.t, reports, len(far), "what is elsewhere was reported, once")
	for i, r := range reports {
		if r.Lo != far[i] || r.Hi != r.Lo+1 {
			require.Fail(d.t, "out of order", "a report of [%d,%d) in the place of call %d", r.Lo, r.Hi, far[i])
		}
		if r.Kind == backend.Failed {
			all[r.Lo] = d.failed(r.Body, r.Took)
		} else {
			if r.Kind != backend.Done {
				require.Fail(d.t, "no result", "a report of %v", r.Kind)
			}
			results, err := wire.ReadResults(r.Body, r.Segments)
			sound(d.t, err)
			v, err := results.Next(1)
			sound(d.t, err)
			all[r.Lo] = answer{value: v, took: v.Took}
		}
		all[r.Lo].far = true
	}
	return all
}

func (d *desk) failed(body []byte, took time.Duration) answer {
	err, verdict, bad := wire.ReadFailure(body)
	require.NoError(d.t, bad)
	return answer{err: err, verdict: verdict, took: took}
}

// calls is a batch of calls of one function.
func calls(t require.TestingT, h wire.Head, fn any, args ...[]any) *wire.Batch {
	var b wire.Batch
	h.Attempt = max(h.Attempt, 1)
	b.Begin(h, true)
	for i, a := range args {
		require.NoError(t, b.Add(wire.Call{Func: nameOf(fn), Index: i}, reflect.TypeOf(fn), a))
	}
	return &b
}

// columnOf is a batch of calls of one function with values of a plain type.
func columnOf[A any](t require.TestingT, fn any, as ...A) *wire.Batch {
	var b wire.Batch
	b.Begin(wire.Head{Attempt: 1}, true)
	require.True(t, wire.AddColumn(&b, wire.Call{Func: nameOf(fn), Name: "a column", Index: 7}, as))
	return &b
}

// halves are arguments of half with every way to fail, in every place.
var halves = [][]float64{
	{3}, {-1}, {-2}, {-3}, {1, 2, 3, 4, 5}, {-1, -1, -1}, {-2, -2, -2}, {-3, -3, -3},
	{1, -1, 2, -2, 3, -3, 4}, {-1, 5, -3}, {-3, 5, -2}, {1, 2, -3}, {1, -2}, {0.5, -3, -3, -2, -1, 1e300, -1},
}

func requireHalf(t require.TestingT, x float64, want float64, a answer, got func() float64) {
	switch x {
	case -1:
		require.EqualError(t, a.err, "no half")
	case -2:
		p, ok := a.err.(*backend.PanicError)
		require.True(t, ok, "%v", a.err)
		require.Equal(t, "no half", p.Value)
		require.Contains(t, string(p.Stack), "worker.half")
	case -3:
		require.Equal(t, backend.ErrGoexit, a.err)
	default:
		require.NoError(t, a.err)
		require.Equal(t, want, got())
	}
	require.Equal(t, wire.Failed, a.verdict)
}

func TestAColumnGoesOnAfterEachWayToFail(t *testing.T) {
	d := newDesk(t)
	for _, xs := range halves {
		id := d.send(0, columnOf(t, half, xs...), backend.Batch{})
		got := d.answers(id)
		require.Len(t, got, len(xs))
		st, _ := d.slots[0].Look(d.gens[0])
		isColumn, _, size := wire.Form(st.Form)
		require.True(t, isColumn)
		require.Equal(t, 8, size)
		for k, a := range got {
			requireHalf(t, xs[k], xs[k]/2, a, func() float64 { return of[float64](t, a) })
		}

		id = d.send(1, columnOf(t, half, xs...), backend.Batch{Timeout: time.Hour}) // call by call
		for k, a := range d.answers(id) {
			requireHalf(t, xs[k], xs[k]/2, a, func() float64 { return of[float64](t, a) })
		}
		st, _ = d.slots[1].Look(d.gens[1])
		isColumn, _, _ = wire.Form(st.Form)
		require.False(t, isColumn)
	}
	require.NoError(t, d.close())
}

func TestRowsGoOnAfterEachWayToFail(t *testing.T) {
	d := newDesk(t)
	for _, xs := range halves {
		for _, isTimed := range []bool{false, true} {
			var floats, ints [][]any
			for _, x := range xs {
				floats, ints = append(floats, []any{x}), append(ints, []any{int32(x)})
			}
			byLane := d.send(0, calls(t, wire.Head{Timed: isTimed}, half, floats...), backend.Batch{})
			byReflection := d.send(1, calls(t, wire.Head{Timed: isTimed}, half32, ints...), backend.Batch{})
			for k, a := range d.answers(byLane) {
				requireHalf(t, xs[k], xs[k]/2, a, func() float64 { return of[float64](t, a) })
				require.Equal(t, isTimed, a.took > 0)
			}
			for k, a := range d.answers(byReflection) {
				requireHalf(t, xs[k], float64(int32(xs[k])), a, func() float64 { return float64(of[int32](t, a)) })
				require.Equal(t, isTimed, a.took > 0)
			}
		}
	}
	require.NoError(t, d.close())
}

// TestAColumnWithoutALane has values of a type that no lane is for.
func TestAColumnWithoutALane(t *testing.T) {
	d := newDesk(t)
	for _, xs := range halves {
		var ints []int32
		for _, x := range xs {
			ints = append(ints, int32(x))
		}
		id := d.send(0, columnOf(t, half32, ints...), backend.Batch{})
		for k, a := range d.answers(id) {
			requireHalf(t, xs[k], float64(ints[k]), a, func() float64 { return float64(of[int32](t, a)) })
		}
	}
	require.NoError(t, d.close())
}

func TestWhatTheArenaCannotHoldIsReported(t *testing.T) {
	sizes := map[string][]int{
		"one larger than the arena": {10, board.Arena, 10, board.Arena + 100, 0},
		"just fits":                 {board.Arena - 4 - 4},
		"just does not fit":         {board.Arena - 3 - 4},
		"more and more":             slices.Repeat([]int{300_000, 7}, 10),
		"full to the last byte":     {board.Arena - 4 - 4 - 6, 1, 1, 0, 1},
		"no room for a tag":         {board.Arena - 4 - 4 - 3, 1, 1, 0, 1},
	}
	for name, ns := range sizes {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			var one, two [][]any
			for _, n := range ns {
				one, two = append(one, []any{n}), append(two, []any{n, 1})
			}
			for _, isTimed := range []bool{false, true} {
				byLane := d.send(0, calls(t, wire.Head{Timed: isTimed}, long, one...), backend.Batch{})
				byReflection := d.send(1, calls(t, wire.Head{Timed: isTimed}, longTwo, two...), backend.Batch{})
				for _, id := range []uint64{byLane, byReflection} {
					got := d.answers(id)
					require.Len(t, got, len(ns))
					for k, a := range got {
						require.Len(t, of[string](t, a), ns[k])
						require.Equal(t, isTimed, a.took > 0)
						if ns[k] > board.Arena {
							require.True(t, a.far)
						}
					}
				}
			}
			require.NoError(t, d.close())
		})
	}
}

// TestAColumnThatTheArenaCannotHold becomes rows, and the last of them reports.
func TestAColumnThatTheArenaCannotHold(t *testing.T) {
	d := newDesk(t)
	xs := make([]float64, board.Arena/9+1)
	for i := range xs {
		xs[i] = float64(i)
	}
	xs[len(xs)-2] = -1
	id := d.send(0, columnOf(t, half, xs...), backend.Batch{})
	got := d.answers(id)
	require.Len(t, got, len(xs))
	for k, a := range got {
		if k == len(xs)-2 {
			require.EqualError(t, a.err, "no half")
		} else if x := of[float64](t, a); x != xs[k]/2 {
			t.Fatalf("call %d returned %v", k, x)
		}
	}
	require.True(t, got[len(xs)-1].far)
	require.NoError(t, d.close())
}

func TestLargeSlicesOfResultsAreSegments(t *testing.T) {
	d := newDesk(t)
	ns := []int{1, wire.SegmentSize, 2, wire.SegmentSize - 1, 3 * wire.SegmentSize, 0}
	var one, two [][]any
	for _, n := range ns {
		one, two = append(one, []any{n}), append(two, []any{n, wire.SegmentSize - n%2})
	}
	for _, isTimed := range []bool{false, true} {
		byLane := d.send(0, calls(t, wire.Head{Timed: isTimed}, blow, one...), backend.Batch{})
		byReflection := d.send(1, calls(t, wire.Head{Timed: isTimed}, blowTwo, two...), backend.Batch{})
		for k, a := range d.answers(byLane) {
			require.Equal(t, ns[k] >= wire.SegmentSize, a.far)
			require.True(t, bytes.Equal(blow(ns[k]), of[[]byte](t, a)))
		}
		for k, a := range d.answers(byReflection) {
			require.Equal(t, ns[k] >= wire.SegmentSize || ns[k]%2 == 0, a.far)
			got := of[[][]byte](t, a)
			require.Len(t, got, 2)
			require.True(t, bytes.Equal(blow(ns[k]), got[0]) && bytes.Equal(blow(wire.SegmentSize-ns[k]%2), got[1]))
		}
	}
	id := d.send(0, columnOf(t, blow, ns...), backend.Batch{})
	for k, a := range d.answers(id) {
		require.Len(t, of[[]byte](t, a), ns[k])
	}
	require.NoError(t, d.close())
}

// TestAResultOfWhichMuchWasTakenBack grows beyond the arena while it is written, and shrinks again.
func TestAResultOfWhichMuchWasTakenBack(t *testing.T) {
	d := newDesk(t)
	id := d.send(0, calls(t, wire.Head{}, odd, []any{10, 0}, []any{2 * board.Arena, 0}, []any{10, 0}), backend.Batch{})
	for _, a := range d.answers(id) {
		got := of[struct{ Err error }](t, a)
		require.EqualError(t, got.Err, "heavy")
		require.False(t, a.far)
	}
	require.NoError(t, d.close())
}

func TestResultsThatCannotBeSentAreFinal(t *testing.T) {
	d := newDesk(t)
	id := d.send(0, calls(t, wire.Head{}, bad, []any{1, ""}, []any{2, ""}), backend.Batch{})
	for _, a := range d.answers(id) {
		require.ErrorContains(t, a.err, "its result: ")
		require.ErrorContains(t, a.err, "chan int")
		require.Equal(t, wire.Final, a.verdict)
	}
	require.NoError(t, d.close())
}

func TestCallsWithoutAValue(t *testing.T) {
	d := newDesk(t)
	id := d.send(0, calls(t, wire.Head{}, nothing, nil, nil), backend.Batch{})
	require.Len(t, d.answers(id), 2)
	id = d.send(0, columnOf(t, only, 1, -1, 2, -3), backend.Batch{})
	got := d.answers(id)
	require.NoError(t, got[0].err)
	require.EqualError(t, got[1].err, "no half")
	require.NoError(t, got[2].err)
	require.Equal(t, backend.ErrGoexit, got[3].err)
	require.NoError(t, d.close())
}

func TestATimeoutEndsEachCall(t *testing.T) {
	d := newDesk(t)
	one, two := [][]any{{1}, {2}}, [][]any{{1, 0}, {2, 0}}
	for name, b := range map[string]*wire.Batch{
		"lane":              calls(t, wire.Head{}, waits, one...),
		"lane, deaf":        calls(t, wire.Head{}, deaf, one...),
		"timed lane":        calls(t, wire.Head{Timed: true}, waits, one...),
		"column":            columnOf(t, waits, 1, 2),
		"column, deaf":      columnOf(t, deaf, 1, 2),
		"reflection":        calls(t, wire.Head{}, waitsTwo, two...),
		"reflection, deaf":  calls(t, wire.Head{}, deafTwo, two...),
		"timed, reflection": calls(t, wire.Head{Timed: true}, deafTwo, two...),
	} {
		t.Run(name, func(t *testing.T) {
			got := d.answers(d.send(0, b, backend.Batch{Timeout: 2 * time.Millisecond, Started: true}))
			require.Len(t, got, 2)
			for _, a := range got {
				require.Equal(t, backend.ErrTimeout, a.err, "itself")
				require.Equal(t, wire.Failed, a.verdict)
			}
		})
	}
	require.NoError(t, d.close())
}

func TestContextsKnowTheirDeadline(t *testing.T) {
	d := newDesk(t)
	far := time.Now().Add(time.Hour).Round(0)
	for _, b := range []*wire.Batch{calls(t, wire.Head{}, asks, []any{1}), columnOf(t, asks, 1), calls(t, wire.Head{}, asksTwo, []any{1, 2})} {
		deadline := func(o backend.Batch) int64 { return of[int64](t, d.answers(d.send(0, b, o))[0]) }
		require.Zero(t, deadline(backend.Batch{}))
		require.Equal(t, far.UnixNano(), deadline(backend.Batch{Deadline: far}))
		require.Equal(t, far.UnixNano(), deadline(backend.Batch{Deadline: far, Timeout: 2 * time.Hour}))
		require.Less(t, deadline(backend.Batch{Deadline: far, Timeout: time.Minute}), far.UnixNano())
		require.Greater(t, deadline(backend.Batch{Timeout: time.Hour}), time.Now().UnixNano())
	}
	require.NoError(t, d.close())
}

func TestCancelEndsAllContextsOfABatchAndOfNoOther(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Hour} {
		d := newDesk(t)
		first := d.send(0, calls(t, wire.Head{}, waits, []any{1}, []any{2}), backend.Batch{Timeout: timeout})
		second := d.send(1, calls(t, wire.Head{}, waitsTwo, []any{1, 0}, []any{2, 0}), backend.Batch{Timeout: timeout})
		d.orders <- backend.Order{Cancel: &backend.Cancel{Batch: 99}}
		d.orders <- backend.Order{Cancel: &backend.Cancel{Batch: first}}
		for _, a := range d.answers(first) {
			require.ErrorIs(t, a.err, context.Canceled)
		}
		require.Empty(t, d.bells)
		d.orders <- backend.Order{Cancel: &backend.Cancel{Batch: first}}
		d.orders <- backend.Order{Cancel: &backend.Cancel{Batch: second}}
		for _, a := range d.answers(second) {
			require.ErrorIs(t, a.err, context.Canceled)
		}
		require.NoError(t, d.close())
	}
}

// TestWhatWasTakenBackIsNotRun takes calls back on the board, and by an order.
func TestWhatWasTakenBackIsNotRun(t *testing.T) {
	d := newDesk(t)
	busy := d.send(0, calls(t, wire.Head{}, waits, []any{0}, []any{1}, []any{2}, []any{3}), backend.Batch{})
	next := d.send(1, columnOf(t, half, 1., 2, 3, 4), backend.Batch{})
	for {
		if st, _ := d.slots[0].Look(1); st.Begun == 1 {
			break
		}
		runtime.Gosched()
	}
	limit, ok := d.slots[0].Trim(1, 2)
	require.True(t, ok)
	require.Equal(t, 2, limit)
	d.orders <- backend.Order{Trim: &backend.Trim{Batch: next, From: 0}}
	d.orders <- backend.Order{Cancel: &backend.Cancel{Batch: busy}}
	require.Len(t, d.answers(busy), 2)
	require.Equal(t, next, <-d.bells)
	d.mu.Lock()
	require.Equal(t, []backend.Report{{Batch: next, Kind: backend.Trimmed}}, d.reports[next])
	d.mu.Unlock()
	st, _ := d.slots[1].Look(1)
	require.Zero(t, st.Begun)
	require.NoError(t, d.close())
}

func TestCallsKnowWhatTheyAre(t *testing.T) {
	d := newDesk(t)
	var b wire.Batch
	b.Begin(wire.Head{Seed: 5, Attempt: 3}, true)
	require.NoError(t, b.Add(wire.Call{Func: nameOf(tells), Index: 10}, reflect.TypeOf(tells), []any{1}))
	require.NoError(t, b.Add(wire.Call{Func: nameOf(tellsTwo), Name: "second", Index: 20}, reflect.TypeOf(tellsTwo), []any{2, 0}))
	require.NoError(t, b.Add(wire.Call{Func: nameOf(tells), Index: 21}, reflect.TypeOf(tells), []any{3}))
	got := d.answers(d.send(0, &b, backend.Batch{}))
	require.Equal(t, "10 3 5 "+nameOf(tells)+" 1", of[string](t, got[0]))
	require.Equal(t, "20 3 5 second 2", of[string](t, got[1]))
	require.Equal(t, "21 3 5 "+nameOf(tells)+" 3", of[string](t, got[2]))
	got = d.answers(d.send(0, columnOf(t, tells, 1, 2), backend.Batch{}))
	require.Equal(t, "7 1 0 a column 1", of[string](t, got[0]))
	require.Equal(t, "8 1 0 a column 2", of[string](t, got[1]))
	require.NoError(t, d.close())
}

func TestBatchesThatCannotBeReadAreRefused(t *testing.T) {
	rows := calls(t, wire.Head{}, add, []any{1}, []any{1, 2, 3})
	stranger := columnOf(t, half, 1., 2)
	stranger.Body = bytes.Replace(stranger.Body, []byte("worker.half"), []byte("worker.hulf"), 1)
	short := columnOf(t, half, 1., 2)
	short.N = 3
	shortInts := columnOf(t, half32, int32(1), 2)
	shortInts.N = 3
	other := calls(t, wire.Head{}, add, []any{1}, []any{2})
	other.Body = bytes.ReplaceAll(other.Body, []byte("worker.add"), []byte("worker.adz"))
	wrong := calls(t, wire.Head{}, add, []any{1}, []any{2})
	wrong.Body = bytes.ReplaceAll(wrong.Body, []byte("worker.add"), []byte("worker.odd"))
	for name, c := range map[string]struct {
		b    wire.Batch
		n    int // calls that can be made
		want string
	}{
		"nothing":          {wire.Batch{N: 2}, 0, "no batch"},
		"garbage":          {wire.Batch{N: 2, Body: []byte("\xffgarbage")}, 0, "no batch"},
		"cut":              {wire.Batch{N: 2, Body: rows.Body[:len(rows.Body)-1]}, 1, "ends too early"},
		"too few":          {wire.Batch{N: 4, Body: rows.Body}, 2, "ends too early"},
		"unknown function": {*other, 0, "worker.adz is not registered in the worker"},
		"other arguments":  {*wrong, 0, "1 arguments came for func(int, int)"},
		"unknown column":   {*stranger, 0, "worker.hulf is not registered in the worker"},
		"short column":     {*short, 2, "ends too early"},
		"short, no lane":   {*shortInts, 2, "ends too early"},
		"half a column":    {wire.Batch{N: 2, Body: stranger.Body[:12]}, 0, "ends too early"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			got := d.answers(d.send(0, &c.b, backend.Batch{}))
			require.Len(t, got, c.b.N)
			for k, a := range got {
				if k < c.n {
					require.NoError(t, a.err)
					continue
				}
				require.ErrorContains(t, a.err, c.want, "call %d", k)
				require.Equal(t, wire.Refused, a.verdict)
			}
			require.Equal(t, 3., of[float64](t, d.answers(d.send(0, columnOf(t, half, 6.), backend.Batch{}))[0]), "it goes on")
			require.NoError(t, d.close())
		})
	}
}

func TestTheEndOfTheLinkEndsTheWorker(t *testing.T) {
	broken := errors.New("broken")
	for _, failure := range []error{io.EOF, broken} {
		d := newDesk(t)
		d.failure = failure
		id := d.send(0, calls(t, wire.Head{}, waits, []any{1}, []any{2}), backend.Batch{})
		d.send(1, columnOf(t, half, 1., 2), backend.Batch{})
		for {
			if st, _ := d.slots[0].Look(1); st.Begun == 1 {
				break
			}
			runtime.Gosched()
		}
		err := d.close()
		if failure == io.EOF {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, broken)
		}
		require.Len(t, d.answers(id), 1, "what was running is answered")
		require.Empty(t, d.bells, "the next batch is not begun")
		st, _ := d.slots[1].Look(1)
		require.Zero(t, st.Begun)
	}
}

// TestWorkersDoWhatALoopDoes sends batches of any calls and compares with what the functions return.
func TestWorkersDoWhatALoopDoes(t *testing.T) {
	d := newDesk(t)
	rapid.Check(t, func(t *rapid.T) {
		type want struct {
			check func(answer)
		}
		d.t = t
		var b wire.Batch
		b.Begin(wire.Head{Attempt: 1, Timed: rapid.Bool().Draw(t, "timed")}, true)
		var wants []want
		number := rapid.OneOf(rapid.IntRange(0, 50), rapid.SampledFrom([]int{wire.SegmentSize, 700_000}))
		for i := range rapid.IntRange(1, 12).Draw(t, "calls") {
			put := func(fn any, check func(answer), args ...any) {
				require.NoError(t, b.Add(wire.Call{Func: nameOf(fn), Index: 2 * i}, reflect.TypeOf(fn), args))
				wants = append(wants, want{check})
			}
			switch rapid.IntRange(0, 6).Draw(t, "function") {
			case 0, 1:
				x := float64(rapid.IntRange(-3, 3).Draw(t, "x"))
				put(half, func(a answer) { requireHalf(t, x, x/2, a, func() float64 { return of[float64](t, a) }) }, x)
			case 2:
				x := rapid.Int32Range(-3, 3).Draw(t, "x")
				put(half32, func(a answer) {
					requireHalf(t, float64(x), float64(x), a, func() float64 { return float64(of[int32](t, a)) })
				}, x)
			case 3:
				n := number.Draw(t, "n")
				put(long, func(a answer) { require.Len(t, of[string](t, a), n) }, n)
			case 4:
				n, m := number.Draw(t, "n"), number.Draw(t, "m")
				put(blowTwo, func(a answer) {
					got := of[[][]byte](t, a)
					require.True(t, bytes.Equal(blow(n), got[0]) && bytes.Equal(blow(m), got[1]))
				}, n, m)
			case 5:
				args := []any{1}
				for range rapid.IntRange(0, 3).Draw(t, "more") {
					args = append(args, 1)
				}
				put(add, func(a answer) { require.Equal(t, len(args), of[int](t, a)) }, args...)
			case 6:
				put(nothing, func(a answer) { require.NoError(t, a.err) })
			}
		}
		slot := rapid.IntRange(0, board.Slots-1).Draw(t, "slot")
		got := d.answers(d.send(slot, &b, backend.Batch{Timeout: rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "timeout")}))
		require.Len(t, got, len(wants))
		for k, w := range wants {
			w.check(got[k])
		}
	})
	require.NoError(t, d.close())
}
