package dispatch

import (
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/plan"
)

// stream joins a run to an input that is drawn lazily and to a consumer that may stop at any result:
//
//	feeder ── Put ──> avail | next ── claim ──> workers ── Publish ──> pos | flush ──> done ──> consumer
//	  ^                                                                                           |
//	  └───────────────────────────── room: drawn - consumed < window ─────────────────────────────┘
//
// Each item costs the feeder and the worker one atomic store; locks are taken once per chunk.
type stream struct {
	run      *run
	ordered  bool
	open     bool         // nobody consumes it: see Open
	fixed    bool         // the window is the caller's
	window   atomic.Int64 // how many inputs may be drawn whose results are not consumed
	consumed atomic.Int64
	feeder   gate
	consumer gate
	spare    atomic.Int64 // workers that are counted and not at work
	surplus  atomic.Int64 // open: workers that are to leave
	closing  atomic.Bool  // open: closed

	// Guarded by run.mu.
	closed  bool // the input has ended
	threads []*Thread
	done    []span // results for the consumer

	// The feeder's, read by others when it has ended.
	told     bool // it has been told that no more is wanted
	short    bool // it may have ended because the run was stopped
	panicked any  // what the input panicked with
}

// StreamSpec says what only a stream has.
type StreamSpec struct {
	Spec
	Window  int // how many inputs may be drawn whose results are not consumed; 0: by measurement
	Ordered bool
}

// Source is the end at which a stream's input comes in. It belongs to the goroutine that feed runs on.
type Source struct {
	s        *stream
	next     int
	consumed int64 // as last seen
}

// Next returns the number of the next item: it is stored before Put.
func (src *Source) Next() int { return src.next }

// Put makes the item Next known and waits for room for another; false: there will be no more.
func (src *Source) Put() bool {
	s, r := src.s, src.s.run
	src.next++
	r.avail.Store(int64(src.next))
	switch {
	case r.nidle.Load() > 0:
		r.rouse(1)
	case s.spare.Load() > 0:
		s.draw()
		if r.Pool != nil {
			r.engage()
		} else {
			r.hire()
		}
	case r.wants.Load() > 0:
		r.grow()
	}
	s.told = !src.room()
	return !s.told
}

// room waits until another input may be drawn.
func (src *Source) room() bool {
	s, r := src.s, src.s.run
	free := func() bool {
		if int64(src.next)-src.consumed >= s.window.Load() {
			src.consumed = s.consumed.Load()
			if int64(src.next)-src.consumed >= s.window.Load() {
				return false
			}
		}
		return r.N > 1 || r.settled.Load() == int64(src.next) // one worker: one at a time, drawing included
	}
	if !r.stopped.Load() && free() {
		return true
	}
	from := r.Tally.start()
	s.feeder.wait(s.spins(), func() bool { return r.stopped.Load() || free() })
	r.Tally.stop(Holding, from)
	return !r.stopped.Load()
}

// Stream runs the calls that feed puts in and hands the number of each that has ended to yield, on this goroutine,
// until yield returns false. feed runs on a goroutine of its own and is never called again once Put has returned
// false. When Stream returns, by whatever way, feed and all calls have ended, but for those given up after a Timeout.
//
// The error is a fault of the run: the failures of calls were given to Work.Fail.
func Stream(spec StreamSpec, work Work, feed func(*Source), yield func(i int) bool) *backend.RunError {
	if spec.Context.Err() != nil {
		return spec.unheard(work, -1, &backend.RunError{Cause: Cause(spec.Context)})
	}
	r := newRun(spec.Spec, work)
	s := &stream{run: r, ordered: spec.Ordered, fixed: spec.Window > 0, feeder: newGate(), consumer: newGate()}
	s.window.Store(int64(max(spec.Window, 1)))
	if !s.fixed {
		s.window.Store(int64(plan.Window(r.N, 0)))
	}
	r.stream = s
	r.start(r.N)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		s.feed(feed)
	}()
	broken := true
	func() {
		defer func() { // also when yield panics
			if broken {
				r.stop(errBroken)
			}
			r.home.Lend() // a call may wait for a slot still
			r.lendOthers()
			<-fed
			r.done.Wait()
			r.home.Reclaim(r.Context)
			r.reclaimOthers()
			r.finish()
		}()
		defer r.Tally.stop(Consuming, r.Tally.start())
		broken = !s.consume(yield)
	}()
	// A loop that was left has nothing to do with inputs that it did not get to; with how they clean up, it has.
	if s.panicked != nil && (!broken || s.told) {
		panic(s.panicked)
	}
	if broken {
		return nil
	}
	return r.report(int(r.avail.Load()))
}

// errBroken is the cause of the contexts of calls whose results nobody wants any more.
var errBroken = errors.New("the loop over the stream was left")

// spins is how often a goroutine of the stream looks again before it sleeps: not at all while calls are slow.
func (s *stream) spins() int {
	if s.window.Load() <= int64(2*s.run.N) {
		return 0
	}
	return 16
}

// draw takes a worker from the reserve; its slot is in use from here on.
func (s *stream) draw() {
	s.spare.Add(-1)
	if !s.run.nested && s.run.Pool == nil {
		slots.use(1)
	}
}

// inputError says that the input ended its goroutine instead of returning.
type inputError struct{}

func (inputError) Error() string {
	return "the input of the stream called runtime.Goexit instead of returning"
}
func (inputError) Unwrap() error { return backend.ErrGoexit }

// feed runs the input and notes how it ended.
func (s *stream) feed(feed func(*Source)) {
	returned := false
	defer func() {
		v := recover()
		if v == nil && !returned {
			s.run.fault(inputError{})
		}
		r := s.run
		r.mu.Lock()
		if r.Context.Err() != nil {
			r.stopLocked(Cause(r.Context)) // it may have ended for that, before the run has been told
		}
		s.closed, s.panicked, s.short = true, v, r.stopped.Load()
		r.rouseLocked(len(r.idle))
		r.mu.Unlock()
		for s.spare.Load() > 0 {
			s.draw()
			r.left(&seat{bare: true})
		}
	}()
	defer s.run.Tally.stop(Feeding, s.run.Tally.start())
	feed(&Source{s: s})
	returned = true
}

// claim hands the thread's results to the consumer and claims its next chunk.
func (s *stream) claim(t *Thread) (span, bool) {
	r := s.run
	r.mu.Lock()
	s.flushLocked(t)
	if !s.fixed {
		if w := int64(plan.Window(r.N, t.pace.Each)); w != s.window.Load() {
			s.window.Store(w)
			s.feeder.open()
		}
	}
	spun := 0
	for !r.stopped.Load() {
		got, ok := r.takeBackLocked(&t.pace)
		if !ok {
			got, ok = r.takeNext(&t.pace)
		}
		if ok {
			t.flushed = got.lo
			t.pos.Store(int64(got.lo))
			r.mu.Unlock()
			s.consumer.open()
			return got, true
		}
		r.mu.Unlock()
		s.consumer.open()
		t.clock = time.Time{}
		if spun < s.spins() {
			spun++
			runtime.Gosched()
		} else if !r.sleep(&t.seat) {
			return span{}, false
		}
		r.mu.Lock()
	}
	r.mu.Unlock()
	s.consumer.open()
	return span{}, false
}

// Publish makes the result of the call just made known to the consumer.
func (t *Thread) Publish() {
	if t.gone() {
		return // whoever gave the call up has done so
	}
	t.pos.Store(int64(t.Index + 1))
	t.run.stream.consumer.open()
}

func (s *stream) flushLocked(t *Thread) {
	if s.open {
		return
	}
	if pos := int(t.pos.Load()); pos > t.flushed {
		s.done = append(s.done, span{lo: t.flushed, hi: pos})
		t.flushed = pos
	}
}

// skip leaves the call that t has just made, which will be tried again, out of t's results.
func (s *stream) skip(t *Thread) {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	s.flushLocked(t)
	t.flushed = t.Index + 1
	t.pos.Store(int64(t.Index + 1))
}

// replace puts next in t's place; call i, which t was making, has failed.
func (s *stream) replace(t, next *Thread, i int) {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	s.flushLocked(t)
	s.threads = slices.DeleteFunc(s.threads, func(other *Thread) bool { return other == t })
	next.flushed = i + 1
	next.pos.Store(int64(i + 1))
	s.ready(i, i+1)
}

// ready hands the results of [lo,hi) to the consumer. The caller holds the lock.
func (s *stream) ready(lo, hi int) {
	if s.open {
		return
	}
	s.done = append(s.done, span{lo: lo, hi: hi})
	s.consumer.open()
}

// consume hands out results until there are none left; false: yield did not want more.
func (s *stream) consume(yield func(int) bool) bool {
	var (
		spans []span
		early = map[int]int{} // ordered: results that wait for earlier ones, [lo]hi
		head  int             // ordered: the next result to hand out
		n     int64           // handed out
		told  int64           // what the feeder knows of it
		tell  = func() {
			if told != n {
				told = n
				s.consumed.Store(n)
				s.feeder.open()
			}
		}
		handed = func(lo, hi int) bool {
			for i := lo; i < hi; i++ {
				if !yield(i) {
					return false
				}
				n++
				if w := s.window.Load(); w <= plan.Block || (n-told)*2 >= w {
					tell() // while the window is wide, in large steps
				}
			}
			return true
		}
	)
	for {
		tell()
		var more bool
		if spans, more = s.harvest(spans); !more {
			break
		}
		for _, got := range spans {
			switch {
			case !s.ordered:
				if !handed(got.lo, got.hi) {
					return false
				}
			case got.lo != head:
				early[got.lo] = got.hi
			default:
				if !handed(got.lo, got.hi) {
					return false
				}
				head = got.hi
				for hi, ok := early[head]; ok; hi, ok = early[head] {
					delete(early, head)
					if !handed(head, hi) {
						return false
					}
					head = hi
				}
			}
		}
	}
	// What a stop has left behind gaps is handed out, too: nothing that was computed is lost.
	for _, lo := range slices.Sorted(maps.Keys(early)) {
		if !handed(lo, early[lo]) {
			return false
		}
	}
	return true
}

// harvest waits for results and returns them; false: all workers have left and there are none. It reuses buf.
func (s *stream) harvest(buf []span) (got []span, more bool) {
	r := s.run
	r.home.Lend()
	defer r.home.Reclaim(r.Context)
	r.lendOthers()
	defer r.reclaimOthers()
	defer r.Tally.stop(Harvesting, r.Tally.start())
	s.consumer.wait(s.spins(), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, t := range s.threads {
			s.flushLocked(t)
		}
		if more = len(s.done) > 0; more {
			got, s.done = s.done, buf[:0]
		}
		return more || r.ended
	})
	return got, more
}
