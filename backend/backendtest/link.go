package backendtest

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/wire"
)

// linkCases drive one worker of a Carrier backend by hand, as the dispatcher does and as it seldom does.
var linkCases = []testCase{
	{
		"every call is answered", "Each call of a batch is answered by Done or Failed.",
		func(t *testing.T, b backend.Backend) {
			l := open(t, b)
			acts := squaring(40)
			acts[3].Do, acts[5].Do, acts[39].Do = errs, panics, exits
			one, two := l.send(backend.Batch{}, acts), l.send(backend.Batch{}, squaring(40))
			l.answered(one, 40)
			l.answered(two, 40)
			for k := range 40 {
				if v := l.of(two).done[k]; v != k*k {
					t.Errorf("call %d returned %d, want %d", k, v, k*k)
				}
			}
			for k, want := range map[int]error{3: errPlanned, 39: backend.ErrGoexit} {
				if err := l.of(one).failed[k]; !errors.Is(err, want) {
					t.Errorf("the error of call %d is %v, want %v", k, err, want)
				}
			}
			if p, ok := errors.AsType[*backend.PanicError](l.of(one).failed[5]); !ok || p.Value != "call 5" {
				t.Errorf("the error of call 5 is %v, want its panic", l.of(one).failed[5])
			}
			l.close()
		},
	},
	{
		"starts are reported", "Where a batch asks for it, the start of a call is reported while the call runs.",
		func(t *testing.T, b backend.Backend) {
			l := open(t, b)
			acts := squaring(20)
			acts[3].Do, acts[19].Do = waits, waits
			id := l.send(backend.Batch{Started: true, Timeout: 100 * time.Millisecond}, acts)
			l.await("the start of call 3", func() bool { return l.of(id).started[3] })
			l.await("the start of call 19", func() bool { return l.of(id).started[19] })
			l.answered(id, 20)
			l.close()
		},
	},
	{
		"trimmed calls never run", "A Trimmed report answers a Trim; no call from there on was or will be started, and all before it are answered.",
		func(t *testing.T, b backend.Backend) {
			l := open(t, b)
			acts := squaring(20)
			acts[4].Do = waits
			id := l.send(backend.Batch{Started: true}, acts)
			l.await("the start of call 4", func() bool { return l.of(id).started[4] })
			l.carrier.Trim(id, 10)
			l.await("the trim to call 10", func() bool { return l.of(id).trimmed == 10 })
			l.carrier.Trim(id, 2)
			l.await("the trim to call 5, which is the first that can be", func() bool { return l.of(id).trimmed == 5 })
			l.carrier.Cancel(id)
			l.answered(id, 5)
			next := l.send(backend.Batch{}, squaring(3))
			l.answered(next, 3)
			if n := len(l.of(id).started); n > 5 {
				t.Errorf("%d calls were started, want 5 at most", n)
			}
			l.close()
		},
	},
	{
		"late orders do no harm", "Trim and Cancel of a batch that has ended, or that never was, change nothing.",
		func(t *testing.T, b backend.Backend) {
			l := open(t, b)
			first := l.send(backend.Batch{}, squaring(3))
			l.answered(first, 3)
			for _, id := range []uint64{first, batchIDs.Add(1)} {
				l.carrier.Trim(id, 0)
				l.carrier.Cancel(id)
			}
			l.answered(l.send(backend.Batch{}, squaring(3)), 3)
			l.close()
		},
	},
	{
		"Cancel ends a batch's contexts", "Cancel ends the contexts of a batch's calls, those to come included, and of no other batch.",
		func(t *testing.T, b backend.Backend) {
			l := open(t, b)
			id := l.send(backend.Batch{Started: true}, []act{{Do: waits}, {Do: waits}, {Do: waits}})
			other := l.send(backend.Batch{Started: true}, []act{{Do: waits}})
			l.await("the start of a call", func() bool { return l.of(id).started[0] })
			l.carrier.Cancel(id)
			l.answered(id, 3)
			for k, err := range l.of(id).failed {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("the error of call %d is %v, want context.Canceled", k, err)
				}
			}
			l.await("the start of the other batch's call", func() bool { return l.of(other).started[0] })
			l.carrier.Cancel(other)
			l.answered(other, 1)
			l.close()
		},
	},
	{
		"a Timeout ends each call's context", "The context of each call ends Timeout after its start.",
		func(t *testing.T, b backend.Backend) {
			l := open(t, b)
			id := l.send(backend.Batch{Timeout: 20 * time.Millisecond}, []act{{Do: waits}, {Do: waits}})
			l.answered(id, 2)
			for k, err := range l.of(id).failed {
				if !timedOut(err) {
					t.Errorf("the error of call %d is %v, want ErrTimeout", k, err)
				}
			}
			l.close()
		},
	},
	{
		"Kill loses the worker", "After Kill, whatever the worker does, Recv returns a *Lost with its cause; from Began on no call was started.",
		func(t *testing.T, b backend.Backend) {
			l := open(t, b)
			gate, openGate := newGate()
			defer openGate()
			acts := squaring(10)
			acts[2] = act{Do: deafens, Gate: gate}
			id := l.send(backend.Batch{Started: true}, acts)
			behind := l.send(backend.Batch{Started: true}, squaring(5))
			l.await("the start of call 2", func() bool { return l.of(id).started[2] })
			l.carrier.Kill(errPlanned)
			lost := l.lost()
			if !errors.Is(lost, errPlanned) {
				t.Errorf("the worker was lost with %v, want the cause that Kill was given", lost)
			}
			for _, fate := range lost.Batches {
				if fate.Batch != id && fate.Batch != behind {
					t.Errorf("batch %d was lost, which was never sent", fate.Batch)
				}
				for k := range l.of(fate.Batch).started {
					if k >= fate.Began {
						t.Errorf("call %d has been started, and Began is %d", k, fate.Began)
					}
				}
			}
		},
	},
	{
		"a deaf call holds nothing up", "A call that does not return delays neither Send nor Trim, Cancel and Kill.",
		func(t *testing.T, b backend.Backend) {
			l := open(t, b)
			gate, openGate := newGate()
			defer openGate()
			id := l.send(backend.Batch{Started: true}, []act{{Do: deafens, Gate: gate}, {}, {}})
			l.await("the start of call 0", func() bool { return l.of(id).started[0] })
			behind := l.send(backend.Batch{}, squaring(5))
			l.carrier.Cancel(id)
			l.carrier.Trim(id, 0)
			l.await("a Trimmed of the batch that runs", func() bool { return l.of(id).trimmed == 1 })
			l.carrier.Trim(behind, 1)
			l.await("a Trimmed of the batch behind it", func() bool { return l.of(behind).trimmed == 1 })
			l.carrier.Kill(errPlanned)
			l.lost()
		},
	},
	{
		"methods may overlap", "All methods of a Carrier may overlap one another.",
		func(t *testing.T, b backend.Backend) {
			l := open(t, b)
			var ids []uint64
			var orders sync.WaitGroup
			for range 20 {
				id := l.send(backend.Batch{}, squaring(5))
				ids = append(ids, id)
				orders.Go(func() { l.carrier.Trim(id, 5) })
				orders.Go(func() { l.carrier.Cancel(id) })
			}
			for _, id := range ids {
				l.answered(id, 5)
			}
			orders.Wait()
			l.close()
		},
	},
	{
		"Close ends the news", "After Close, Recv returns io.EOF.",
		func(t *testing.T, b backend.Backend) { open(t, b).close() },
	},
}

var batchIDs atomic.Uint64

// line is a worker driven by hand, with what it has reported so far.
type line struct {
	t       *testing.T
	carrier backend.Carrier
	news    chan backend.Report // closed at the end of Recv
	end     error               // Recv's; read after news is closed
	stop    func()              // Close, once
	books   map[uint64]*book
}

// book is what is known of a batch. Reports may come twice: it counts none.
type book struct {
	started map[int]bool
	done    map[int]int
	failed  map[int]error
	trimmed int // the lowest so far; -1 when there was none
}

func open(t *testing.T, b backend.Backend) *line {
	t.Helper()
	w, err := b.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := w.(backend.Carrier)
	l := &line{t: t, carrier: c, news: make(chan backend.Report), books: map[uint64]*book{}}
	over := make(chan struct{}) // the test has ended: news is let go
	go func() {
		defer close(l.news)
		for {
			r, err := c.Recv()
			if err != nil {
				l.end = err
				return
			}
			r.Body = slices.Clone(r.Body) // good until the next Recv
			select {
			case l.news <- r:
			case <-over:
			}
		}
	}()
	l.stop = sync.OnceFunc(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(func() {
		close(over)
		if t.Failed() {
			c.Kill(errors.New("the test has failed"))
		}
		l.stop()
	})
	return l
}

// send hands a batch of acts over and returns its ID.
func (l *line) send(b backend.Batch, acts []act) uint64 {
	l.t.Helper()
	b.ID, b.N = batchIDs.Add(1), len(acts)
	var p wire.Batch
	p.Begin(wire.Head{Attempt: 1}, false)
	for k, a := range acts {
		if err := appendCall(&p, a, k); err != nil {
			l.t.Fatal(err)
		}
	}
	b.Body = p.Body
	l.books[b.ID] = &book{started: map[int]bool{}, done: map[int]int{}, failed: map[int]error{}, trimmed: -1}
	sent := make(chan error, 1)
	go func() { sent <- l.carrier.Send(b) }()
	guard := time.NewTimer(limit)
	defer guard.Stop()
	for {
		select {
		case err := <-sent:
			if err != nil {
				l.t.Fatalf("Send: %v", err)
			}
			return b.ID
		case r, ok := <-l.news:
			if !ok {
				l.t.Fatalf("the worker has ended while a batch was sent: %v", l.end)
			}
			l.enter(r)
		case <-guard.C:
			l.t.Fatalf("Send has not returned within %v", limit)
		}
	}
}

func (l *line) of(batch uint64) *book { return l.books[batch] }

// await takes in news until cond holds.
func (l *line) await(what string, cond func() bool) {
	l.t.Helper()
	guard := time.NewTimer(limit)
	defer guard.Stop()
	for !cond() {
		select {
		case r, ok := <-l.news:
			if !ok {
				l.t.Fatalf("the worker has ended (%v) before the news of %s", l.end, what)
			}
			l.enter(r)
		case <-guard.C:
			l.t.Fatalf("no news of %s within %v", what, limit)
		}
	}
}

func (l *line) answered(batch uint64, n int) {
	l.t.Helper()
	b := l.of(batch)
	l.await("every call", func() bool { return len(b.done)+len(b.failed) == n })
}

// enter puts a report into the books.
func (l *line) enter(r backend.Report) {
	l.t.Helper()
	b := l.of(r.Batch)
	if b == nil {
		l.t.Fatalf("news of batch %d, which was never sent", r.Batch)
	}
	switch r.Kind {
	case backend.Started:
		b.started[r.Lo] = true
	case backend.Done:
		results, err := wire.ReadResults(r.Body, r.Segments)
		if err != nil {
			l.t.Fatalf("the results [%d,%d): %v", r.Lo, r.Hi, err)
		}
		for k := r.Lo; k < r.Hi; k++ {
			v, err := results.Next(r.Hi - k)
			var x int
			if err == nil {
				err = wire.ReadValueInto(v, &x)
			}
			if err != nil {
				l.t.Fatalf("the result of call %d: %v", k, err)
			}
			b.done[k] = x
		}
	case backend.Failed:
		err, _, bad := wire.ReadFailure(r.Body)
		if bad != nil {
			l.t.Fatalf("the error of call %d: %v", r.Lo, bad)
		}
		b.failed[r.Lo] = err
	case backend.Trimmed:
		if b.trimmed < 0 || r.Lo < b.trimmed {
			b.trimmed = r.Lo
		}
	default:
		l.t.Errorf("a report of %v", r.Kind)
	}
}

// ended takes in the rest of the news and returns how it ended.
func (l *line) ended() error {
	l.t.Helper()
	guard := time.NewTimer(limit)
	defer guard.Stop()
	for {
		select {
		case r, ok := <-l.news:
			if !ok {
				return l.end
			}
			l.enter(r)
		case <-guard.C:
			l.t.Fatalf("Recv has not ended within %v", limit)
		}
	}
}

// lost is ended, by a *Lost. The worker is closed.
func (l *line) lost() *backend.Lost {
	l.t.Helper()
	err := l.ended()
	lost, ok := err.(*backend.Lost)
	if !ok {
		l.t.Fatalf("Recv ended with %v (%T), want a *backend.Lost", err, err)
	}
	l.stop()
	return lost
}

// close closes the worker, whose calls have all been answered.
func (l *line) close() {
	l.t.Helper()
	l.stop()
	if err := l.ended(); err != io.EOF {
		l.t.Errorf("Recv ended with %v, want io.EOF", err)
	}
}
