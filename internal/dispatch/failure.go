package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/wire"
)

// Misuse is the error of a call that cannot be made at all, wherever it runs: it was not started and is not retried.
type Misuse struct {
	Site string // file:line, where it is known
	Err  error
}

func (e *Misuse) Error() string { return e.Err.Error() }
func (e *Misuse) Unwrap() error { return e.Err }

func misuse(err error) *Misuse {
	if m, ok := err.(*Misuse); ok {
		return m
	}
	return &Misuse{Err: err}
}

// fail decides what a failed attempt means for its call and for the run. It returns true when the call will be tried
// again; else the failure stands. The caller counts the call as settled in that case.
func (r *run) fail(i, attempt, worker int, took time.Duration, err error, again bool) bool {
	err = wire.Sound(err)
	failure := &backend.TaskError{Index: i, Name: r.work.Name(i), Args: r.work.Args(i), Attempts: attempt, Err: err}
	if m, ok := err.(*Misuse); ok {
		failure.Site, failure.Err, failure.Attempts, again = m.Site, m.Err, 0, false
	}
	wait, again := r.again(failure, again)
	if r.Keep != nil && !again && failure.Attempts > 0 && (!r.stopped.Load() || !causedBy(r.ctx, err)) {
		var fault error
		failure.Capsule, fault = r.Keep(failure, r.work)
		r.fault(fault)
	}
	event := Event{Index: i, Attempt: failure.Attempts, Worker: worker, Took: took, Name: failure.Name, Err: failure.Err}
	if again && r.teller != nil && !r.stopped.Load() {
		event.Kind = Retried
		r.tell(event)
		r.teller.sync()                  // before the next attempt can begin
		event.Worker, event.Took = -1, 0 // should the stop come before that
	}

	r.mu.Lock()
	if r.Context.Err() != nil {
		r.stopLocked(Cause(r.Context)) // calls notice it before the run has been told
	}
	switch {
	case r.stopped.Load() && causedBy(r.ctx, err):
		again = false
		if w := r.waiting[i]; w != nil && r.stream == nil {
			w.cut, w.told = true, true // what made it fail before stands
			event.Kind, event.Err = Failed, w.err.Err
			break
		}
		event.Kind = Cut
		r.cut++
		r.unrun = append(r.unrun, span{lo: i, hi: i + 1})
		delete(r.waiting, i)
		r.work.Fail(i, failure, took)
	case again && !r.stopped.Load() && !r.cancelled(failure): // from here on Cancel finds it waiting
		event.Kind = 0 // it was told
		r.counted.retried.Add(1)
		r.park(failure, wait)
	default:
		again = false
		event.Kind = Failed
		r.counted.failed.Add(1)
		delete(r.waiting, i)
		r.work.Fail(i, failure, took)
		if r.stream == nil {
			r.failed = append(r.failed, failure)
			if !r.KeepGoing {
				r.stopLocked(failure)
			}
		}
	}
	r.mu.Unlock()
	r.made(i, false, max(took, 1)) // now that the run is stopped, if it is, so that it makes no equal call in place of this one
	if event.Kind != 0 {
		r.tell(event)
	}
	return again
}

// cancelled reports whether the call that has failed was cancelled, by itself, and adds why.
func (r *run) cancelled(failure *backend.TaskError) bool {
	why := r.whyCancelled(failure.Index)
	if why != nil {
		failure.Err = errors.Join(failure.Err, why)
	}
	return why != nil
}

// again asks the retry policy. What a policy that panics leaves is the failure, with the panic beside it.
func (r *run) again(failure *backend.TaskError, allowed bool) (wait time.Duration, again bool) {
	if r.Retry == nil || !allowed || errors.Is(failure.Err, context.Canceled) || errors.Is(failure.Err, backend.ErrClosed) {
		return 0, false
	}
	if r.cancelled(failure) {
		return 0, false
	}
	err := failure.Err
	if fault := protect(func() error {
		wait, again = r.Retry(err, failure.Attempts)
		return nil
	}); fault != nil {
		failure.Err = errors.Join(err, fault)
		return 0, false
	}
	return wait, again
}

// park keeps a failed call until its next attempt. The caller holds the lock.
func (r *run) park(failure *backend.TaskError, wait time.Duration) {
	if r.waiting == nil {
		r.waiting = map[int]*retry{}
	}
	i := failure.Index
	w := &retry{err: failure}
	r.waiting[i] = w
	again := span{i, i + 1, failure.Attempts + 1}
	if wait <= 0 {
		r.giveBackLocked(again)
		return
	}
	w.timer = time.AfterFunc(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.waiting[i] == w {
			r.giveBackLocked(again)
		}
	})
}

// recovered notes that a call which had failed has succeeded.
func (r *run) recovered(i, attempt int) {
	if attempt > 1 {
		r.mu.Lock()
		delete(r.waiting, i)
		r.mu.Unlock()
	}
}

// causedBy reports whether err is what ctx's end made of a call, and not a failure of its own. Whatever has ended
// ctx, at the far end of a link it was cancelled.
func causedBy(ctx context.Context, err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))
}
