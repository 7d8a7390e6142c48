// Package worker is the far end of a carrier's link: it runs the calls that come over it and reports how they ended.
// It decides nothing else; what is claimed, retried or given up is decided at the near end.
//
//	worker.go   Serve: batches one after the other, while orders keep coming in
//	call.go     one call: read its arguments, make it, answer
//	lane.go     the same for functions of common types, without reflection
//	clock.go    the context of a call with a Timeout
package worker

import (
	"context"
	"errors"
	"io"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/scope"
	"github.com/gojoblib/parallel/internal/wire"
)

// Desk is a Link whose near end watches the slots of a board: results that fit go there, and are not reported.
type Desk interface {
	backend.Link
	// Slot returns the place of a batch that Next has returned.
	Slot(batch uint64) (slot board.Slot, gen uint16)
	// Bell tells the near end to look at the batch, which is over.
	Bell(batch uint64)
}

// worker runs batches one after the other, while orders keep coming in.
type worker struct {
	link   backend.Link
	desk   Desk // the link, if it is one
	ctx    context.Context
	locals *scope.Locals
	funcs  map[string]*function // used so far
	report sync.Mutex           // one report at a time

	mu     sync.Mutex
	more   sync.Cond
	queue  []*job  // the first is being run
	closed error   // why no more orders come
	faults []error // of closing what PerWorker opened
}

// job is a batch in hand. What is not guarded by worker.mu belongs to the goroutine that runs calls.
type job struct {
	backend.Batch
	ctx    context.Context
	cancel context.CancelFunc
	slot   board.Slot
	gen    uint16
	over   bool // no call will be begun any more; guarded by worker.mu

	calls  *wire.Reader
	bad    error // why calls cannot be read any further
	scope  *scope.Scope
	name   string        // given by Named, of the call under way
	fn     *function     // of the call under way
	k      int           // the call under way, or
	idle   bool          // there is none
	self   reflect.Value // the context, for functions that are called by reflection
	start  time.Time     // of the call under way, where someone wants to know how long it takes, else of the job
	spent  time.Duration // by the calls before, where someone wants to know
	seen   bool          // the job has begun
	used   int           // of the slot's arena
	column int           // the size of a result, where results lie in a column
}

// Serve runs what the link orders until it says io.EOF, which is no error, or fails. Calls run one at a time, under ctx,
// on goroutines of Serve's own; whatever befalls one is reported as its failure. What PerWorker opens is kept in locals
// and closed at the end.
func Serve(ctx context.Context, link backend.Link, locals *scope.Locals) error {
	w := &worker{link: link, ctx: ctx, locals: locals, funcs: map[string]*function{}}
	w.desk, _ = link.(Desk)
	w.more.L = &w.mu
	done := make(chan struct{})
	go w.run(done, nil)
	for {
		o, err := link.Next()
		if err != nil {
			w.mu.Lock()
			w.closed = err
			for _, j := range w.queue {
				j.slot.Trim(j.gen, 0)
				j.cancel() // nobody waits for the answers any more
			}
			w.more.Signal()
			w.mu.Unlock()
			break
		}
		w.order(o)
	}
	<-done
	if !errors.Is(w.closed, io.EOF) {
		w.faults = append(w.faults, w.closed)
	}
	return errors.Join(w.faults...)
}

func (w *worker) order(o backend.Order) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case o.Trim != nil:
		if j := w.find(o.Trim.Batch); j != nil {
			if limit, ok := j.slot.Trim(j.gen, o.Trim.From); ok {
				w.tell(backend.Report{Batch: j.ID, Kind: backend.Trimmed, Lo: limit})
			}
		}
	case o.Cancel != nil:
		if j := w.find(o.Cancel.Batch); j != nil {
			j.cancel()
		}
	default:
		w.queue = append(w.queue, w.newJob(o.Batch))
		w.more.Signal()
	}
}

func (w *worker) newJob(b backend.Batch) *job {
	j := &job{Batch: b, idle: true}
	if w.desk != nil {
		j.slot, j.gen = w.desk.Slot(b.ID)
	} else {
		j.slot = board.New()
		j.slot.Open(0, min(max(b.N, 0), board.MaxCalls))
	}
	j.ctx, j.cancel = context.WithCancel(w.ctx)
	if !b.Deadline.IsZero() {
		j.ctx = until{j.ctx, b.Deadline}
	}
	if j.calls, j.bad = wire.ReadBatch(b.Body, b.Segments); j.bad != nil {
		j.calls = &wire.Reader{}
	}
	j.scope = &scope.Scope{Context: j.ctx, Attempt: j.calls.Attempt, Seed: j.calls.Seed, Names: (*naming)(j), Locals: w.locals}
	return j
}

// naming tells TaskFrom what the call under way is called.
type naming job

func (n *naming) Name(int) string {
	if n.name != "" || n.fn == nil {
		return n.name
	}
	return n.fn.name
}

func (w *worker) find(batch uint64) *job {
	if i := slices.IndexFunc(w.queue, func(j *job) bool { return j.ID == batch && !j.over }); i >= 0 {
		return w.queue[i]
	}
	return nil
}

// tell reports. A link that takes no reports will take no orders either: Next says so.
func (w *worker) tell(r backend.Report) {
	w.report.Lock()
	defer w.report.Unlock()
	_ = w.link.Report(r)
}

// run runs the rest of j, then what is in the queue. A call that ends the goroutine finds another one that goes on.
func (w *worker) run(done chan struct{}, j *job) {
	returned := false
	defer func() {
		if !returned {
			go w.run(done, j)
		}
	}()
	for {
		if j == nil {
			if j = w.next(); j == nil {
				break
			}
		}
		for !w.guarded(j) {
		}
		j = nil
	}
	for w.locals.CloseLast(w.fault) {
	}
	returned = true
	close(done)
}

// fault keeps what went wrong beside the calls: it is Serve's error.
func (w *worker) fault(err error) { w.faults = append(w.faults, err) }

// next returns the next job, the one before it being over; nil: there will be none.
func (w *worker) next() *job {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if len(w.queue) > 0 && w.queue[0].over {
			w.queue[0].cancel()
			w.queue[0] = nil
			w.queue = w.queue[1:]
			continue
		}
		if w.closed != nil {
			return nil
		}
		if len(w.queue) > 0 {
			return w.queue[0]
		}
		w.more.Wait()
	}
}

// guarded runs calls of j until it is over, and returns true, or one of them panics or ends the goroutine.
func (w *worker) guarded(j *job) (over bool) {
	defer func() {
		if over || j.idle {
			return
		}
		err := backend.ErrGoexit
		if v := recover(); v != nil {
			err = &backend.PanicError{Value: v, Stack: debug.Stack()}
		}
		w.fail(j, j.late(err), wire.Failed)
	}()
	w.perform(j)
	if w.desk != nil {
		if !j.calls.Timed {
			j.spent = time.Since(j.start)
		}
		j.slot.Took(max(1, int64(j.spent)))
		w.desk.Bell(j.ID)
	}
	w.mu.Lock()
	j.over = true
	w.mu.Unlock()
	return true
}
