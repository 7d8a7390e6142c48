package dispatch

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/plan"
	"github.com/gojoblib/parallel/internal/scope"
)

// Thread is a worker whose calls run in this process. Its loop claims a chunk, runs it and claims the next:
//
//	loop ── claim ── chunk ── guarded ── Work.Run ── Stop?, Index, the call, Ended?
//	  ^                          |
//	  └── Go again: a call ended the goroutine (Goexit) or kept it (Timeout)
//
// Recovery, the clock and the counters are touched once per chunk; per call there is a store, a load and a branch.
type Thread struct {
	scope.Scope // of the call that runs; Index is also where a panic is charged
	run         *run
	ctx         context.Context // what calls are given: the Scope, or one of its own where calls can be given up
	worker      backend.InPlacer
	id          int
	pace        plan.Pace
	clock       time.Time // the end of the last chunk; zero after a sleep
	seat        seat
	locals      scope.Locals
	todo        span          // what is left of the chunk
	calling     bool          // inside Work.Run
	Took        time.Duration // how long the call that has just ended took, where the Work measures it
	counted     int           // calls of the chunk below it have been counted as settled
	lost        int           // calls since then that will be tried again
	watch       *watch
	flushed     int          // stream: calls of the chunk below it have been handed to the consumer; guarded by run.mu
	pos         atomic.Int64 // stream: calls of the chunk below it have ended
	_           [64]byte     // no neighbour's Index on this cache line
}

func (r *run) newThread(w backend.InPlacer, id int) *Thread {
	t := &Thread{
		run: r, worker: w, id: id,
		pace: plan.Pace{Target: plan.InPlace, Fixed: r.Batch},
	}
	t.Scope = scope.Scope{Context: r.ctx, Seed: r.Seed, Names: r.work, Locals: &t.locals}
	t.ctx = &t.Scope
	if r.careful() {
		t.pace.Fixed = max(1, r.Batch)
	}
	if r.stream != nil {
		t.pace.Max = plan.Block
		r.mu.Lock()
		r.stream.threads = append(r.stream.threads, t)
		r.mu.Unlock()
	}
	return t
}

// careful reports whether each call is looked after by itself, because someone watches the clock or listens.
func (r *run) careful() bool { return r.Timeout > 0 || r.Listen != nil }

func (t *Thread) start() { t.worker.Go(t.loop) }

// Context is what the calls of this Run are given.
func (t *Thread) Context() context.Context { return t.ctx }

// Stop is true when no further call must be started.
func (t *Thread) Stop() *atomic.Bool { return &t.run.stopped }

// Plain reports whether, during this Run, a call that returns no error needs no Ended.
func (t *Thread) Plain() bool { return t.watch == nil && t.Attempt == 1 }

// Begun says, while not Plain, that the call Index is next and has its input: from here on it can be given up, and its place in a
// stream be used for another.
func (t *Thread) Begun() {
	w := t.watch
	if w == nil {
		return // a further attempt, which nobody watches
	}
	w.start = time.Now()
	w.state.Store(running)
	if t.run.Timeout > 0 {
		w.timer = time.AfterFunc(t.run.patience(), w.abandon)
	}
	t.run.tell(Event{Kind: Started, Index: t.Index, Attempt: t.Attempt, Worker: t.id, At: w.start})
}

// Ended says how the call Index ended; true: its value counts.
func (t *Thread) Ended(err error) bool {
	r, i, attempt := t.run, t.Index, t.Attempt
	took := t.Took
	if w := t.watch; w != nil {
		if !w.state.CompareAndSwap(running, ended) {
			return false
		}
		took = time.Since(w.start)
		if w.timer != nil {
			w.timer.Stop()
			if context.Cause(w.ctx) == r.late {
				err = r.late
			}
		}
		t.watch = nil
	}
	if err == nil {
		r.recovered(i, attempt)
		r.tell(Event{Kind: Finished, Index: i, Attempt: attempt, Worker: t.id, At: time.Now(), Took: took})
		return true
	}
	if r.fail(i, attempt, t.id, took, err, true) {
		t.lost++
		if r.stream != nil {
			r.stream.skip(t)
		}
	}
	return false
}

// loop is what a worker does. It returns when there is nothing left to do; a call that ends its goroutine does not end
// the worker.
func (t *Thread) loop() {
	returned := false
	defer func() {
		if returned {
			return
		}
		if !t.gone() {
			t.account()
		}
		t.worker.Go(t.loop)
	}()
	for !t.gone() && (t.todo.lo < t.todo.hi || t.claim()) {
		t.chunk()
	}
	for t.closeLast() {
	}
	returned = true
	if t.gone() {
		t.run.returned()
		return
	}
	t.run.fault(t.worker.Close())
	t.run.left()
}

func (t *Thread) claim() (ok bool) {
	if s := t.run.stream; s != nil {
		t.todo, ok = s.claim(t)
	} else {
		if t.run.regain.Load() {
			t.clock = time.Time{} // claiming may sleep
		}
		t.todo, ok = t.run.claim(&t.pace, &t.seat)
	}
	t.counted, t.Attempt = t.todo.lo, t.todo.attempt
	return ok
}

// chunk runs what was claimed. After a stop it leaves the rest, which nobody will run.
func (t *Thread) chunk() {
	r := t.run
	learn := r.stream != nil || r.next.Load() < r.avail.Load() // else there is no next chunk to size
	if learn && t.clock.IsZero() {
		t.clock = time.Now()
	}
	from := t.todo.lo
	for t.todo.lo < t.todo.hi && !r.stopped.Load() {
		if r.careful() {
			t.attend()
		} else {
			t.guarded(t.todo.hi)
		}
		if t.gone() {
			return
		}
		t.account()
	}
	if learn {
		now := time.Now() // the end of this chunk is the start of the next
		t.pace.Took(t.todo.lo-from, now.Sub(t.clock))
		t.clock = now
	}
	t.todo.hi = t.todo.lo
}

// account settles the calls made since it was last asked.
func (t *Thread) account() {
	if n := t.todo.lo - t.counted - t.lost; n > 0 {
		t.run.settle(n)
	}
	t.counted, t.lost = t.todo.lo, 0
}

// guarded runs the calls from todo.lo below hi, up to the first that panics or ends the goroutine.
func (t *Thread) guarded(hi int) {
	t.calling = true
	defer t.caught()
	t.todo.lo = t.run.work.Run(t, t.todo.lo, hi)
	t.calling = false
}

// caught turns what befell a call into its error. After a Goexit the goroutine goes on ending, and loop starts another.
func (t *Thread) caught() {
	if !t.calling {
		return
	}
	t.calling = false
	err := backend.ErrGoexit
	if v := recover(); v != nil {
		err = &backend.PanicError{Value: v, Stack: debug.Stack()}
	}
	t.Ended(err)
	t.todo.lo = t.Index + 1
	if t.run.stream != nil {
		t.Publish()
	}
}

// attend runs the one call todo.lo, with a clock for those who listen and a watch over its time.
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

// name is the name of any call.
type name string

func (n name) Name(int) string { return string(n) }

// watch is the look-out over one attempt of one call. Whoever moves it on from running decides how the attempt ended:
// its return or its Timeout.
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

// gone reports whether the thread's call was given up, and with it the thread.
func (t *Thread) gone() bool { return t.watch != nil && t.watch.state.Load() == abandoned }

// patience is how long after its start a call is given up.
func (r *run) patience() time.Duration { return r.Timeout + min(Grace, math.MaxInt64-r.Timeout) }

// abandon gives up an attempt that has not returned although its context ended Grace ago: it has failed, its goroutine
// is left to itself, and another takes its place.
func (w *watch) abandon() {
	if !w.state.CompareAndSwap(running, abandoned) {
		return
	}
	t, r := w.thread, w.thread.run
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
	next := r.newThread(t.worker, t.id)
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

// closeLast closes the last that PerWorker opened on this worker; false when there is none left.
func (t *Thread) closeLast() (more bool) {
	close := t.Locals.Pop()
	if close == nil {
		return false
	}
	err := backend.ErrGoexit
	defer func() {
		if v := recover(); v != nil {
			err = &backend.PanicError{Value: v, Stack: debug.Stack()}
		}
		if err != nil {
			t.run.fault(fmt.Errorf("closing a PerWorker value: %w", err))
		}
		more = true
	}()
	err = close()
	return true
}

// protect runs f on a goroutine of its own, so that neither a panic nor a Goexit of it harms the worker.
func protect(f func() error) error {
	ended := make(chan error, 1)
	go func() {
		err := backend.ErrGoexit
		defer func() {
			if v := recover(); v != nil {
				err = &backend.PanicError{Value: v, Stack: debug.Stack()}
			}
			ended <- err
		}()
		err = f()
	}()
	return <-ended
}

// tell passes an event on to who listens.
func (r *run) tell(e Event) {
	if r.Listen != nil {
		r.Listen(e)
	}
}
