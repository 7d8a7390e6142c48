package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/plan"
	"github.com/gojoblib/parallel/internal/scope"
	"github.com/gojoblib/parallel/internal/wire"
)

// Grace is how long a call whose context has ended may take to return before it is given up.
const Grace = 100 * time.Millisecond

// Spec says how a run is to be carried out.
type Spec struct {
	Context   context.Context
	Backend   backend.Backend
	N         int           // workers wanted, at least 1
	KeepGoing bool          // a failure does not stop the run
	Timeout   time.Duration // of each attempt; 0: none
	Retry     func(err error, attempt int) (wait time.Duration, again bool)
	Batch     int // calls per chunk or message; 0: by measurement
	Seed      uint64
	Memo      Memo   // results of calls that need not be made; nil: none
	Pool      *Pool  // whose slots its workers need; nil: they are the run's own
	Left      func() // called when the last worker has left; nil: nothing is
	Listeners []Listener
	// Watch is called when the run begins, with what says how far it has come; what it returns is called at the end, when
	// that says the last.
	Watch func(counts func() Counts) (over func())
	Tally *Tally // of the time that the run spends besides its calls; nil: nobody wants to know
	// Keep writes a call that has failed for good to a file, and returns its path; nil: none is kept.
	Keep func(*backend.TaskError, Work) (string, error)
}

// Work is the calls of a run, numbered from 0, as whoever declared them keeps them. What a call leaves behind goes
// where no other call writes, so that workers need no lock.
type Work interface {
	// Run makes the calls [lo,hi) in this process, in order, and returns the number of the first it did not start.
	// Before each it looks at t.Stop and sets t.Index; after each it asks t.Ended whether the value counts. While
	// t.Plain it may skip that for a success; else it says t.Begun before each call, too. (They are apart so that a
	// loop can keep them in registers.)
	Run(t *Thread, lo, hi int) int
	// Name returns a call's name, Args its arguments in short.
	Name(i int) string
	Args(i int) string
	// Strangers returns the calls whose functions a Carrier's far end could not find. It is asked before anything has
	// run; a stream, whose calls are not known yet, has none.
	Strangers() []*backend.TaskError
	// Append adds a call to a batch for a Carrier; after an error the batch is as it was.
	Append(b *wire.Batch, i int) error
	// AppendColumn adds the calls [lo,hi) to an empty batch, as a column; false: they are none.
	AppendColumn(b *wire.Batch, lo, hi int) bool
	// Store reads and keeps a result.
	Store(i int, v wire.Value, attempt int, took time.Duration) error
	// StoreColumn keeps the results of the calls [lo,hi), which are a column; false: not of this type.
	StoreColumn(lo, hi int, r wire.ResultReader, attempt int, took time.Duration) bool
	// Fail keeps a call's failure. A run of slices needs nothing here: its failures are in the RunError.
	Fail(i int, err *backend.TaskError, took time.Duration)
}

// span is the calls [lo,hi), about to be started for the attempt-th time.
type span struct{ lo, hi, attempt int }

// run is the state of one run, finite or stream.
type run struct {
	stopped atomic.Bool // start no further call; read before every call, so what changes often lies at the other end
	regain  atomic.Bool // calls may come back after they were claimed
	nested  bool        // its first worker works on the slot of the call that waits for it
	opened  int         // slots that a run at the top has reserved
	work    Work
	ctx     context.Context
	cancel  context.CancelCauseFunc
	stream  *stream     // nil in a finite run
	unhook  func() bool // parts the run from the caller's context
	late    error       // what a call fails with that has used up this run's Timeout
	home    *Tenure     // the slot of its Pool that the call which waits for the run lends
	others  []*Tenure   // and those of other pools, which it lends to anybody
	barred  bool        // it needs no more slots of its Pool, which guards this
	Spec

	next    atomic.Int64   // calls below it have been claimed
	avail   atomic.Int64   // calls below it exist
	settled atomic.Int64   // calls that have ended for good
	workers atomic.Int64   // workers that have not left
	wants   atomic.Int64   // nested: workers it would like to have besides
	nback   atomic.Int64   // len(back)
	nidle   atomic.Int64   // len(idle)
	done    sync.WaitGroup // until the last worker has left
	gone    chan struct{}  // closed then, too, where a nested run may grow

	mu        sync.Mutex
	back      []span // calls that came back, to be claimed again
	idle      []*seat
	naps      map[int]*nap   // calls that wait for somebody else's result
	waiting   map[int]*retry // calls that have failed and are tried again, until one attempt ends it
	forsaken  []int          // of those, the ones that the stop has found waiting for their time
	failed    []*backend.TaskError
	cause     error      // what stopped the run, when it was not a failed task
	faulty    sync.Mutex // of faults
	faults    []error
	carriers  []*carrier
	unrun     []span // calls that were claimed and that the stop kept from running, or ended
	cut       int    // calls that the run's stop ended
	numbered  int    // workers so far
	unused    []int  // numbers of those that made one call
	abandoned int    // calls given up that still run
	stillborn int    // workers lost in a row that gave no news
	ended     bool   // the last worker has left
	endless   bool   // it is a stream that has not begun

	attention
}

// retry is a call that has failed and is tried again: its last failure, and the timer that brings it back, if it has
// to wait.
type retry struct {
	err   *backend.TaskError
	timer *time.Timer
	cut   bool // the stop ended its last attempt
	told  bool // who listens knows that it has failed
}

// seat is where a worker with nothing to do sleeps. Its channel is made when it is first needed.
type seat struct {
	wake chan struct{}
	bare bool // the worker is without the slot of its Pool
}

// Do runs the n calls of work and returns when all that were started have ended, but for those given up after a
// Timeout. The error is nil when every call was made and succeeded.
func Do(spec Spec, work Work, n int) *backend.RunError {
	if n == 0 {
		return spec.unheard(work, n, nil)
	}
	if spec.Context.Err() != nil {
		return spec.unheard(work, n, &backend.RunError{NotRun: n, Cause: Cause(spec.Context), Missing: []backend.Range{{Lo: 0, Hi: n}}})
	}
	r := newRun(spec, work)
	r.avail.Store(int64(n))
	r.start(min(r.N, n))
	r.lendOthers()
	r.wait()
	r.home.Reclaim(r.Context)
	r.reclaimOthers()
	r.finish()
	return r.report(n)
}

func newRun(spec Spec, work Work) *run {
	r := &run{Spec: spec, work: work}
	if spec.Timeout > 0 {
		r.late = fmt.Errorf("%w after %v", backend.ErrTimeout, spec.Timeout)
	}
	r.regain.Store(spec.Retry != nil || spec.Memo != nil)
	r.done.Add(1)
	r.ctx, r.cancel = context.WithCancelCause(spec.Context)
	return r
}

// start sets n workers to work, or as many as the budget allows.
func (r *run) start(n int) {
	r.hear()
	if r.Context.Done() != nil {
		// The caller's context stops the run by itself: no worker polls it.
		r.unhook = context.AfterFunc(r.Context, func() { r.stop(Cause(r.Context)) })
	}
	if r.Pool != nil {
		r.enter(n)
		return
	}
	r.nested = scope.From(r.Context) != nil || slots.within()
	have := n
	if r.nested {
		have = 1 + slots.take(n-1, r.N)
		if have < n {
			r.wants.Store(int64(n - have))
			r.gone = make(chan struct{})
		}
	} else {
		slots.open(n)
		r.opened = n
	}
	r.workers.Store(int64(have))
	if r.stream != nil {
		r.stream.spare.Store(int64(have)) // hired as items come
		return
	}
	slots.use(r.opened)
	for k := range have {
		if k > 0 && r.over() {
			r.left(nil) // the first workers were done before the last was needed
			continue
		}
		r.hire()
	}
}

// growEvery is how often a nested run that wants more workers looks for free slots while its calls are too slow to do so.
const growEvery = 5 * time.Millisecond

// wait returns when the last worker has left.
func (r *run) wait() {
	if r.gone != nil {
		look := time.NewTicker(growEvery)
		defer look.Stop()
		for r.wants.Load() > 0 {
			select {
			case <-look.C:
				r.grow()
			case <-r.gone:
				return
			}
		}
	}
	r.done.Wait()
}

// grow adds a worker to a nested run that wants more, if a slot is free. Its workers ask for that whenever they claim.
func (r *run) grow() {
	if r.over() || r.wants.Add(-1) < 0 {
		r.wants.Store(0)
		return
	}
	if slots.take(1, r.N) == 1 {
		if r.enlist() {
			r.hire()
			return
		}
		slots.release()
	}
	r.wants.Add(1)
}

// over reports whether no worker is needed any more.
func (r *run) over() bool {
	return r.stopped.Load() || r.stream == nil && !r.regain.Load() && r.next.Load() >= r.avail.Load()
}

// enlist counts another worker in; false: the last one has left.
func (r *run) enlist() bool {
	for {
		n := r.workers.Load()
		if n == 0 {
			return false
		}
		if r.workers.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// hire starts one worker, which is counted already.
func (r *run) hire() {
	from := r.Tally.start()
	w, err := r.startWorker()
	r.Tally.stop(Hiring, from)
	if err != nil {
		if r.Context.Err() != nil {
			err = Cause(r.Context) // it was not the backend's fault
		} else {
			err = fmt.Errorf("cannot start a worker of backend %s: %w", r.Backend.Traits().Name, err)
		}
		if r.Context.Err() == nil && r.leftOthers() {
			return // they go on
		}
		r.stop(err)
		r.left(nil)
		return
	}
	r.mu.Lock()
	id := r.numbered
	r.numbered++
	r.mu.Unlock()
	r.Tally.hire()
	switch w := w.(type) {
	case backend.InPlacer:
		if id == 0 && r.Keep != nil {
			r.refuse(r.work.Strangers())
		}
		r.newThread(w, id).start()
	case backend.Carrier:
		if id == 0 {
			r.refuse(r.work.Strangers())
		}
		r.newCarrier(w, id).start()
	default:
		r.stop(fmt.Errorf("backend %s starts workers of type %T, neither an InPlacer nor a Carrier", r.Backend.Traits().Name, w))
		r.fault(w.Close())
		r.left(nil)
	}
}

// startWorker asks the backend for a worker and takes nothing for granted.
func (r *run) startWorker() (w backend.Worker, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &backend.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	n := r.N
	if r.Pool != nil {
		n = r.Pool.size
	}
	if w, err = r.Backend.Start(backend.WithWorkers(r.ctx, n)); err == nil && w == nil {
		err = errors.New("it returned no worker and no error")
	}
	return w, err
}

// left counts a worker out, and frees its slot; of a Pool, a worker on a seat that is bare has none.
func (r *run) left(s *seat) {
	if r.Pool != nil {
		r.exit(s)
	}
	last := r.workers.Add(-1) == 0
	if r.Pool == nil && (!last || !r.nested) {
		slots.release()
	}
	if last {
		if r.Left != nil {
			r.Left()
		}
		r.keepLast()
		r.done.Done()
		if r.gone != nil {
			close(r.gone)
		}
		if r.stream != nil {
			r.stream.consumer.open()
		}
	}
}

// hireAgain is when an open run tries again to start a worker that could not be started.
const hireAgain = 100 * time.Millisecond

// leftOthers counts a worker out, in an open run for a while, unless it is the last.
func (r *run) leftOthers() bool {
	if r.isOpen() && r.workers.Load()-r.stream.spare.Load() > 1 {
		r.Pool.release()
		time.AfterFunc(hireAgain, r.restart)
		return true
	}
	for {
		n := r.workers.Load()
		if n <= 1 || r.stream != nil && n-r.stream.spare.Load() <= 1 {
			return false // those that are not at work would fare no better
		}
		if r.workers.CompareAndSwap(n, n-1) {
			if r.Pool == nil {
				slots.release()
			} else {
				r.Pool.release()
			}
			return true
		}
	}
}

// finish frees what the run holds, its workers having left.
func (r *run) finish() {
	if r.unhook != nil {
		r.unhook()
	}
	slots.shut(r.opened)
	r.cancel(errEnded)
	r.hush()
}

// errEnded is the cause of the contexts of a run that has ended as it should.
var errEnded = fmt.Errorf("the run has ended: %w", context.Canceled)

// claim returns the calls that a worker should run next, waiting for some on its seat, unless that is nil. It returns
// false when there will be none.
func (r *run) claim(p *plan.Pace, s *seat) (span, bool) {
	if r.wants.Load() > 0 {
		r.grow()
	}
	for {
		if r.stopped.Load() || s != nil && r.stream != nil && r.stream.dispensable() {
			return span{}, false
		}
		if r.nback.Load() > 0 {
			if got, ok := r.takeBack(p); ok {
				return got, true
			}
		}
		if got, ok := r.takeNext(p); ok {
			return got, true
		}
		if s == nil || !r.sleep(s) {
			return span{}, false
		}
	}
}

// takeNext claims from the calls that nobody has claimed yet.
func (r *run) takeNext(p *plan.Pace) (span, bool) {
	for {
		lo, end := r.next.Load(), r.avail.Load()
		if lo >= end {
			return span{}, false
		}
		n := int64(p.Next(int(end-lo), r.N))
		if r.stream != nil { // more calls will come for the others
			if !r.stream.open {
				n = min(int64(p.Size()), end-lo)
			}
			n = min(n, plan.Block-lo%plan.Block)
		}
		if r.next.CompareAndSwap(lo, lo+n) {
			return span{int(lo), int(lo + n), 1}, true
		}
	}
}

// takeBack claims from the calls that came back.
func (r *run) takeBack(p *plan.Pace) (span, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.takeBackLocked(p)
}

func (r *run) takeBackLocked(p *plan.Pace) (span, bool) {
	if len(r.back) == 0 {
		return span{}, false
	}
	last := &r.back[len(r.back)-1]
	got := *last
	got.hi = got.lo + p.Next(got.hi-got.lo, r.N)
	if last.lo = got.hi; last.lo == last.hi {
		r.back = r.back[:len(r.back)-1]
		r.nback.Add(-1)
	}
	return got, true
}

// sleep waits until there may be something to claim; false: there never will be.
func (r *run) sleep(s *seat) bool {
	r.mu.Lock()
	r.nidle.Add(1)
	if r.stopped.Load() || r.drained() {
		r.nidle.Add(-1)
		r.mu.Unlock()
		return false
	}
	if len(r.back) > 0 || r.next.Load() < r.avail.Load() {
		r.nidle.Add(-1)
		r.mu.Unlock()
		return true
	}
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	r.idle = append(r.idle, s)
	r.mu.Unlock()
	defer r.Tally.stop(Sleeping, r.Tally.start())
	if r.Pool == nil {
		<-s.wake
		return true
	}
	r.cede(s)
	<-s.wake
	return r.regainSlot(s)
}

// drained reports whether every call that exists has been claimed, none can come back and no more will come.
func (r *run) drained() bool {
	if r.stream != nil && !r.stream.closed || r.next.Load() < r.avail.Load() {
		return false
	}
	return !r.regain.Load() || r.settled.Load() == r.avail.Load()
}

// rouse wakes up to n idle workers, and returns how many.
func (r *run) rouse(n int) int {
	if r.nidle.Load() == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rouseLocked(n)
}

func (r *run) rouseLocked(n int) (woken int) {
	for ; n > 0 && len(r.idle) > 0; n-- {
		last := len(r.idle) - 1
		s := r.idle[last]
		r.idle = r.idle[:last]
		r.nidle.Add(-1)
		s.wake <- struct{}{}
		woken++
	}
	return woken
}

// giveBackLocked puts calls up for claiming again.
func (r *run) giveBackLocked(s span) {
	if s.lo < s.hi {
		r.back = append(r.back, s)
		r.nback.Add(1)
		n := s.hi - s.lo
		for n -= r.rouseLocked(n); n > 0 && r.isOpen() && r.stream.draft(); n-- {
			r.engage() // all that could be roused are away
		}
	}
}

// settle counts n calls as ended for good.
func (r *run) settle(n int) {
	if r.settled.Add(int64(n)) == r.avail.Load() { // the last call that might have come back has not
		switch {
		case !r.isOpen():
			r.rouse(math.MaxInt)
		case r.stream.closing.Load(): // else others will come
			r.rouse(math.MaxInt)
			r.dismiss()
		}
	}
	if r.stream != nil && !r.isOpen() {
		r.stream.feeder.open()
	}
}

// stop ends the run: no call is started any more and the contexts of those running end.
func (r *run) stop(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopLocked(why)
}

func (r *run) stopLocked(why error) {
	if r.stopped.Load() {
		return
	}
	if task, ok := why.(*backend.TaskError); !ok {
		r.cause = why
	} else {
		why = &stopError{task}
	}
	r.stopped.Store(true)
	r.cancel(why)
	for i, w := range r.waiting {
		if w.timer != nil && w.timer.Stop() {
			r.forsaken = append(r.forsaken, i)
		}
	}
	r.riseLocked()
	if r.Pool != nil {
		r.Pool.bar(r)
	}
	r.rouseLocked(len(r.idle))
	if r.stream != nil {
		r.stream.feeder.open()
		r.stream.consumer.open()
	}
}

// stopError is the cause of the contexts of calls that run while another one fails.
type stopError struct{ first *backend.TaskError }

func (e *stopError) Error() string        { return "stopped: " + e.first.Error() }
func (e *stopError) Is(target error) bool { return target == context.Canceled }
func (e *stopError) Unwrap() error        { return e.first }

// keepLast, when the last worker has left, lets the last failure of every call stand that was to be tried again and
// was not, the run having been stopped.
func (r *run) keepLast() {
	var last []Event
	defer func() { r.tellAll(last) }()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for i := range r.waiting {
		last = append(last, r.lastStandsLocked(i)...)
	}
}

// lastStandsLocked lets the last failure of call i, which is not tried again, stand.
func (r *run) lastStandsLocked(i int) (untold []Event) {
	w := r.waiting[i]
	delete(r.waiting, i)
	if !w.told {
		untold = []Event{{Kind: Failed, Index: i, Attempt: w.err.Attempts, Worker: -1, Name: w.err.Name, Err: w.err.Err}}
	}
	r.counted.failed.Add(1)
	r.work.Fail(i, w.err, 0)
	if r.stream == nil {
		r.failed = append(r.failed, w.err)
	} else {
		r.stream.ready(i, i+1)
	}
	if !w.cut {
		r.settled.Add(1)
		r.counted.retried.Add(-1) // no attempt has followed
	}
	return untold
}

// refuse stops a run, before anything has run, for calls that cannot be made.
func (r *run) refuse(failed []*backend.TaskError) {
	if len(failed) > 0 {
		r.mu.Lock()
		r.failed = failed
		r.counted.failed.Add(int64(len(failed)))
		r.stopLocked(failed[0])
		r.mu.Unlock()
		for _, f := range failed {
			r.tell(Event{Kind: Failed, Index: f.Index, Worker: -1, Name: f.Name, Err: f.Err})
		}
	}
}

// fault records what went wrong beside the calls. The caller may hold the lock.
func (r *run) fault(err error) {
	if err == nil {
		return
	}
	r.faulty.Lock()
	r.faults = append(r.faults, err)
	r.faulty.Unlock()
}

// report sums up a run of n calls whose workers have left.
func (r *run) report(n int) *backend.RunError {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faulty.Lock()
	defer r.faulty.Unlock()
	notRun := n - int(r.settled.Load())
	complete := notRun == 0 && r.cut == 0 && (r.stream == nil || !r.stream.short)
	if complete && len(r.failed) == 0 && len(r.faults) == 0 {
		return nil // whatever stopped the run came too late
	}
	slices.SortFunc(r.failed, func(a, b *backend.TaskError) int { return cmp.Compare(a.Index, b.Index) })
	e := &backend.RunError{Failed: r.failed, NotRun: notRun, Cut: r.cut, Cause: r.cause, Missing: r.missing(n)}
	if len(r.faults) > 0 {
		e.Cause = errors.Join(append([]error{r.cause}, r.faults...)...)
	}
	return e
}

// missing returns the calls of a finite run that have no result. The caller holds the lock.
func (r *run) missing(n int) []backend.Range {
	if r.stream != nil {
		return nil
	}
	spans := append(slices.Concat(r.unrun, r.back), span{lo: int(r.next.Load()), hi: n})
	for _, f := range r.failed {
		spans = append(spans, span{lo: f.Index, hi: f.Index + 1})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	var all []backend.Range
	for _, s := range spans {
		last := len(all) - 1
		switch {
		case s.lo >= s.hi:
		case last >= 0 && s.lo <= all[last].Hi:
			all[last].Hi = max(all[last].Hi, s.hi)
		default:
			all = append(all, backend.Range{Lo: s.lo, Hi: s.hi})
		}
	}
	return all
}

// Cause tells why ctx has ended, so that errors.Is finds both its error and the cause it was given.
func Cause(ctx context.Context) error {
	err, why := ctx.Err(), context.Cause(ctx)
	if why == nil || errors.Is(why, err) {
		return why
	}
	return &causeError{err, why}
}

type causeError struct{ err, why error }

func (e *causeError) Error() string   { return e.err.Error() + ": " + e.why.Error() }
func (e *causeError) Unwrap() []error { return []error{e.err, e.why} }
