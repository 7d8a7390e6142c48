package dispatch

import (
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// slots is the program's one budget of workers.
//
// A run that no call started gets as many workers as it asks for, and the budget grows by them. A run inside a call
// works on the slot of the call that waits for it; the workers it wants beside that one it gets only where slots are
// free, now or as soon as others end. So runs nested to any depth never hold more slots than the widest of them (or
// the machine) has, and never wait for one to begin.
var slots budget

type budget struct {
	used  atomic.Int64 // workers at work; of nested runs, those beyond the lent slot
	waits atomic.Int64 // len(queue)
	mu    sync.Mutex
	owned atomic.Int64 // slots of the runs at the top
	queue []*run       // nested runs that want more workers, longest waiting first
}

// open reserves the slots of a run at the top.
func (b *budget) open(n int) {
	b.owned.Add(int64(n))
	b.used.Add(int64(n))
}

// shut gives up what open reserved, all its workers having been released.
func (b *budget) shut(n int) { b.owned.Add(-int64(n)) }

// take returns how many of n more workers a nested run may have now.
func (b *budget) take(n, width int) int {
	for {
		used := b.used.Load()
		free := min(int64(n), b.limit(width)-used)
		if free <= 0 {
			return 0
		}
		if b.used.CompareAndSwap(used, used+free) {
			return int(free)
		}
	}
}

func (b *budget) limit(width int) int64 {
	return max(int64(width), int64(runtime.GOMAXPROCS(0)), b.owned.Load())
}

// release ends a worker's use of a slot and hands it to a run that waits for one.
func (b *budget) release() {
	b.used.Add(-1)
	if b.waits.Load() > 0 {
		b.serve()
	}
}

// await queues a nested run for want more workers.
func (b *budget) await(r *run, want int) {
	b.mu.Lock()
	r.wants = want
	b.queue = append(b.queue, r)
	b.waits.Add(1)
	b.mu.Unlock()
	b.serve()
}

// leave takes a nested run off the queue.
func (b *budget) leave(r *run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.queue, r); i >= 0 {
		b.queue = slices.Delete(b.queue, i, i+1)
		b.waits.Add(-1)
	}
}

// serve gives free slots to the runs that wait, a worker each in turn.
func (b *budget) serve() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) > 0 {
		r := b.queue[0]
		if b.take(1, r.N) == 0 {
			return
		}
		b.queue = slices.Delete(b.queue, 0, 1) // a run that has ended is not kept by the array
		b.waits.Add(-1)
		if !r.enlist() { // it has ended meanwhile
			b.used.Add(-1)
			continue
		}
		if r.wants--; r.wants > 0 {
			b.queue = append(b.queue, r)
			b.waits.Add(1)
		}
	}
}

// within reports whether this goroutine is a worker of some run: a nested run finds out this way when it was not
// given its call's context. It is asked only while runs are under way.
func (b *budget) within() bool {
	if b.owned.Load() == 0 {
		return false
	}
	// The goroutine's entry is at the end of its stack, perhaps with a backend's own frames below the loop's. Pages overlap
	// by what is looked at.
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
