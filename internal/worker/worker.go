// Package worker is the far end of a carrier's link: it runs the calls that come over it and reports how they ended.
// It decides nothing else; what is claimed, retried or given up is decided at the near end.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/scope"
	"github.com/gojoblib/parallel/internal/wire"
)

// worker runs batches one after the other, while orders keep coming in.
type worker struct {
	link   backend.Link
	ctx    context.Context
	locals scope.Locals
	report sync.Mutex // one report at a time

	mu     sync.Mutex
	more   sync.Cond
	queue  []*job  // the first is being run
	ended  error   // why no more orders come
	faults []error // of closing what PerWorker opened
}

// job is a batch in hand. It is guarded by worker.mu.
type job struct {
	backend.Batch
	ctx    context.Context
	cancel context.CancelFunc
	begun  int // calls below it have been started
	limit  int // no call from here on will be
}

// Serve runs what the link orders until it says io.EOF, which is no error, or fails. Calls run one at a time, under ctx,
// on goroutines of Serve's own; whatever befalls one is reported as its failure.
func Serve(ctx context.Context, link backend.Link) error {
	w := &worker{link: link, ctx: ctx}
	w.more.L = &w.mu
	done := make(chan struct{})
	go w.run(done, nil, nil)
	for {
		o, err := link.Next()
		if err != nil {
			w.mu.Lock()
			w.ended = err
			for _, j := range w.queue {
				j.cancel() // nobody waits for the answers any more
			}
			w.more.Signal()
			w.mu.Unlock()
			break
		}
		w.order(o)
	}
	<-done
	if !errors.Is(w.ended, io.EOF) {
		w.faults = append(w.faults, w.ended)
	}
	return errors.Join(w.faults...)
}

func (w *worker) order(o backend.Order) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case o.Trim != nil:
		if j := w.find(o.Trim.Batch); j != nil {
			j.limit = max(j.begun, min(j.limit, o.Trim.From))
			w.tell(backend.Report{Batch: j.ID, Kind: backend.Trimmed, Lo: j.limit})
		}
	case o.Cancel != nil:
		if j := w.find(o.Cancel.Batch); j != nil {
			j.cancel()
		}
	default:
		j := &job{Batch: o.Batch, limit: o.Batch.N}
		j.ctx, j.cancel = context.WithCancel(w.ctx)
		w.queue = append(w.queue, j)
		w.more.Signal()
	}
}

func (w *worker) find(batch uint64) *job {
	if i := slices.IndexFunc(w.queue, func(j *job) bool { return j.ID == batch }); i >= 0 {
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
func (w *worker) run(done chan struct{}, j *job, body []byte) {
	returned := false
	defer func() {
		if !returned {
			go w.run(done, j, body)
		}
	}()
	for {
		if j == nil {
			if j = w.next(); j == nil {
				break
			}
			body = j.Body
		}
		for {
			k, ok := w.begin(j)
			if !ok {
				break
			}
			var frame []byte
			var bad error
			frame, body, bad = wire.CutFrame(body)
			w.call(j, k, frame, bad)
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

// next returns the next job, the one before it being done; nil: there will be none.
func (w *worker) next() *job {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if len(w.queue) > 0 && w.queue[0].begun == w.queue[0].limit {
			w.queue[0].cancel()
			w.queue = w.queue[1:]
			continue
		}
		if w.ended != nil {
			return nil
		}
		if len(w.queue) > 0 {
			return w.queue[0]
		}
		w.more.Wait()
	}
}

// begin takes the next call of j.
func (w *worker) begin(j *job) (int, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if j.begun == j.limit || w.ended != nil {
		return 0, false
	}
	j.begun++
	return j.begun - 1, true
}

// call runs call k of j and reports how it ended.
func (w *worker) call(j *job, k int, frame []byte, bad error) {
	start := time.Now()
	fail := func(err error, v wire.Verdict) {
		w.tell(backend.Report{Batch: j.ID, Kind: backend.Failed, Lo: k, Hi: k + 1, Took: time.Since(start), Body: wire.AppendFailure(nil, err, v)})
	}
	if bad != nil {
		fail(fmt.Errorf("the batch cannot be read: %w", bad), wire.Refused)
		return
	}
	c, err := prepare(frame)
	if err != nil {
		fail(err, wire.Refused)
		return
	}
	if j.Started {
		w.tell(backend.Report{Batch: j.ID, Kind: backend.Started, Lo: k, Hi: k + 1})
	}
	ctx := j.ctx
	if j.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, j.Timeout, errLate)
		defer cancel()
	}
	s := &scope.Scope{Context: ctx, Index: c.Index, Attempt: c.Attempt, Seed: c.Seed, Names: c, Locals: &w.locals}

	ended := false
	defer func() {
		if ended {
			return
		}
		err := backend.ErrGoexit
		if v := recover(); v != nil {
			err = &backend.PanicError{Value: v, Stack: debug.Stack()}
		}
		fail(late(ctx, err), wire.Failed)
	}()
	out, err := c.run(s)
	ended = true
	if err = late(ctx, err); err != nil {
		fail(err, wire.Failed)
		return
	}
	body, err := wire.AppendFrame(nil, func(b []byte) ([]byte, error) {
		if !out.IsValid() {
			return b, nil
		}
		return wire.AppendValue(b, out)
	})
	if err != nil {
		fail(fmt.Errorf("its result: %w", err), wire.Final)
		return
	}
	w.tell(backend.Report{Batch: j.ID, Kind: backend.Done, Lo: k, Hi: k + 1, Took: time.Since(start), Body: body})
}

// late is err, or ErrTimeout when the call's time is up: what it did after that does not count.
func late(ctx context.Context, err error) error {
	if context.Cause(ctx) == errLate {
		return backend.ErrTimeout
	}
	return err
}

// errLate is the cause of a context whose call has used up its time.
var errLate = fmt.Errorf("%w", backend.ErrTimeout)

// call is a call that is ready to run.
type call struct {
	wire.Call
	fn   reflect.Value
	args []reflect.Value
}

func prepare(frame []byte) (*call, error) {
	head, n, body, err := wire.ReadCall(frame)
	if err != nil {
		return nil, fmt.Errorf("the call cannot be read: %w", err)
	}
	fn, ok := registry.Func(head.Func)
	if !ok {
		return nil, fmt.Errorf("%s is not registered in the worker; give it to parallel.Main or parallel.Register before main does anything else", head.Func)
	}
	args, err := wire.ReadArgs(body, n, fn.Type())
	return &call{head, fn, args}, err
}

// Name is what TaskFrom calls the call.
func (c *call) Name(int) string {
	if c.Call.Name != "" {
		return c.Call.Name
	}
	return c.Func
}

// run makes the call. out is invalid when the function has no result.
func (c *call) run(ctx context.Context) (out reflect.Value, err error) {
	in := c.args
	if wire.TakesContext(c.fn.Type()) {
		in = append([]reflect.Value{reflect.ValueOf(&ctx).Elem()}, in...)
	}
	outs := c.fn.Call(in)
	if n := len(outs); n > 0 && outs[n-1].Type() == reflect.TypeFor[error]() {
		err, _ = outs[n-1].Interface().(error)
		outs = outs[:n-1]
	}
	if len(outs) > 0 {
		out = outs[0]
	}
	return out, err
}
