package dispatch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gojoblib/parallel/internal/scope"
)

// Pool is a number of slots that several runs share. A worker of such a run holds one while it works, and none while it
// sleeps; between two chunks it lets the next in line have it. A call that waits for others of its pool lends the slot
// that it runs on, so that calls nested to any depth never wait for each other:
//
//	acquire ──> work ── somebody waits: release, acquire ──> work ── nothing to claim: release
//	              └── the call waits for the pool: lend ── reclaim ──┘
type Pool struct {
	size   int
	open   *run        // of single calls; nil: none
	hungry atomic.Bool // somebody waits for a slot

	mu     sync.Mutex
	free   int // negative: so many calls have resumed without a slot
	queue  []*applicant
	locals []*scope.Locals // what threads that have ended have opened, for those to come
	closed bool
}

// applicant is a worker that waits for a slot; of a run that has no use for one any more, it is told false.
type applicant struct {
	run *run
	got chan bool
}

// NewPool returns a pool of n slots.
func NewPool(n int) *Pool {
	slots.open(n)
	return &Pool{size: n, free: n}
}

// Size returns the number of slots.
func (p *Pool) Size() int { return p.size }

// Close ends the pool, whose runs have ended, and closes what their threads have opened.
func (p *Pool) Close(fault func(error)) {
	p.mu.Lock()
	p.closed = true
	locals := p.locals
	p.locals = nil
	p.mu.Unlock()
	slots.shut(p.size)
	for _, l := range locals {
		closeAll(l, fault)
	}
}

// closeAll closes what l holds, on goroutines of its own: one that is ended by a close goes no further.
func closeAll(l *scope.Locals, fault func(error)) {
	for more := true; more; {
		more = false
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for more = true; more; {
				more = l.CloseLast(fault)
			}
		}()
		<-ended
	}
}

// acquire waits for a slot, before all others if first; false: the run needs none any more.
func (p *Pool) acquire(r *run, first bool) bool {
	p.mu.Lock()
	switch {
	case r != nil && r.barred:
		p.mu.Unlock()
		return false
	case p.free > 0:
		p.free--
		p.mu.Unlock()
		slots.use(1)
		return true
	}
	a := &applicant{r, make(chan bool, 1)}
	if first {
		p.queue = slices.Insert(p.queue, 0, a)
	} else {
		p.queue = append(p.queue, a)
	}
	p.hungry.Store(true)
	p.mu.Unlock()
	return <-a.got
}

// resume waits for a slot, before all others, for a call that has lent one. When ctx ends first, the call goes on all the
// same, and the next slot that is freed makes up for it: a call that is to end must not wait for one that does not.
func (p *Pool) resume(ctx context.Context) {
	p.mu.Lock()
	if p.free > 0 || ctx.Err() != nil {
		p.free--
		p.mu.Unlock()
		slots.use(1)
		return
	}
	a := &applicant{nil, make(chan bool, 1)}
	p.queue = slices.Insert(p.queue, 0, a)
	p.hungry.Store(true)
	p.mu.Unlock()
	select {
	case <-a.got:
		return
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.Index(p.queue, a)
	if at < 0 {
		return // it has just got one
	}
	p.queue = slices.Delete(p.queue, at, at+1)
	p.hungry.Store(len(p.queue) > 0)
	p.free--
	slots.use(1)
}

// release passes a slot on to the next in line.
func (p *Pool) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 || p.free < 0 {
		p.free++
		slots.release()
		return
	}
	p.queue[0].got <- true
	p.queue = slices.Delete(p.queue, 0, 1)
	p.hungry.Store(len(p.queue) > 0)
}

// bar sends the workers of a run away that wait for a slot, and those to come.
func (p *Pool) bar(r *run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.barred = true
	p.queue = slices.DeleteFunc(p.queue, func(a *applicant) bool {
		if a.run == r {
			a.got <- false
		}
		return a.run == r
	})
	p.hungry.Store(len(p.queue) > 0)
}

// enter sets n workers of a run to work that needs slots of its Pool.
func (r *run) enter(n int) {
	r.workers.Store(int64(n))
	r.home = r.Pool.Within(scope.From(r.Context))
	r.others = slices.DeleteFunc(Within(scope.From(r.Context)), func(t *Tenure) bool { return t == r.home })
	if r.stream != nil {
		r.stream.spare.Store(int64(n)) // engaged as items come
		return
	}
	lent := r.home.hand(true)
	for k := range n {
		if k == 0 && lent {
			r.hire() // on the slot of the call that waits
		} else {
			r.engage()
		}
	}
}

// lendOthers lends the slots of other pools that the calls have which wait for the run: its own calls may wait for those.
func (r *run) lendOthers() {
	for _, t := range r.others {
		t.Lend()
	}
}

func (r *run) reclaimOthers() {
	for _, t := range r.others {
		t.Reclaim(r.Context)
	}
}

// engage hires a worker, which is counted already, as soon as there is a slot for it.
func (r *run) engage() {
	go func() {
		if r.Pool.acquire(r, r.home != nil) {
			r.hire()
		} else {
			r.left(&seat{bare: true})
		}
	}()
}

// exit frees the slot of a worker that leaves. Where that is for want of calls, others need not wait for one.
func (r *run) exit(s *seat) {
	r.mu.Lock()
	over := r.stopped.Load() || r.drained()
	r.mu.Unlock()
	if over {
		r.Pool.bar(r)
	}
	if s == nil || !s.bare {
		r.Pool.release()
	}
}

// cede gives the slot of the worker on s up, regainSlot waits for one; false: there is nothing to do with it.
func (r *run) cede(s *seat) {
	if !s.bare {
		s.bare = true
		r.Pool.release()
	}
}

func (r *run) regainSlot(s *seat) bool {
	if s.bare {
		s.bare = !r.Pool.acquire(r, false)
	}
	return !s.bare
}

// yield lets whoever waits for a slot have the one of the worker on s for a while; false: there is nothing left to do.
func (r *run) yield(s *seat) bool {
	if r.Pool == nil || !s.bare && !r.Pool.hungry.Load() {
		return true
	}
	r.cede(s)
	return r.regainSlot(s)
}

// opened returns the values of a thread that has ended, or none.
func (p *Pool) opened() *scope.Locals {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.locals) - 1
	if n < 0 {
		return &scope.Locals{}
	}
	l := p.locals[n]
	p.locals = p.locals[:n]
	return l
}

// keep takes the values of a thread that has ended.
func (p *Pool) keep(l *scope.Locals, fault func(error)) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.locals = append(p.locals, l)
	}
	p.mu.Unlock()
	if closed {
		closeAll(l, fault)
	}
}

// Tenure is a call's hold on a slot of a pool. The call lends it while it waits: to anybody, or to a run or a call that it
// waits for.
type Tenure struct {
	pool *Pool

	mu    sync.Mutex
	lent  int  // how many goroutines of the call wait
	gone  bool // the slot does not come back by itself
	stood bool // the pool's open run has another worker for it
	over  bool // the call has ended, or was given up: the slot is its thread's, or that of the thread that follows
}

// Within returns the hold of the innermost call of p that s belongs to; nil: it belongs to none.
func (p *Pool) Within(s *scope.Scope) *Tenure {
	for ; s != nil; s = scope.From(s.Context) {
		if t, ok := s.Tenure.(*Tenure); ok && t.pool == p {
			return t
		}
	}
	return nil
}

// NewTenure returns the hold of a call on the slot of its thread; of one that is over, none.
func (p *Pool) NewTenure(over bool) *Tenure { return &Tenure{pool: p, over: over} }

// Lend gives the slot up, while the call waits, until Reclaim. Both are safe for a nil Tenure.
func (t *Tenure) Lend() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lent++; t.lent == 1 && !t.over {
		t.free()
	}
}

// free lets anybody have the slot, calls of the open run among them, whose workers may all be waiting.
func (t *Tenure) free() {
	t.gone, t.stood = true, t.pool.open.standIn()
	t.pool.release()
}

// Reclaim waits for a slot again, while ctx has not ended.
func (t *Tenure) Reclaim(ctx context.Context) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lent > 1 || t.over || !t.gone {
		if t.lent--; t.lent > 0 && !t.over && t.gone && !t.stood { // others still wait, and what had the slot has ended
			t.stood = t.pool.open.standIn()
		}
		return
	}
	t.mu.Unlock() // others of the call may begin to wait, or it may end
	t.pool.resume(ctx)
	t.mu.Lock()
	if t.lent--; t.over || t.lent > 0 {
		t.pool.release()
		return
	}
	t.gone = false
	if t.stood {
		t.pool.open.standDown()
		t.stood = false
	}
}

// over is a context that has ended.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// hand lends the slot to a run, or, if it does not go for good, to a call that brings it back; false: there is none to
// give.
func (t *Tenure) hand(gone bool) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lent++; t.lent > 1 || t.over {
		return false
	}
	t.gone = gone
	return true
}

// restore brings the slot back.
func (t *Tenure) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lent--
	switch {
	case t.over:
		t.pool.release()
	case t.lent > 0:
		t.free()
	}
}

// End notes that the call has ended, or was given up. What it has lent and not reclaimed its thread waits for.
func (t *Tenure) End() {
	t.mu.Lock()
	lent, stood := t.lent > 0 && !t.over, t.stood
	t.over, t.stood = true, false
	t.mu.Unlock()
	if !lent {
		return
	}
	t.pool.resume(over) // for the thread; what was lent goes back to the pool
	if stood {
		t.pool.open.standDown()
	}
}

// forgo lets a call that has the slot have it for good: the one that waited for it goes on without.
func (t *Tenure) forgo() {
	t.mu.Lock()
	t.gone = !t.over
	t.mu.Unlock()
}

// Within returns the holds of the calls that s belongs to, the innermost first.
func Within(s *scope.Scope) (all []*Tenure) {
	for ; s != nil; s = scope.From(s.Context) {
		if t, ok := s.Tenure.(*Tenure); ok {
			all = append(all, t)
		}
	}
	return all
}
