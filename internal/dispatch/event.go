package dispatch

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/backend"
)

// EventKind says what happened to a call.
type EventKind uint8

const (
	Started  EventKind = iota + 1 // a worker has begun an attempt
	Finished                      // it returned a value
	Failed                        // it failed for good
	Retried                       // it failed and will be tried again
	Lost                          // its worker is gone; Failed, Retried or Cut follows
	Cut                           // it ended without a result only because the run was stopped
	Cached                        // its value came from a cache: nothing was started
)

// Event is one moment of one call.
type Event struct {
	Kind    EventKind
	Index   int
	Attempt int           // 0 where nothing was started
	Worker  int           // numbered from 0 within the run; -1 where none was involved
	At      time.Duration // when it happened, since the run began
	Took    time.Duration // how long the attempt lasted; 0 where that is not known
	Name    string        // the call's
	Args    string        // Failed: its arguments in short, where they are still there
	Err     error         // Failed, Retried, Lost, Cut
}

// Listener is told what happens in a run: on one goroutine of the run's, one call after the other, and nothing after
// End. One that returns an error, panics or ends the goroutine is told no more, and that is a fault of the run.
type Listener interface {
	// Begin is told first: of how many calls (-1: as many as will come), and when the run began.
	Begin(w Work, n int, at time.Time) error
	// Tell is told of events, those of each worker and those of each call in their order. They are good until it returns.
	Tell([]Event) error
	// End is told last: how long the run took, what it counts, and what Do returns but for a fault of End.
	End(took time.Duration, c Counts, err *backend.RunError) error
}

// Named is a Listener with a name, which the error of its panic begins with.
type Named struct {
	Listener
	Name string
}

const (
	// tellEvery is how long an event waits at most until it is told, unless a Listener is busy.
	tellEvery = 50 * time.Millisecond
	// logged is how many events of one worker wait before it does: a slow Listener slows the run.
	logged = 1024
)

// teller passes events on:
//
//	worker ── add ──> log ──┐ full by half, or 50 ms have passed
//	worker ── add ──> log ──┴───> sweep ──> Listener.Tell
//
// Each worker has a log of its own, and a lock that only the sweep contends for. An event costs the worker some 20 ns.
type teller struct {
	run       *run
	listeners []Listener
	deaf      []bool // those who have failed
	began     time.Time
	wake      chan struct{}
	gone      chan struct{}

	mu    sync.Mutex
	logs  map[int]*log         // by worker
	full  []*log               // those that are not empty
	asked int                  // sweeps that somebody waits for
	swept int                  // of them those that have ended
	done  sync.Cond            // swept has changed
	end   func(Listener) error // there is nothing more to tell but this

	// The goroutine's, of which there is one at a time.
	sweeping []*log               // what is left of full, and
	spare    []*log               // its memory, to be used again
	batch    []Event              // what is being told,
	what     func(Listener) error // in this way; nil: nothing is
	next     int                  // to this Listener next
	ended    bool                 // the end is being told
}

// log is what a worker has to tell. Its events are also added by others: a timer that gives a call up, a carrier's two
// goroutines.
type log struct {
	teller *teller
	worker int
	clock  time.Duration // the worker's own: when its last call ended, or the next may begin
	name   string        // and the name of the one under way

	mu     sync.Mutex
	events []Event
	spare  []Event       // told, to be used again
	last   time.Duration // At of the last one
	group  bool          // those from index from on are of one piece of news: their At counts from its first call,
	from   int           //
	told   time.Duration // its calls took so long,
	heard  time.Duration // and then it came
	room   sync.Cond
	waits  bool // somebody waits for room
}

// attention is who follows a run, and what is kept for them alone.
type attention struct {
	teller  *teller           // nil: nobody listens
	unwatch func()            // the end of Watch
	early   *backend.RunError // why it has not begun
	counted struct{ failed, cached, retried, skipped atomic.Int64 }
}

// hear sets the goroutine going that tells what happens in the run, if anybody listens, and says so to who watches.
func (r *run) hear() {
	n := int(r.avail.Load())
	if r.stream != nil || r.endless {
		n = -1
	}
	if r.Watch != nil {
		r.unwatch = r.Watch(r.counts)
	}
	if len(r.Listeners) == 0 {
		return
	}
	if r.Tally != nil && r.Memo != nil {
		r.Memo = &clocked{r.Memo, r.Tally} // nobody has asked it yet
	}
	t := &teller{
		run: r, listeners: r.Listeners, deaf: make([]bool, len(r.Listeners)), began: time.Now(),
		wake: make(chan struct{}, 1), gone: make(chan struct{}), logs: map[int]*log{},
	}
	t.done.L = &t.mu
	t.what = func(l Listener) error { return l.Begin(r.work, n, t.began) }
	r.teller = t
	go t.loop()
}

// hush ends that, the run's workers having left.
func (r *run) hush() {
	if r.teller != nil {
		r.teller.sync()
	}
	if r.unwatch != nil {
		r.unwatch() // before anybody says more about the run
	}
	if t := r.teller; t != nil {
		err := r.report(int(r.avail.Load()))
		if err != nil && err.Cause == errBroken {
			err = nil // the loop knows that it was left
		}
		if err == nil {
			err = r.early
		}
		c, took := r.counts(), t.now()
		t.mu.Lock()
		t.end = func(l Listener) error { return l.End(took, c, err) }
		t.mu.Unlock()
		t.nudge()
		<-t.gone
	}
}

// Refuse is Do for a run that is not to begin, because of e: whoever listens is told so.
func Refuse(spec Spec, work Work, n int, e *backend.RunError) *backend.RunError {
	return spec.unheard(work, n, e)
}

// unheard is for a run that ends before it has begun, with the error that it returns: who listens is told of both. Of a
// stream, n is negative.
func (s *Spec) unheard(work Work, n int, e *backend.RunError) *backend.RunError {
	if len(s.Listeners) == 0 && s.Watch == nil {
		return e
	}
	r := newRun(*s, work)
	r.endless = n < 0
	n = max(0, n)
	r.avail.Store(int64(n))
	if r.early = e; e != nil {
		r.failed = e.Failed
		r.counted.failed.Store(int64(len(e.Failed)))
		r.stop(e.Cause)
	}
	r.hear()
	if e != nil {
		for _, f := range e.Failed {
			r.tell(Event{Kind: Failed, Index: f.Index, Worker: -1, Name: f.Name, Err: f.Err})
		}
	}
	r.ended = true
	r.hush()
	r.cancel(errEnded)
	if faulty := r.report(n); faulty != nil {
		return faulty
	}
	return e
}

// now is the time since the run began. It costs half of what time.Now does.
func (t *teller) now() time.Duration { return time.Since(t.began) }

func (t *teller) nudge() {
	select {
	case t.wake <- struct{}{}:
	default: // it has yet to look
	}
}

// log returns the log of a worker, nil when nobody listens.
func (t *teller) log(worker int) *log {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.logs[worker]
	if l == nil {
		l = &log{teller: t, worker: worker}
		l.room.L = &l.mu
		t.logs[worker] = l
	}
	return l
}

// forget lets the log of a worker go that has left.
func (t *teller) forget(worker int) {
	if t != nil {
		t.mu.Lock()
		delete(t.logs, worker)
		t.mu.Unlock()
	}
}

// wait returns when there is room for another event; true: it took its time. The caller holds the lock.
func (l *log) wait() (waited bool) {
	for len(l.events) >= logged {
		l.waits, waited = true, true
		l.teller.nudge()
		l.room.Wait()
	}
	return waited
}

// add puts an event down, and waits for room when the listeners are slow; true: it took its time.
func (l *log) add(e Event) (waited bool) {
	l.mu.Lock()
	waited = l.wait()
	if l.group {
		e.At = l.told
	}
	l.put(e)
	half := len(l.events) == logged/2
	l.mu.Unlock()
	if half { // where all CPUs are busy, the teller gets this one: to wait for each other costs both more
		runtime.Gosched()
	}
	return waited || half
}

// waiting reports whether somebody waits for room: what the worker says is not heard meanwhile.
func (l *log) waiting() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waits
}

// put is add for who holds the lock, and has seen to the room.
func (l *log) put(e Event) {
	if !l.group {
		l.last = max(l.last, e.At)
		e.At = l.last // what is reckoned, and who tells it, may be off by a little
	}
	l.events = append(l.events, e)
	switch len(l.events) {
	case 1:
		l.teller.mu.Lock()
		l.teller.full = append(l.teller.full, l)
		l.teller.mu.Unlock()
	case logged / 2:
		l.teller.nudge()
	}
}

// sameNews is how long after one another reports come that the near end of a link has found at the same time.
const sameNews = 200 * time.Microsecond

// hear puts down what was heard of a call elsewhere: that it has ended, after so long, or, unless finished, that it
// will be said in a moment how; that it was started, if that is new. Calls that are heard of together ran one after the
// other, the last of them until about now.
func (l *log) hear(e Event, news, finished bool) {
	now := l.teller.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.group && now-l.heard > sameNews {
		l.settle()
	}
	l.wait()
	if !l.group {
		l.group, l.from = true, len(l.events)
	}
	l.heard = now
	if news {
		start := e
		start.Kind, start.At, start.Took = Started, l.told, 0
		l.put(start)
	}
	l.told += e.Took
	if e.At = l.told; finished {
		l.put(e)
	}
}

// settle says when what was heard of together has happened. The caller holds the lock.
func (l *log) settle() {
	if !l.group {
		return
	}
	for i := range l.events[l.from:] {
		e := &l.events[l.from+i]
		l.last = max(l.last, l.heard-l.told+e.At)
		e.At = l.last
	}
	l.group, l.told = false, 0
}

// take returns what has been put down.
func (l *log) take() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle()
	events := l.events
	l.events, l.spare = l.spare[:0], nil
	if l.waits {
		l.waits = false
		l.room.Broadcast()
	}
	return events
}

// again takes the memory of events that were told. What they point to lives until it is written over.
func (l *log) again(events []Event) {
	l.mu.Lock()
	l.spare = events[:0]
	l.mu.Unlock()
}

// sync returns when all that was put down before has been told.
func (t *teller) sync() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	mine := t.asked
	for t.swept < mine {
		t.nudge()
		t.done.Wait()
	}
}

// loop tells what there is until there will be no more. After a Listener's failure it goes on in another goroutine.
func (t *teller) loop() {
	returned := false
	defer func() {
		if returned {
			return
		}
		err := backend.ErrGoexit
		if v := recover(); v != nil {
			err = &backend.PanicError{Value: v, Stack: debug.Stack()}
		}
		t.failed(&listenerError{t.listeners[t.next], err})
		t.next++
		go t.loop()
	}()
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	t.pass() // the beginning, or what a failure has interrupted
	for {
		t.mu.Lock()
		end, asked := t.end, t.asked
		t.mu.Unlock()
		t.sweep()
		if end != nil {
			if !t.ended {
				t.ended, t.what = true, end
			}
			t.pass()
			returned = true
			close(t.gone)
			return
		}
		t.mu.Lock()
		t.swept = asked
		t.done.Broadcast()
		t.mu.Unlock()
		select {
		case <-t.wake:
		case <-tick.C:
		}
	}
}

// failed notes that the Listener next has, and is told no more.
func (t *teller) failed(err error) {
	t.run.fault(err)
	t.deaf[t.next] = true
}

// listenerError is what a Listener's panic is as a fault of the run.
type listenerError struct {
	by  Listener
	err error
}

func (e *listenerError) Error() string {
	name := "an observer failed"
	if n, ok := e.by.(Named); ok {
		name = n.Name
	}
	return name + ": " + e.err.Error()
}

func (e *listenerError) Unwrap() error { return e.err }

// sweep tells what the logs hold.
func (t *teller) sweep() {
	t.drain() // what a failure has left
	t.mu.Lock()
	t.sweeping, t.full = t.full, t.spare[:0]
	t.mu.Unlock()
	t.spare = t.sweeping
	t.drain()
}

func (t *teller) drain() {
	for len(t.sweeping) > 0 {
		l := t.sweeping[0]
		t.sweeping[0] = nil
		t.sweeping = t.sweeping[1:]
		t.batch = l.take()
		t.what = t.tell
		t.pass()
		l.again(t.batch)
	}
}

func (t *teller) tell(l Listener) error { return l.Tell(t.batch) }

// pass tells each Listener what is to be told, from the next one on.
func (t *teller) pass() {
	for ; t.what != nil && t.next < len(t.listeners); t.next++ {
		if t.deaf[t.next] {
			continue
		}
		if err := t.what(t.listeners[t.next]); err != nil {
			t.failed(err)
		}
	}
	t.what, t.next = nil, 0
}

// begin tells that the call i is next.
func (l *log) begin(w Work, i, attempt int) {
	l.name = w.Name(i)
	if l.add(Event{Kind: Started, Index: i, Attempt: attempt, Worker: l.worker, At: l.clock, Name: l.name}) {
		l.lap()
	}
}

// finish tells that the call i has returned a value.
func (l *log) finish(i, attempt int, took time.Duration) {
	if l.add(Event{Kind: Finished, Index: i, Attempt: attempt, Worker: l.worker, At: l.clock, Took: took, Name: l.name}) {
		l.lap()
	}
}

// lap returns how long the call that has just ended took; the next one begins now.
func (l *log) lap() (took time.Duration) {
	now := l.teller.now()
	took = now - l.clock
	l.clock = now
	return took
}

// tellAll tells several.
func (r *run) tellAll(events []Event) {
	for _, e := range events {
		r.tell(e)
	}
}

// tell passes an event on to who listens.
func (r *run) tell(e Event) {
	if r.teller != nil {
		if e.Kind == Failed && e.Worker >= 0 { // the worker has the call still
			e.Args = r.work.Args(e.Index)
		}
		e.At = r.teller.now()
		r.teller.log(e.Worker).add(e)
	}
}
