package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
)

func TestMain(m *testing.M) {
	Main(cube, cubeOf, do, box, unbox, throw, panicsLate, refuses, run, repeated, where, poolDeed, waits, failingInit, part, initially, takesAny, countPrimes, errBoom)
	testkit.Main(m)
}

// deed is what a call of do is told.
type deed struct {
	Ledger int64 // where it leaves its traces
	Index  int
	How    fate // of its first Fails attempts; the next one returns square(Index)
	Fails  int
	Takes  time.Duration
}

type fate int

const (
	succeeds fate = iota
	errs
	panics
	exits
	late    // it returns when its context has ended
	deaf    // it returns when the ledger is closed
	crashes // its worker is lost; for testkit.Remote
)

func (f fate) String() string {
	return [...]string{"succeeds", "errs", "panics", "exits", "late", "deaf", "crashes"}[f]
}

var errBoom = errors.New("boom")

func square(i int) int { return i*i + 1 } // never 0

// do is the call of most tests: registered, and so the same on every backend.
func do(ctx context.Context, d deed) (int, error) {
	l := ledgerOf(d.Ledger)
	defer l.enter(d.Index)()
	if d.Takes > 0 {
		time.Sleep(d.Takes)
	}
	info, _ := TaskFrom(ctx)
	if info.Attempt > d.Fails {
		return square(d.Index), nil
	}
	switch d.How {
	case errs:
		return -1, fmt.Errorf("deed %d: %w", d.Index, errBoom)
	case panics:
		panic(fmt.Sprintf("deed %d", d.Index))
	case exits:
		runtime.Goexit()
	case late:
		<-ctx.Done()
		return -1, ctx.Err()
	case deaf:
		<-l.closed
	case crashes:
		testkit.Crash(ctx)
	}
	return -1, nil
}

// is reports whether err is what a deed of this fate comes to.
func (f fate) is(err error, i int) bool {
	switch f {
	case errs:
		return errors.Is(err, errBoom) && err.Error() == fmt.Sprintf("deed %d: boom", i)
	case panics:
		p, ok := err.(*PanicError)
		return ok && p.Value == fmt.Sprintf("deed %d", i) && len(p.Stack) > 0
	case exits:
		return err == ErrGoexit
	case late, deaf:
		return errors.Is(err, ErrTimeout) && errors.Is(err, context.DeadlineExceeded)
	case crashes:
		c, ok := err.(*CrashError)
		return ok && c.Reason == "connection lost"
	}
	return false
}

// ledger is what the deeds of one run leave behind.
type ledger struct {
	id      int64
	started []atomic.Int64 // by Index
	running atomic.Int64
	ended   atomic.Int64
	closed  chan struct{}

	mu    sync.Mutex
	order []int // the indices as they were started
}

var (
	ledgers   sync.Map // id -> *ledger
	ledgerIDs atomic.Int64
)

// newLedger returns the ledger of up to n deeds; close it when their run is over.
func newLedger(n int) *ledger {
	l := &ledger{id: ledgerIDs.Add(1), started: make([]atomic.Int64, n), closed: make(chan struct{})}
	ledgers.Store(l.id, l)
	return l
}

func ledgerOf(id int64) *ledger {
	l, _ := ledgers.Load(id)
	return l.(*ledger)
}

// close lets deaf deeds return.
func (l *ledger) close() {
	close(l.closed)
	ledgers.Delete(l.id)
}

func (l *ledger) enter(i int) (leave func()) {
	l.started[i].Add(1)
	l.mu.Lock()
	l.order = append(l.order, i)
	l.mu.Unlock()
	l.running.Add(1)
	return func() {
		l.running.Add(-1)
		l.ended.Add(1)
	}
}

// deeds returns n deeds that succeed.
func (l *ledger) deeds(n int) []deed {
	ds := make([]deed, n)
	for i := range ds {
		ds[i] = deed{Ledger: l.id, Index: i}
	}
	return ds
}
