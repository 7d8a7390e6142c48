package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/gojoblib/parallel/backend"
)

// Open is a run that stays open: its calls are put in one by one, from any goroutine, until it is closed. It is a stream
// that nobody consumes: Work takes each result where it belongs.
type Open struct {
	run  *run
	done chan struct{}
	err  *backend.RunError
}

// NewOpen starts a run without calls, and without workers until there are some. spec has a Pool.
func NewOpen(spec Spec, work Work) *Open {
	r := newRun(spec, work)
	spec.Pool.open = r
	r.stream = &stream{run: r, open: true, feeder: newGate(), consumer: newGate()}
	o := &Open{run: r, done: make(chan struct{})}
	r.start(r.N)
	context.AfterFunc(r.ctx, func() { // it may stop by itself
		o.Close()
		r.forsake()
	})
	go func() {
		r.done.Wait()
		r.finish()
		o.err = r.report(int(r.avail.Load()))
		close(o.done)
	}()
	return o
}

// isOpen reports whether r is the run of an Open.
func (r *run) isOpen() bool { return r.stream != nil && r.stream.open }

// Put makes the calls below n known: their number is n now. Callers see to it that it only grows.
func (o *Open) Put(n int) { o.run.avail.Store(int64(n)) }

// Wake sets a worker to work after a Put, if one is idle.
func (o *Open) Wake() {
	r := o.run
	if r.rouse(1) == 0 && r.stream.draft() {
		r.engage()
	}
}

// Close lets the calls that there are be made, and no more. After it there is no Put.
func (o *Open) Close() {
	r := o.run
	r.mu.Lock()
	r.stream.closed = true
	r.stream.closing.Store(true)
	r.rouseLocked(len(r.idle))
	over := r.stopped.Load() || r.drained()
	r.mu.Unlock()
	if over || !r.regain.Load() { // else calls may come back
		r.dismiss()
	}
}

// Stop starts no further call and ends the contexts of those that run.
func (o *Open) Stop(why error) {
	o.run.stop(why)
	o.Close()
}

// forsake ends the calls of an open run that was stopped which wait for their next attempt: whoever waits for them may be
// what keeps the run from ending.
func (r *run) forsake() {
	if !r.enlist() {
		return // keepLast has done it
	}
	defer r.left(&seat{bare: true})
	var untold []Event
	r.mu.Lock()
	for _, s := range r.back {
		for i := s.lo; i < s.hi; i++ {
			r.forsaken = append(r.forsaken, i)
		}
	}
	for _, i := range r.forsaken {
		if r.waiting[i] != nil {
			untold = append(untold, r.lastStandsLocked(i)...)
		}
	}
	r.mu.Unlock()
	r.tellAll(untold)
}

// Done is closed when the run has ended: every call that was started has.
func (o *Open) Done() <-chan struct{} { return o.done }

// Context ends when the run is stopped, or has ended.
func (o *Open) Context() context.Context { return o.run.ctx }

// Err tells, after Done, what was wrong with the run.
func (o *Open) Err() *backend.RunError { return o.err }

// standIn adds a worker to the open run r, for a call that waits; false: it has ended, or there is none.
func (r *run) standIn() bool {
	if r == nil || !r.enlist() {
		return false
	}
	r.restart()
	return true
}

// standDown takes a worker away again.
func (r *run) standDown() {
	if r.stream.draft() {
		r.left(&seat{bare: true})
		return
	}
	r.stream.surplus.Add(1)
	r.rouse(1)
}

// dispensable reports whether the worker that asks is one too many, and is to leave.
func (s *stream) dispensable() bool {
	for {
		n := s.surplus.Load()
		if n <= 0 {
			return false
		}
		if s.surplus.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// linger lets others run for a moment where there is nothing to claim: whoever waits for a result often has the next call.
func (r *run) linger() {
	for n := 0; n < 16 && r.next.Load() >= r.avail.Load() && r.nback.Load() == 0 && !r.stopped.Load(); n++ {
		runtime.Gosched()
	}
}

// draft takes one of the workers that are counted and not at work.
func (s *stream) draft() bool {
	for {
		n := s.spare.Load()
		if n <= 0 {
			return false
		}
		if s.spare.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// dismiss counts the workers out that are not at work: there is nothing left for them to do.
func (r *run) dismiss() {
	if n := r.stream.spare.Swap(0); n > 0 {
		r.workers.Add(1 - n) // and the last of them:
		r.left(&seat{bare: true})
	}
}

// replace puts another worker, of a backend whose workers share no memory, in the place of the one on s.
func (r *run) replace(s *seat) {
	switch {
	case r.Pool == nil:
		r.hire()
	case r.isOpen():
		r.rest(s)
	default:
		r.cede(s)
		r.engage()
	}
}

// rest lets a worker's place stand empty until there are calls again: its slot, and its process, are free for others.
func (r *run) rest(s *seat) {
	r.cede(s)
	r.restart()
}

// restart puts a worker, which is counted, among those that are not at work, and sets one to work if there are calls.
func (r *run) restart() {
	r.stream.spare.Add(1)
	r.mu.Lock()
	over := r.stopped.Load() || r.drained()
	more := len(r.back) > 0 || r.next.Load() < r.avail.Load()
	r.mu.Unlock()
	switch {
	case over:
		r.dismiss()
	case more && r.stream.draft():
		r.engage()
	}
}

// Errand makes call i, if claim says that nobody else does, at once, on the slot of the call that waits for it. It returns
// when the call has ended, or is going to be tried again; or when ctx ends.
func (o *Open) Errand(ctx context.Context, i int, t *Tenure, claim func() bool) {
	r := o.run
	if !r.enlist() {
		return // the run has ended, and the call with it
	}
	if !claim() {
		r.left(&seat{bare: true})
		return
	}
	w, err := r.startWorker()
	e, ok := w.(backend.InPlacer)
	if !ok {
		if err == nil {
			err = errors.New("its workers do not run in this process")
			r.fault(w.Close())
		}
		if !r.fail(i, 1, -1, 0, fmt.Errorf("cannot start a worker of backend %s: %w", r.Backend.Traits().Name, err), true) {
			r.settle(1)
		}
		r.left(&seat{bare: true})
		return
	}
	id := r.number()
	th := r.newThread(e, id)
	th.todo, th.counted, th.Attempt = span{i, i + 1, 1}, i, 1
	th.errand = make(chan struct{})
	handed, done := t.hand(false), th.errand
	th.seat.bare = handed
	if !handed { // another goroutine of the call has lent it already
		r.Pool.resume(ctx)
	}
	th.start()
	select {
	case <-done:
	case <-ctx.Done():
		if handed {
			t.forgo()
			go func() {
				<-done
				r.unnumber(id)
				r.Pool.release()
			}()
		}
		t.Reclaim(ctx)
		return
	}
	r.unnumber(id)
	if handed {
		t.restore()
	} else {
		t.Reclaim(ctx)
	}
}

// number returns the number of a worker that makes one call: the one of another that has ended, or the next.
func (r *run) number() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.unused); n > 0 {
		id := r.unused[n-1]
		r.unused = r.unused[:n-1]
		return id
	}
	r.numbered++
	return r.numbered - 1
}

func (r *run) unnumber(id int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unused = append(r.unused, id)
}

// Cancel ends call i, if nobody is at it, or a worker elsewhere has it: not yet begun, it is taken back; else its context
// ends, and after Grace its worker. It does nothing about calls that run in this process. True: it never began.
func (o *Open) Cancel(i int, why error) (never bool) {
	r := o.run
	if ended, never := r.end(i, why); ended {
		return never
	}
	r.mu.Lock()
	for _, c := range r.carriers {
		for _, b := range c.flight {
			k := b.find(i)
			if k < 0 || k >= b.limit || b.answered[k] {
				continue
			}
			b.doomed = append(b.doomed, doom{k, why})
			at := -1
			if b.sent {
				at = b.trimDoomed()
			}
			r.mu.Unlock()
			if at >= 0 {
				c.link.Trim(b.id, at)
			}
			return false
		}
	}
	r.mu.Unlock()
	return false
}

// end ends call i because of why, if nobody is at it: it waits for its next attempt, or has come back from a worker.
func (r *run) end(i int, why error) (ended, never bool) {
	if !r.enlist() {
		return true, false // the run has just ended, and the call with it
	}
	defer r.left(&seat{bare: true})
	var untold []Event
	r.mu.Lock()
	if r.stopped.Load() {
		r.mu.Unlock()
		return true, false // which ends them all
	}
	w := r.waiting[i]
	back := r.withdrawLocked(i)
	switch {
	case w != nil && (back || w.timer != nil && w.timer.Stop()):
		w.err.Err = errors.Join(w.err.Err, why)
		untold = r.lastStandsLocked(i)
	case back:
		failure := &backend.TaskError{Index: i, Name: r.work.Name(i), Args: r.work.Args(i), Err: fmt.Errorf("%w: %w", backend.ErrNotRun, why)}
		r.work.Fail(i, failure, 0)
		r.settled.Add(1)
		r.counted.skipped.Add(1)
		never = true
	default:
		r.mu.Unlock()
		return false, false
	}
	r.mu.Unlock()
	r.tellAll(untold)
	r.made(i, false, 0)
	r.settle(0)
	return true, never
}

// withdrawLocked takes call i from those that came back; false: it is not among them.
func (r *run) withdrawLocked(i int) bool {
	at := slices.IndexFunc(r.back, func(s span) bool { return s.lo <= i && i < s.hi })
	if at < 0 {
		return false
	}
	s := r.back[at]
	r.back = slices.Delete(r.back, at, at+1)
	r.nback.Add(-1)
	r.giveBackLocked(span{s.lo, i, s.attempt})
	r.giveBackLocked(span{i + 1, s.hi, s.attempt})
	return true
}

// trimDoomed returns from where on calls should be taken back so that a doomed one is not begun, or is the last; -1: there
// is none.
func (b *batch) trimDoomed() int {
	if len(b.doomed) == 0 {
		return -1
	}
	b.trimming = true
	return slices.MinFunc(b.doomed, func(x, y doom) int { return cmp.Compare(x.k, y.k) }).k
}

// doom is a call of a batch that is to be ended.
type doom struct {
	k   int
	why error
}

// Canceller is a Work whose calls may be cancelled one by one. Cancelled returns why call i was, or nil. It says so before
// Open.Cancel is called, which looks for calls that workers have: together they miss none that is on its way.
type Canceller interface{ Cancelled(i int) error }

// doom notes the calls of a batch that were cancelled before it was there to be found.
func (b *batch) doom(r *run) {
	for k := range b.answered {
		if why := r.whyCancelled(b.number(k)); why != nil {
			b.doomed = append(b.doomed, doom{k, why})
		}
	}
}

// whyCancelled returns why call i was cancelled by itself; nil: it was not.
func (r *run) whyCancelled(i int) error {
	if w, ok := r.work.(Canceller); ok {
		return w.Cancelled(i)
	}
	return nil
}

// find returns which call of the batch is call i of the run, or -1.
func (b *batch) find(i int) int {
	if b.calls == nil {
		if i < b.first || i-b.first >= len(b.answered) {
			return -1
		}
		return i - b.first
	}
	return slices.Index(b.calls, i)
}

// ErrSkip is what Work.Append returns of a call of an Open that has ended without being made.
var ErrSkip = errors.New("the call has ended without being made")

// Skip says that the call Index is not made: it has ended without, or, unless settled, somebody else makes it.
func (t *Thread) Skip(settled bool) {
	t.run.made(t.Index, false, 0)
	t.run.recovered(t.Index, t.Attempt)
	t.failed = true
	if settled {
		t.run.counted.skipped.Add(1)
	} else {
		t.lost++
	}
}

// NewTenure gives the call that is about to begin a hold of its own on the thread's slot, until Tenure.End.
func (t *Thread) NewTenure() *Tenure {
	t.tenure = &Tenure{pool: t.run.Pool}
	return t.tenure
}

// OnErrand reports whether the thread makes one call alone, for another that waits for it.
func (t *Thread) OnErrand() bool { return t.errand != nil }
