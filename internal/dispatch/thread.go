package dispatch

import (
	"context"
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
	scope.Scope                 // of the call that runs; Index is also where a panic is charged
	Took        time.Duration   // how long the call that has just ended took, where the Work measures it
	ctx         context.Context // what calls are given: the Scope, or one of its own where calls can be given up
	run         *run
	watch       *watch
	pos         atomic.Int64 // stream: calls of the chunk below it have ended
	flushed     int          // stream: calls of the chunk below it have been handed to the consumer; guarded by run.mu
	todo        span         // what is left of the chunk
	counted     int          // calls of the chunk below it have been counted as settled
	lost        int          // calls since then that will be tried again
	calling     bool         // inside Work.Run
	failed      bool         // the last call has

	// What is touched once per chunk comes last, and keeps what is touched per call apart from the neighbour's.
	pace   plan.Pace
	clock  time.Time // the end of the last chunk; zero after a sleep
	worker backend.InPlacer
	id     int
	seat   seat
	locals scope.Locals
	tenure *Tenure       // its slot of the run's Pool
	kept   bool          // what it has opened was
	Cache  any           // what the Work keeps for its next Run by this thread
	errand chan struct{} // it makes one call, for the call that lends it its slot, and closes this
	log    *log          // nil: nobody listens
}

func (r *run) newThread(w backend.InPlacer, id int) *Thread {
	t := &Thread{
		run: r, worker: w, id: id, log: r.teller.log(id),
		pace: plan.Pace{Target: plan.InPlace, Fixed: r.Batch},
	}
	t.Scope = scope.Scope{Context: r.ctx, Seed: r.Seed, Names: r.work, Locals: &t.locals}
	t.ctx = &t.Scope
	if r.careful() {
		t.pace.Fixed = max(1, r.Batch)
	}
	if p := r.Pool; p != nil {
		t.tenure = &Tenure{pool: p}
		t.Tenure, t.Locals = t.tenure, p.opened()
	}
	switch {
	case r.stream == nil:
	case r.stream.open:
		t.pace.Fixed = max(1, r.Batch) // what comes next may take long, and others be idle
		t.pace.Max = plan.Block
	default:
		t.pace.Max = plan.Block
		r.mu.Lock()
		r.stream.threads = append(r.stream.threads, t)
		r.mu.Unlock()
	}
	return t
}

func (t *Thread) start() { t.worker.Go(t.loop) }

// Context is what the calls of this Run are given.
func (t *Thread) Context() context.Context { return t.ctx }

// Stop is true when no further call must be started.
func (t *Thread) Stop() *atomic.Bool { return &t.run.stopped }

// Plain reports whether, during this Run, a call that returns no error needs no Ended.
func (t *Thread) Plain() bool { return t.watch == nil && t.Attempt == 1 && t.log == nil }

// Ended says how the call Index ended; true: its value counts.
func (t *Thread) Ended(err error) bool {
	r, i, attempt := t.run, t.Index, t.Attempt
	w, took := t.watch, t.Took
	if w != nil {
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
	if t.log != nil {
		if lap := t.log.lap(); w == nil {
			took = lap
		}
	}
	if err == nil {
		r.recovered(i, attempt)
		if t.log != nil {
			t.log.finish(i, attempt, took)
		}
		return true
	}
	t.failed = true
	again := r.fail(i, attempt, t.id, took, err, true)
	if t.log != nil {
		t.log.lap()
	}
	if again {
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
	for !t.gone() && (t.todo.lo < t.todo.hi || t.errand == nil && t.claim()) {
		t.chunk()
	}
	if p := t.run.Pool; p == nil {
		for t.Locals.CloseLast(t.run.fault) {
		}
	} else if !t.kept {
		t.kept = true
		p.keep(t.Locals, t.run.fault)
	}
	returned = true
	if t.gone() {
		t.run.returned()
		return
	}
	t.run.fault(t.worker.Close())
	t.run.teller.forget(t.id)
	if t.errand != nil {
		close(t.errand)
	}
	t.run.left(&t.seat)
}

func (t *Thread) claim() (ok bool) {
	if !t.run.yield(&t.seat) {
		return false
	}
	if s := t.run.stream; s != nil && !s.open {
		t.todo, ok = s.claim(t)
	} else {
		if t.run.regain.Load() || t.run.stream != nil {
			t.clock = time.Time{} // claiming may sleep
		}
		if t.run.stream != nil {
			t.run.linger()
		}
		t.todo, ok = t.run.claim(&t.pace, &t.seat)
	}
	t.counted, t.Attempt = t.todo.lo, t.todo.attempt
	return ok
}

// chunk runs what was claimed. After a stop it leaves the rest, which nobody will run.
func (t *Thread) chunk() {
	r := t.run
	learn := r.next.Load() < r.avail.Load() // else there is no next chunk to size
	if s := r.stream; s != nil {
		learn = !s.open
	}
	if learn && t.clock.IsZero() {
		t.clock = time.Now()
	}
	from := t.todo.lo
	for t.todo.lo < t.todo.hi && !r.stopped.Load() {
		switch {
		case r.Memo != nil:
			t.recall()
		case r.careful():
			t.attend()
		default:
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
	if t.todo.lo < t.todo.hi { // the stop left them
		r.mu.Lock()
		r.unrun = append(r.unrun, t.todo)
		r.mu.Unlock()
		t.todo.hi = t.todo.lo
	}
}

// recall runs the one call todo.lo, unless its result is known, or somebody else is at it.
func (t *Thread) recall() {
	r, i := t.run, t.todo.lo
	switch r.find(i, t.todo.attempt, t.id) {
	case Hit:
		t.todo.lo, t.Index = i+1, i
		if r.stream != nil {
			t.Publish()
		}
		return
	case Wait:
		t.Index = i
		if r.stream != nil {
			r.stream.skip(t)
		}
		t.lost++
		t.todo.lo = i + 1
		return
	}
	t.failed = false
	start := time.Now()
	if r.careful() {
		t.attend()
	} else {
		t.guarded(i + 1)
	}
	switch {
	case t.gone() || t.failed: // it was told
	case t.todo.lo == i:
		r.made(i, false, 0) // the run was stopped before
	default:
		r.made(i, true, time.Since(start))
	}
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
	if t.log != nil {
		t.log.lap()
	}
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
