package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/plan"
	"github.com/gojoblib/parallel/internal/wire"
	"github.com/samber/lo"
)

// carrier drives one worker that shares no memory with the run. Its loop keeps the worker supplied, while another
// goroutine takes in what it reports, so that neither end of a full link waits for the other:
//
//	loop ── claim ── send ──> Batch                the worker runs its calls
//	  ^                         |                  Started, Done, Failed: one by one
//	  └── room <── news <── Recv┘                  Trimmed: the rest comes back, for an idle worker
//	                         |
//	                       lost ── what had begun has crashed, the rest comes back, another worker takes its place
//
// Each call is answered once, whatever is reported twice, late or not at all.
type carrier struct {
	run    *run
	link   backend.Carrier
	traits backend.Traits
	id     int
	pace   plan.Pace // used by the loop
	depth  int       // batches to keep in flight
	grace  time.Duration
	parcel wire.Batch // the last one sent; its memory is used again
	seat   seat
	since  time.Time // when it began
	away   bool      // it leaves although the run goes on: there is nothing to do, or another run of the Pool waits
	room   gate      // the loop waits here for a batch to end
	unhook func() bool

	// Guarded by run.mu.
	flight  []*batch      // in the worker's hands, in the order they were sent
	spoke   bool          // it has given news
	ran     int           // calls in batches that have ended since the loop last looked, and
	took    time.Duration // how long they took
	gone    error         // why there is no more news
	full    bool          // it has given calls back unasked: it takes no more
	expired *batch        // the batch whose call late it was killed for,
	late    int           //
	why     error         // with this
	sending bool          // Send is under way
	halted  bool          // it was killed because the run was stopped
	kills   []*time.Timer // that will do so

	// Where somebody listens; used by whoever takes in news.
	log  *log
	held []heldStart
}

// batch is some calls in a worker's hands. It is guarded by run.mu.
type batch struct {
	id       uint64
	first    int   // the number of call 0 in the run; the others follow it
	calls    []int // their numbers, where they do not
	attempt  int
	answered []bool
	open     int  // calls that are neither answered nor given back
	limit    int  // calls from here on were given back
	sent     bool // the worker has it, so that a Trim finds it there
	unsent   bool // it did not reach the worker
	trimming bool
	firm     bool   // a Trim brought nothing back
	doomed   []doom // calls that are to be ended
	begun    []bool // calls whose start was put down; nil: nobody listens
	current  int    // the last call reported as started, -1 before
	timer    *time.Timer
	took     time.Duration
}

var batchID atomic.Uint64

func (r *run) newCarrier(w backend.Carrier, id int) *carrier {
	traits := r.Backend.Traits()
	c := &carrier{
		run: r, link: w, traits: traits, id: id, room: newGate(), depth: traits.InFlight, grace: r.grace(),
		pace: plan.Pace{Target: traits.Batch, Fixed: r.Batch, Max: traits.MaxBatch},
	}
	if c.depth <= 0 {
		c.depth = 2
	}
	c.since = time.Now()
	if c.pace.Target <= 0 {
		c.pace.Target = 2 * time.Millisecond
	}
	if r.Memo != nil { // a call that waits behind another keeps nobody else from making it, unless the user says so
		c.pace.Fixed, c.depth = max(1, r.Batch), 1
	}
	if r.stream != nil {
		c.pace.Max = plan.Block
	}
	if traits.MaxBatch > 0 {
		c.pace.Fixed = min(c.pace.Fixed, traits.MaxBatch)
	}
	r.mu.Lock()
	c.log = r.teller.log(id)
	r.regain.Store(true)
	r.carriers = append(r.carriers, c)
	r.mu.Unlock()
	return c
}

func (c *carrier) start() {
	c.unhook = context.AfterFunc(c.run.ctx, c.halt)
	go c.loop()
}

func (c *carrier) loop() {
	defer c.run.teller.forget(c.id)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		c.hear()
	}()
	for c.fill() {
	}
	c.run.mu.Lock()
	gone := c.gone
	c.run.mu.Unlock()
	c.leave()
	<-heard
	switch {
	case gone != nil:
		c.lost(gone)
	case c.away:
		c.run.replace(&c.seat)
	default:
		c.run.left(&c.seat)
	}
}

// hear takes in news until the worker is closed or gone.
func (c *carrier) hear() {
	r := c.run
	for {
		n, err := c.link.Recv()
		if err == nil {
			c.news(n)
			continue
		}
		r.mu.Lock()
		c.gone = err
		r.rouseLocked(len(r.idle)) // the loop may be asleep
		r.mu.Unlock()
		c.room.open()
		return
	}
}

// leave ends the worker.
func (c *carrier) leave() {
	c.unhook()
	r := c.run
	r.mu.Lock()
	r.carriers = slices.DeleteFunc(r.carriers, func(other *carrier) bool { return other == c })
	for _, kill := range c.kills {
		kill.Stop()
	}
	r.mu.Unlock()
	if err := c.link.Close(); err != nil {
		r.fault(fmt.Errorf("closing a worker: %w", err))
	}
}

// fill hands a batch over, or waits until it may; false: the worker is gone, or there is nothing left to do. One
// batch beside the one that runs hides the way there and back; near the end it would only wait behind it.
func (c *carrier) fill() bool {
	r := c.run
	flying, full, gone := c.state()
	switch {
	case gone:
		return false
	case c.tired():
		if flying == 0 {
			c.away = true
			return false
		}
	case flying < c.depth && (flying == 0 || !full && r.avail.Load()-r.next.Load() >= int64(r.N)):
		if s, ok := r.claim(&c.pace, nil); ok {
			c.send(s)
			return true
		}
	}
	if flying == 0 {
		if stolen := r.steal(); !stolen && r.isOpen() {
			c.away = true
			return false
		}
		return r.sleep(&c.seat)
	}
	c.room.wait(0, func() bool {
		now, _, gone := c.state()
		return gone || now < flying
	})
	return true
}

// tired reports whether another run of the Pool should have the worker for a while.
func (c *carrier) tired() bool {
	p := c.run.Pool
	return p != nil && p.hungry.Load() && time.Since(c.since) > turn
}

// turn is how long a carrier keeps a slot that others wait for.
const turn = 10 * time.Millisecond

func (c *carrier) state() (flying int, full, gone bool) {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	c.pace.Took(c.ran, c.took)
	c.ran, c.took = 0, 0
	c.full = c.full && len(c.flight) > 0
	return len(c.flight), c.full, c.gone != nil
}

// number returns the number of call k in the run.
func (b *batch) number(k int) int {
	if b.calls != nil {
		return b.calls[k]
	}
	return b.first + k
}

// send encodes the calls of s and hands them over. A call that cannot be encoded fails alone.
func (c *carrier) send(s span) {
	r := c.run
	b := &batch{id: batchID.Add(1), first: s.lo, attempt: s.attempt, current: -1}
	p := &c.parcel
	from := r.Tally.start()
	p.Begin(wire.Head{Seed: r.Seed, Attempt: s.attempt, Timed: r.careful() || c.log != nil}, c.traits.Segments)
	if r.careful() || r.Memo != nil || s.hi-s.lo < 2 || !r.work.AppendColumn(p, s.lo, s.hi) {
		for i := s.lo; i < s.hi; i++ {
			if p.N > 0 && p.Size() >= mostBytes {
				r.mu.Lock()
				r.giveBackLocked(span{i, s.hi, s.attempt})
				r.mu.Unlock()
				break
			}
			if c.pack(i, s.attempt) {
				if b.calls != nil {
					b.calls = append(b.calls, i)
				}
			} else if b.calls == nil { // the others are not neighbours any more
				b.calls = make([]int, 0, s.hi-s.lo)
				for k := s.lo; k < i; k++ {
					b.calls = append(b.calls, k)
				}
			}
		}
	}
	r.Tally.stop(Encoding, from)
	n := p.N
	if n == 0 {
		return
	}
	r.Tally.sent(p.Size())
	b.answered, b.open, b.limit = make([]bool, n), n, n
	if c.log != nil {
		b.begun = make([]bool, n)
	}
	r.mu.Lock()
	c.flight = append(c.flight, b)
	if r.isOpen() {
		b.doom(r)
	}
	c.sending = true
	r.mu.Unlock()
	deadline, _ := r.ctx.Deadline()
	from = r.Tally.start()
	err := c.link.Send(backend.Batch{ID: b.id, N: n, Timeout: r.Timeout, Deadline: deadline, Started: r.careful() || c.log != nil, Body: p.Body, Segments: p.Segments})
	r.Tally.stop(Sending, from)
	clear(p.Segments)
	r.mu.Lock()
	c.sending = false
	b.sent = err == nil
	b.unsent = err != nil // the worker is lost, as Recv says next; this batch it never had
	doomed := b.trimDoomed()
	r.mu.Unlock()
	if doomed >= 0 {
		c.link.Trim(b.id, doomed)
	}
	r.rouse(1) // whoever is idle could not take from it before
	if r.ctx.Err() != nil {
		c.halt() // the end may have come before the batch had been sent
	}
}

// pack adds call i to the parcel, unless it has failed by that, or need not be made.
func (c *carrier) pack(i, attempt int) bool {
	r := c.run
	switch r.find(i, attempt, c.id) {
	case Hit:
		c.settledAll(i, i+1)
		return false
	case Wait:
		return false
	}
	if err := r.work.Append(&c.parcel, i); err == ErrSkip {
		r.counted.skipped.Add(1)
		r.made(i, false, 0)
		r.recovered(i, attempt)
		c.settledAll(i, i+1)
		return false
	} else if err != nil {
		c.settled(i, r.fail(i, attempt, c.id, 0, misuse(err), false))
		return false
	}
	return true
}

// mostBytes is from how many bytes on a batch takes no further call.
const mostBytes = 1 << 20

// settled counts a call that was answered, unless it will be tried again.
func (c *carrier) settled(i int, again bool) {
	if !again {
		c.settledAll(i, i+1)
	}
}

func (c *carrier) settledAll(lo, hi int) {
	r := c.run
	if lo == hi {
		return
	}
	if r.stream != nil {
		r.mu.Lock()
		r.stream.ready(lo, hi)
		r.mu.Unlock()
	}
	r.settle(hi - lo)
}

// news takes in what the worker reports.
func (c *carrier) news(n backend.Report) {
	r := c.run
	r.mu.Lock()
	if n.Kind != backend.Trimmed { // which the near end may have said by itself
		c.spoke = true
		r.stillborn = 0
	}
	at := slices.IndexFunc(c.flight, func(b *batch) bool { return b.id == n.Batch })
	if at < 0 {
		r.mu.Unlock()
		return // an echo of a batch that has ended
	}
	b := c.flight[at]
	r.mu.Unlock()
	switch n.Kind {
	case backend.Started:
		c.began(b, n.Lo)
	case backend.Done:
		c.done(b, n)
	case backend.Failed:
		c.failed(b, n)
	case backend.Trimmed:
		c.trimmed(b, n.Lo)
	}
	r.mu.Lock()
	if b.open == 0 {
		c.flight = slices.DeleteFunc(c.flight, func(other *batch) bool { return other == b })
		if b.timer != nil {
			b.timer.Stop()
		}
		c.ran, c.took = c.ran+b.limit, c.took+b.took
	}
	r.mu.Unlock()
	c.release()
	c.room.open()
}

// answer marks those of the calls [lo,hi) as answered that come first and were not, and returns them: there are none
// that are known in [lo,from). Taken together they took so long.
func (c *carrier) answer(b *batch, lo, hi int, took time.Duration) (from, to int) {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	hi = min(hi, b.limit)
	from = max(lo, 0)
	for from < hi && b.answered[from] {
		from++
	}
	to = from
	for to < hi && !b.answered[to] {
		b.answered[to] = true
		to++
	}
	if from >= to {
		return hi, hi
	}
	b.open -= to - from
	b.took += took / time.Duration(max(1, hi-lo)) * time.Duration(to-from)
	if from <= b.current && b.current < to && b.timer != nil {
		b.timer.Stop()
	}
	return from, to
}

func (c *carrier) began(b *batch, k int) {
	r := c.run
	r.mu.Lock()
	if k < 0 || k >= b.limit || b.answered[k] {
		r.mu.Unlock()
		return
	}
	c.hold(b, k)
	if k <= b.current {
		r.mu.Unlock()
		return
	}
	b.current = k
	if r.Timeout > 0 {
		if b.timer != nil {
			b.timer.Stop()
		}
		b.timer = time.AfterFunc(r.patience(), func() { c.expire(b, k, backend.ErrTimeout, r.late, r.patience()) })
	}
	r.mu.Unlock()
}

// expire kills the worker, giving it that cause, whose call k has not returned in time: why is what the call fails with.
// Its answer may be there and not be heard, as an Observer takes its time: then it has as much time again.
func (c *carrier) expire(b *batch, k int, cause, why error, patience time.Duration) {
	c.run.mu.Lock()
	late := b.current <= k && k < b.limit && !b.answered[k] // it has not begun another
	if late && c.log.waiting() {
		c.kills = append(c.kills, time.AfterFunc(patience, func() { c.expire(b, k, cause, why, patience) }))
		late = false
	}
	if late {
		c.expired, c.late, c.why = b, k, why
	}
	c.run.mu.Unlock()
	if late {
		c.link.Kill(cause)
	}
}

// end sees to it that the worker ends if a call, the last of b that it has begun and will, has not returned within Grace.
// The caller holds the lock, and ends the call's context.
func (c *carrier) end(b *batch, d doom) {
	c.kills = append(c.kills, time.AfterFunc(c.grace, func() { c.expire(b, d.k, d.why, d.why, c.grace) }))
}

func (c *carrier) done(b *batch, n backend.Report) {
	defer c.run.Tally.stop(Decoding, c.run.Tally.start())
	c.run.Tally.receive(&n)
	results, bad := wire.ReadResults(n.Body, n.Segments)
	lo, hi := 0, 0 // results that were kept and are not counted yet
	defer func() { c.settledAll(lo, hi) }()
	for k := n.Lo; k < n.Hi; {
		from, to := c.answer(b, k, n.Hi, n.Took)
		for ; bad == nil && k < from; k++ {
			_, bad = results.Next(n.Hi - k)
		}
		k = to
		if from == to {
			return
		}
		if from == n.Lo && to == n.Hi && bad == nil && c.stored(b, n, results) {
			return
		}
		for at := from; at < to; at++ {
			var v wire.Value
			if bad == nil {
				v, bad = results.Next(n.Hi - at)
			}
			i, kept := c.result(b, at, v, n.Took/time.Duration(max(1, n.Hi-n.Lo)), bad)
			if kept && i == hi && lo < hi { // neighbours are counted together
				hi++
				continue
			}
			c.settledAll(lo, hi)
			if lo, hi = i, i; kept {
				hi++
			}
		}
	}
}

// stored keeps all results of a report at once; false: one by one.
func (c *carrier) stored(b *batch, n backend.Report, results wire.ResultReader) bool {
	r := c.run
	if b.calls != nil || b.attempt > 1 || c.log != nil || r.Memo != nil || !results.IsColumn() {
		return false
	}
	lo, hi := b.first+n.Lo, b.first+n.Hi
	if !r.work.StoreColumn(lo, hi, results, b.attempt, n.Took/time.Duration(hi-lo)) {
		return false
	}
	c.settledAll(lo, hi)
	return true
}

// result keeps the result of one call, whose number in the run it returns. When it cannot, the call has failed.
func (c *carrier) result(b *batch, k int, v wire.Value, took time.Duration, bad error) (i int, kept bool) {
	r := c.run
	i = b.number(k)
	if v.Took > 0 {
		took = v.Took
	}
	name := c.nameOf(i) // what is stored may be gone
	if bad == nil {
		bad = r.work.Store(i, v, b.attempt, took)
	}
	c.noticed(b, k, i, name, took, bad == nil)
	if bad != nil {
		c.settled(i, r.fail(i, b.attempt, c.id, took, fmt.Errorf("its result cannot be read: %w", bad), false))
		return i, false
	}
	r.made(i, true, took)
	r.recovered(i, b.attempt)
	return i, true
}

func (c *carrier) failed(b *batch, n backend.Report) {
	from, to := c.answer(b, n.Lo, n.Lo+1, n.Took)
	if from == to || from != n.Lo {
		return
	}
	i := b.number(from)
	c.noticed(b, from, i, c.nameOf(i), n.Took, false)
	err, verdict, bad := wire.ReadFailure(n.Body)
	if bad == nil {
		err = wire.Sound(err)
	}
	switch {
	case bad != nil:
		err, verdict = fmt.Errorf("its error cannot be read: %w", bad), wire.Final
	case verdict == wire.Refused:
		err = misuse(err)
	case c.run.Timeout > 0 && err == backend.ErrTimeout: // itself: a call may return another run's
		err = c.run.late
	case errors.Is(err, context.DeadlineExceeded):
		// The far end watches the run's deadline, too, and its clock may be ahead.
		if end, ok := c.run.ctx.Deadline(); ok && time.Until(end) < c.grace {
			<-c.run.ctx.Done()
		}
	}
	c.settled(i, c.run.fail(i, b.attempt, c.id, n.Took, err, verdict == wire.Failed))
}

// trimmed takes back the calls from k on, which the worker has not started and will not.
func (c *carrier) trimmed(b *batch, k int) {
	r := c.run
	r.mu.Lock()
	c.full = c.full || !b.trimming && !r.stopped.Load()
	b.trimming = false
	b.firm = !c.takeBack(b, max(k, 0))
	last := b.limit - 1
	cancel := false
	for _, d := range b.doomed {
		if d.k == last && !b.answered[last] {
			c.end(b, d)
			cancel = true
		}
	}
	var back []doom
	b.doomed = slices.DeleteFunc(b.doomed, func(d doom) bool {
		if d.k > last {
			back = append(back, doom{b.number(d.k), d.why})
		}
		return d.k >= last
	})
	id := b.id
	r.mu.Unlock()
	if cancel {
		c.link.Cancel(id)
	}
	for _, d := range back {
		r.end(d.k, d.why)
	}
}

// takeBack gives the calls of b from k on back to the run, but for those that were answered. The caller holds the lock.
func (c *carrier) takeBack(b *batch, k int) bool {
	var s span // neighbours come back together
	before := b.open
	for ; b.limit > k; b.limit-- {
		i := b.number(b.limit - 1)
		if b.answered[b.limit-1] {
			continue
		}
		b.open--
		c.run.made(i, false, 0)
		if i+1 != s.lo {
			c.run.giveBackLocked(s)
			s = span{i, i + 1, b.attempt}
		}
		s.lo = i
	}
	c.run.giveBackLocked(s)
	return b.open < before
}

// steal asks the worker with the most calls that it has surely not begun for half of them; false: there is none.
func (r *run) steal() bool {
	r.mu.Lock()
	var from *carrier
	var most *batch
	free := 0
	for _, c := range r.carriers {
		for at, b := range c.flight {
			n := b.open
			if at == 0 {
				n-- // one of them is running
			}
			if n > free && b.sent && !b.trimming && !b.firm {
				from, most, free = c, b, n
			}
		}
	}
	if most == nil {
		r.mu.Unlock()
		return false
	}
	most.trimming = true
	id, at := most.id, most.limit-(free+1)/2
	r.mu.Unlock()
	from.link.Trim(id, at)
	return true
}

// halt asks the worker to end what it runs, and ends it when it has not done so within Grace.
func (c *carrier) halt() {
	r := c.run
	if r.Context.Err() != nil {
		r.stop(Cause(r.Context)) // before anything is taken back and handed out again
	}
	r.mu.Lock()
	ids := lo.Map(c.flight, func(b *batch, _ int) uint64 { return b.id })
	sending := c.sending
	r.mu.Unlock()
	if len(ids) == 0 && !sending {
		return
	}
	kill := time.AfterFunc(c.grace, func() {
		r.mu.Lock()
		late := sending && c.sending || lo.SomeBy(c.flight, func(b *batch) bool { return slices.Contains(ids, b.id) })
		c.halted = c.halted || late
		r.mu.Unlock()
		if late {
			c.link.Kill(context.Cause(r.ctx))
		}
	})
	r.mu.Lock()
	c.kills = append(c.kills, kill)
	r.mu.Unlock()
	for _, id := range ids { // all of them first: what is cancelled makes way for the next
		c.link.Trim(id, 0)
	}
	for _, id := range ids {
		c.link.Cancel(id)
	}
}

// maxStillborn is how many workers in a row may be lost before any news of theirs.
const maxStillborn = 3

// lost accounts for a worker that is gone, and puts another in its place.
func (c *carrier) lost(err error) {
	r := c.run
	gone, ok := errors.AsType[*backend.Lost](err)
	if !ok {
		gone = &backend.Lost{Cause: err}
	}
	began := map[uint64]int{}
	for _, f := range gone.Batches {
		began[f.Batch] = f.Began
	}
	type victim struct {
		b *batch
		k int
	}
	var victims []victim
	r.mu.Lock()
	for _, b := range slices.Backward(c.flight) { // the first to be sent is the first to be claimed again
		if b.timer != nil {
			b.timer.Stop()
		}
		if n, known := began[b.id]; known || b.unsent {
			c.takeBack(b, max(n, 0))
		}
		for k := range b.limit {
			if !b.answered[k] {
				victims = append(victims, victim{b, k})
			}
		}
	}
	c.flight = nil
	halted := c.halted
	r.mu.Unlock()

	for _, v := range victims {
		i := v.b.number(v.k)
		why := crash(gone.Cause)
		switch {
		case v.b == c.expired && v.k == c.late:
			why = c.why
		case halted:
			why = context.Cause(r.ctx)
		}
		c.missed(v.b, v.k, i, why)
		c.settled(i, r.fail(i, v.b.attempt, c.id, 0, why, true))
	}

	r.mu.Lock()
	if c.spoke || len(victims) > 0 {
		r.stillborn = 0
	} else {
		r.stillborn++
	}
	hopeless := r.stillborn >= maxStillborn
	over := r.drained()
	r.mu.Unlock()
	switch {
	case gone.Final:
		r.stop(fmt.Errorf("a worker could not start: %w", gone.Cause))
	case hopeless:
		r.stop(fmt.Errorf("%d workers in a row ended before they did anything: %w", maxStillborn, gone.Cause))
	}
	if r.stopped.Load() || over {
		r.left(&c.seat)
		return
	}
	r.replace(&c.seat)
}

// crash is what a lost worker means for the call that it was running.
func crash(cause error) error {
	if cause == nil {
		cause = errors.New("no reason given")
	}
	if c, ok := errors.AsType[*backend.CrashError](cause); ok {
		return c
	}
	return &backend.CrashError{ExitCode: -1, Reason: cause.Error(), Err: cause}
}
