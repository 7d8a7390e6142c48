package dispatch

import (
	"reflect"
	"runtime"
	"slices"
	"sync/atomic"
)

// slots is the program's one budget of workers.
//
// A run that no call started gets as many workers as it asks for, and the budget grows by them. A run inside a call
// works on the slot of the call that waits for it; the workers it wants beside that one it takes where slots are
// free, at its start and again while it goes on (see run.grow). So runs nested to any depth never hold more slots
// than the widest of them (or the machine) has, and none waits for another. Runs only take and give back; none is
// started by another's end, which keeps them apart where they must be (testing/synctest).
var slots budget

type budget struct {
	used  atomic.Int64 // workers at work; of nested runs, those beyond the lent slot
	owned atomic.Int64 // slots of the runs at the top
}

// open reserves the slots of a run at the top, shut gives them up.
func (b *budget) open(n int) { b.owned.Add(int64(n)) }
func (b *budget) shut(n int) { b.owned.Add(-int64(n)) }

// use puts a worker into each of n slots that its run owns.
func (b *budget) use(n int) { b.used.Add(int64(n)) }

// take returns how many of n more workers a nested run of that width may have now.
func (b *budget) take(n, width int) int {
	limit := max(int64(width), int64(runtime.GOMAXPROCS(0)), b.owned.Load())
	for {
		used := b.used.Load()
		free := min(int64(n), limit-used)
		if free <= 0 {
			return 0
		}
		if b.used.CompareAndSwap(used, used+free) {
			return int(free)
		}
	}
}

// release ends a worker's use of a slot.
func (b *budget) release() { b.used.Add(-1) }

// within reports whether this goroutine is a worker of some run: a nested run finds out this way when it was not
// given its call's context. It is asked only while runs are under way.
func (b *budget) within() bool {
	if b.owned.Load() == 0 {
		return false
	}
	// The goroutine's entry is at the end of its stack, perhaps with a backend's own frames below the loop's. Pages
	// overlap by what is looked at.
	const tail = 8
	var pcs [64]uintptr
	for skip := 2; ; skip += len(pcs) - tail {
		n := runtime.Callers(skip, pcs[:])
		if n == len(pcs) {
			continue
		}
		return slices.ContainsFunc(pcs[max(0, n-tail):n], func(pc uintptr) bool {
			f := runtime.FuncForPC(pc)
			return f != nil && f.Entry() == threadLoop
		})
	}
}

var threadLoop = reflect.ValueOf((*Thread).loop).Pointer()
