package dispatch

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// watch is the look-out over one attempt of one call, where someone watches the clock:
//
//	armed ── Begun ──> running ── Ended ────> ended        its return decides
//	                      └────── abandon ──> abandoned    its Timeout does; what it returns is dropped
//
// Whoever moves it on from running decides how the attempt ended. What is never begun, the stop having come first,
// stays armed.
type watch struct {
	state  atomic.Int32
	timer  *time.Timer
	start  time.Time
	ctx    context.Context // the attempt's; nil without a Timeout
	thread *Thread
	todo   span // the attempt's call, and what follows it in the chunk
}

const (
	armed = iota // the call has not begun
	running
	ended
	abandoned
)

// careful reports whether each call is looked after by itself, because someone watches the clock.
func (r *run) careful() bool { return r.Timeout > 0 }

// patience is how long after its start a call is given up.
func (r *run) patience() time.Duration { return r.Timeout + min(r.grace(), math.MaxInt64-r.Timeout) }

// grace is how long a call whose context has ended may take to return before it is given up, or its worker killed.
func (r *run) grace() time.Duration {
	switch g := r.Backend.Traits().Grace; {
	case g > 0:
		return g
	case g < 0:
		return 0
	}
	return Grace
}

// attend runs the one call todo.lo, with a watch over its time.
func (t *Thread) attend() {
	r := t.run
	t.watch = &watch{thread: t, todo: t.todo}
	if r.Timeout > 0 {
		ctx, cancel := context.WithTimeoutCause(r.ctx, r.Timeout, r.late)
		defer cancel()
		own := t.Scope
		own.Context, own.Index = ctx, t.todo.lo
		if r.stream != nil {
			own.Names = name(r.work.Name(t.todo.lo)) // a call given up may ask when its item is long gone
		}
		t.ctx, t.watch.ctx = &own, ctx
	}
	t.guarded(t.todo.lo + 1)
	if t.watch != nil && t.watch.state.Load() == armed {
		t.watch = nil // the run was stopped before the call
	}
}

// Begun says, while not Plain, that the call Index is next and has its input: from here on it can be given up, and
// its place in a stream be used for another.
func (t *Thread) Begun() {
	if t.log != nil {
		t.log.begin(t.run.work, t.Index, t.Attempt)
	}
	w := t.watch
	if w == nil {
		return // a further attempt, which nobody watches
	}
	w.start = time.Now()
	w.state.Store(running)
	if t.run.Timeout > 0 {
		w.timer = time.AfterFunc(t.run.patience(), w.abandon)
	}
}

// gone reports whether the thread's call was given up, and with it the thread.
func (t *Thread) gone() bool { return t.watch != nil && t.watch.state.Load() == abandoned }

// abandon gives up an attempt that has not returned although its context ended Grace ago: it has failed, its goroutine
// is left to itself, and another takes its place.
func (w *watch) abandon() {
	if !w.state.CompareAndSwap(running, abandoned) {
		return
	}
	t, r := w.thread, w.thread.run // its slot goes to the thread that follows
	i := w.todo.lo
	r.mu.Lock()
	r.abandoned++
	tooMany := r.abandoned > r.N
	r.mu.Unlock()
	// It is not retried: the first attempt still runs.
	r.fail(i, w.todo.attempt, t.id, time.Since(w.start), r.late, false)
	if tooMany {
		r.stop(fmt.Errorf("%d calls at once ran on after their Timeout of %v, more than there are workers: they must watch their context, or run where they can be killed", r.N+1, r.Timeout))
	}
	if t.tenure != nil {
		t.tenure.End()
	}
	next := r.newThread(t.worker, t.id)
	next.errand, next.seat.bare = t.errand, t.seat.bare
	next.todo = span{i + 1, w.todo.hi, w.todo.attempt}
	next.counted, next.Attempt = i+1, w.todo.attempt
	if r.stream != nil {
		r.stream.replace(t, next, i)
	}
	r.settle(1)
	next.start()
}

// returned counts a given-up call that has returned after all.
func (r *run) returned() {
	r.mu.Lock()
	r.abandoned--
	r.mu.Unlock()
}

// name is the name of any call.
type name string

func (n name) Name(int) string { return string(n) }
