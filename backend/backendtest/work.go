package backendtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/wire"
)

func init() {
	if err := registry.Register(perform, errPlanned); err != nil {
		panic(err)
	}
}

// act tells a call what to do. It holds no references, so that it means the same on every worker.
type act struct {
	Do    deed
	X     int
	Fails int   // so many attempts do it; the next one squares
	Gate  int64 // of deafens
}

type deed int

const (
	squares deed = iota // return X*X
	counts              // return how many calls have counted in this process, or errOverlap when two do so at once
	errs                // return errPlanned
	panics
	exits   // end the goroutine
	waits   // until the context has ended
	deafens // until the gate is opened, whatever the context says
)

var (
	errPlanned = errors.New("planned")
	errOverlap = errors.New("calls overlap")
	counted    atomic.Int64
	counting   atomic.Int64
	gates      sync.Map // int64 -> chan struct{}: of deafened calls in this process
	gateIDs    atomic.Int64
)

// perform is the one function that the suite calls.
func perform(ctx context.Context, a act, attempt int) (int, error) {
	if a.Fails > 0 && attempt > a.Fails {
		a.Do = squares
	}
	switch a.Do {
	case counts:
		defer counting.Add(-1)
		if counting.Add(1) > 1 {
			return -1, errOverlap
		}
		runtime.Gosched()
		return int(counted.Add(1)), nil
	case errs:
		return -1, fmt.Errorf("call %d: %w", a.X, errPlanned)
	case panics:
		panic(fmt.Sprintf("call %d", a.X))
	case exits:
		runtime.Goexit()
	case waits:
		<-ctx.Done()
		return -1, ctx.Err()
	case deafens:
		gate, _ := gates.Load(a.Gate)
		open, _ := gate.(chan struct{}) // nil in another process: for ever
		<-open
	}
	return a.X * a.X, nil
}

// newGate returns a gate for deafened calls, and what opens it.
func newGate() (id int64, open func()) {
	id, gate := gateIDs.Add(1), make(chan struct{})
	gates.Store(id, gate)
	return id, func() { close(gate) } // it stays known: a call may come late
}

// squaring returns n acts that square their numbers.
func squaring(n int) []act {
	acts := make([]act, n)
	for i := range acts {
		acts[i].X = i
	}
	return acts
}

// calls is the work of a run: calls of perform.
type calls struct {
	acts   []act
	out    []int
	done   []bool
	failed []*backend.TaskError
	stream bool
}

var _ dispatch.Work = (*calls)(nil)

func newCalls(acts []act) *calls {
	return &calls{acts: acts, out: make([]int, len(acts)), done: make([]bool, len(acts)), failed: make([]*backend.TaskError, len(acts))}
}

func (w *calls) Run(t *dispatch.Thread, lo, hi int) int {
	ctx := t.Context()
	i := lo
	for ; i < hi && !t.Stop().Load(); i++ {
		t.Index = i
		if !t.Plain() {
			t.Begun()
		}
		v, err := perform(ctx, w.acts[i], t.Attempt)
		if t.Ended(err) {
			w.out[i], w.done[i] = v, true
		}
		if w.stream {
			t.Publish()
		}
	}
	return i
}

func (w *calls) Name(int) string                                                  { return "perform" }
func (w *calls) Args(i int) string                                                { return fmt.Sprint(w.acts[i].X) }
func (w *calls) Fail(i int, err *backend.TaskError, _ time.Duration)              { w.failed[i] = err }
func (w *calls) Strangers() []*backend.TaskError                                  { return nil }
func (w *calls) Append(b *wire.Batch, i int) error                                { return appendCall(b, w.acts[i], i) }
func (w *calls) AppendColumn(*wire.Batch, int, int) bool                          { return false }
func (w *calls) StoreColumn(int, int, wire.ResultReader, int, time.Duration) bool { return false }

func appendCall(b *wire.Batch, a act, i int) error {
	name, err := registry.FuncName(perform)
	if err != nil {
		return err
	}
	return b.Add(wire.Call{Func: name, Index: i}, reflect.TypeOf(perform), []any{a, b.Attempt})
}

func (w *calls) Store(i int, v wire.Value, _ int, _ time.Duration) error {
	err := wire.ReadValueInto(v, &w.out[i])
	w.done[i] = err == nil
	return err
}
