package testkit

import (
	"context"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/scope"
	"github.com/gojoblib/parallel/internal/worker"
)

// Remote is a backend whose workers are reached as if over a bad network, all in memory: calls and results are encoded,
// news is late, out of order and repeated, and workers die. The zero value is a good network.
type Remote struct {
	Seed      uint64        // of everything below
	Delay     time.Duration // at most so long for each message
	Reorder   float64       // chance that a report overtakes those before it
	Redeliver float64       // chance that a report comes again, some time later
	Lose      float64       // chance, at each start of a call, that the worker dies
	Losses    int64         // no more workers than this die by Lose; 0: no limit
	Room      int           // messages that fit on the link, each way; what comes next waits; 0: no limit
	Vague     bool          // nobody knows which calls a lost worker had begun

	lost    atomic.Int64
	started atomic.Int64
	open    atomic.Int64
}

// Start returns a worker.
func (r *Remote) Start(ctx context.Context) (backend.Worker, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	n := uint64(r.started.Add(1))
	r.open.Add(1)
	l := &link{remote: r, rng: rand.New(rand.NewPCG(r.Seed, n)), begun: map[uint64]int{}, asked: map[uint64]bool{}}
	l.news.L, l.orders.L, l.space.L = &l.mu, &l.mu, &l.mu
	l.served.Go(func() {
		_ = worker.Serve(context.WithValue(context.Background(), linkKey{}, l), (*farEnd)(l), new(scope.Locals))
	})
	return (*nearEnd)(l), nil
}

type linkKey struct{}

// Crash loses the Remote's worker that runs the call with this context, as a fatal signal does: it does not return.
func Crash(ctx context.Context) {
	l, ok := ctx.Value(linkKey{}).(*link)
	if !ok {
		panic("testkit: Crash was called outside of a Remote's worker")
	}
	l.mu.Lock()
	l.die(crashed())
	l.mu.Unlock()
	runtime.Goexit()
}

func crashed() error { return &backend.CrashError{ExitCode: -1, Reason: "connection lost"} }

// Traits names the backend. Its batches are short, so that small tests have many.
func (r *Remote) Traits() backend.Traits {
	return backend.Traits{Name: "remote", InFlight: 2, Batch: 200 * time.Microsecond}
}

// Lost returns how many workers died by Lose, Started how many were started, Open how many were not closed.
func (r *Remote) Lost() int    { return int(r.lost.Load()) }
func (r *Remote) Started() int { return int(r.started.Load()) }
func (r *Remote) Open() int    { return int(r.open.Load()) }

// link is both ends of one worker's link and what is on the way between them.
type link struct {
	remote *Remote
	served sync.WaitGroup

	mu      sync.Mutex
	rng     *rand.Rand
	news    sync.Cond // pending, dead or closed has changed
	orders  sync.Cond // queue, dead or closed has changed
	space   sync.Cond // queue or pending has become shorter, dead or closed has changed
	queue   []backend.Order
	asked   map[uint64]bool // batches whose starts are to be reported
	pending []backend.Report
	past    []backend.Report // delivered, may come again
	begun   map[uint64]int   // calls below it have been started
	dead    error
	closed  bool
}

func (l *link) pause() {
	if l.remote.Delay > 0 {
		l.mu.Lock()
		d := time.Duration(l.rng.Int64N(int64(l.remote.Delay)))
		l.mu.Unlock()
		time.Sleep(d)
	}
}

func (l *link) die(cause error) {
	if l.dead == nil && !l.closed {
		l.dead = cause
		l.wake()
	}
}

func (l *link) wake() {
	l.news.Broadcast()
	l.orders.Broadcast()
	l.space.Broadcast()
}

// full reports whether no message fits beside the n on their way.
func (l *link) full(n int) bool {
	return l.remote.Room > 0 && n >= l.remote.Room && l.dead == nil && !l.closed
}

type nearEnd link

var _ backend.Carrier = (*nearEnd)(nil)

func (n *nearEnd) Send(b backend.Batch) error {
	l := (*link)(n)
	l.pause()
	l.mu.Lock()
	defer l.mu.Unlock()
	asked := b.Started
	b.Body = slices.Clone(b.Body)
	b.Started = true // for the books; farEnd keeps from the run what it did not ask for
	if err := l.put(backend.Order{Batch: b}); err != nil {
		return err
	}
	l.asked[b.ID] = asked
	l.begun[b.ID] = 0
	return nil
}

// put hands an order over, when there is room. The caller holds the lock.
func (l *link) put(o backend.Order) error {
	for l.full(len(l.queue)) {
		l.space.Wait()
	}
	if l.dead != nil {
		return l.dead
	}
	l.queue = append(l.queue, o)
	l.orders.Signal()
	return nil
}

func (n *nearEnd) Trim(batch uint64, from int) {
	l := (*link)(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.put(backend.Order{Trim: &backend.Trim{Batch: batch, From: from}})
}

func (n *nearEnd) Cancel(batch uint64) {
	l := (*link)(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.put(backend.Order{Cancel: &backend.Cancel{Batch: batch}})
}

func (n *nearEnd) Kill(cause error) {
	l := (*link)(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.die(cause)
}

func (n *nearEnd) Recv() (backend.Report, error) {
	l := (*link)(n)
	l.pause()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case len(l.pending) > 0:
			at := 0
			if l.rng.Float64() < l.remote.Reorder {
				at = l.rng.IntN(len(l.pending))
			}
			r := l.pending[at]
			l.pending = slices.Delete(l.pending, at, at+1)
			l.space.Broadcast()
			l.past = append(l.past, r)
			if l.rng.Float64() < l.remote.Redeliver {
				l.pending = append(l.pending, l.past[l.rng.IntN(len(l.past))])
			}
			return r, nil
		case l.dead != nil:
			gone := &backend.Lost{Cause: l.dead}
			for id, n := range l.begun {
				if !l.remote.Vague {
					gone.Batches = append(gone.Batches, backend.Fate{Batch: id, Began: n})
				}
			}
			return backend.Report{}, gone
		case l.closed:
			return backend.Report{}, io.EOF
		}
		l.news.Wait()
	}
}

func (n *nearEnd) Close() error {
	l := (*link)(n)
	l.mu.Lock()
	dead := l.dead != nil
	l.closed = true
	l.wake()
	l.mu.Unlock()
	if !dead {
		l.served.Wait() // the dead may hang on in what they ran
	}
	l.remote.open.Add(-1)
	return nil
}

type farEnd link

var _ backend.Link = (*farEnd)(nil)

func (f *farEnd) Next() (backend.Order, error) {
	l := (*link)(f)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.dead != nil:
			return backend.Order{}, l.dead
		case len(l.queue) > 0:
			o := l.queue[0]
			l.queue = l.queue[1:]
			l.space.Broadcast()
			return o, nil
		case l.closed:
			return backend.Order{}, io.EOF
		}
		l.orders.Wait()
	}
}

func (f *farEnd) Report(r backend.Report) error {
	l := (*link)(f)
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Kind == backend.Started {
		if l.dead == nil {
			l.begun[r.Batch] = r.Lo + 1
			if l.rng.Float64() < l.remote.Lose && (l.remote.Losses == 0 || l.remote.lost.Load() < l.remote.Losses) {
				l.remote.lost.Add(1)
				l.die(crashed())
			}
		}
		if l.dead != nil {
			runtime.Goexit() // the dead start nothing
		}
		if !l.asked[r.Batch] {
			return nil
		}
	}
	for l.full(len(l.pending)) {
		l.space.Wait()
	}
	if l.dead != nil {
		return l.dead
	}
	l.pending = append(l.pending, r)
	l.news.Signal()
	return nil
}
