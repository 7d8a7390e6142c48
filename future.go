package parallel

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/scope"
)

// Future is the result of a call, or a run, that a pool makes in the background: concurrent.futures.Future and
// multiprocessing's AsyncResult. Its methods may be called by several goroutines.
type Future[R any] struct{ promise }

// Apply makes one call on a worker of p and returns what it returns, typed: Pool.apply. It blocks until then, or until ctx
// ends, which cancels the call. The error is a *TaskError, or the cause of ctx.
func Apply[R any](ctx context.Context, p *Pool, t Task) (R, error) {
	return ApplyAsync[R](ctx, p, t).Get(ctx)
}

// ApplyAsync hands one call to p and returns at once: Pool.apply_async, Executor.submit. Calls are begun in the order of
// their submission. ctx is the call's context, apart from its end by Cancel; when ctx ends before the call has begun, it
// never does. A pool that was closed, and a faulty Task, give a Future that has ended with that error.
//
// Any number of calls may wait: they are kept in memory, some 300 bytes each.
func ApplyAsync[R any](ctx context.Context, p *Pool, t Task) *Future[R] {
	f := &Future[R]{}
	f.task, f.index = t, -1 // until it is handed in
	defer runtime.KeepAlive(p)
	if err := f.bind(ctx, p); err != nil {
		f.finish(nil, err)
		return f
	}
	if e := misuse([]Task{t}); e != nil {
		failed := Failures(e)[0]
		failed.Index = -1
		f.finish(nil, failed)
		return f
	}
	if ctx.Err() != nil {
		f.finish(nil, f.failure(notRun(dispatch.Cause(ctx))))
		return f
	}
	if !p.desk.submit(&f.promise) {
		f.finish(nil, f.failure(notRun(f.pool.refusal())))
		return f
	}
	if f.ctx.Context.Done() != nil {
		f.watch(ctx)
	}
	return f
}

// MapAsync is Map on p in the background: Pool.map_async. The options are Map's. It is running from the beginning: Cancel
// stops it as the end of ctx does, and what it has computed by then is its result, beside the error.
func MapAsync[A, R any](ctx context.Context, p *Pool, in []A, fn func(context.Context, A) (R, error), opts ...Option) *Future[[]R] {
	return async(ctx, p, func(ctx context.Context, on Option) ([]R, error) {
		return Map(ctx, in, fn, append([]Option{on}, opts...)...)
	})
}

// StarmapAsync is Starmap on p in the background: Pool.starmap_async. in is drawn on a goroutine of its own.
func StarmapAsync[A, B, R any](ctx context.Context, p *Pool, in iter.Seq2[A, B], fn func(context.Context, A, B) (R, error), opts ...Option) *Future[[]R] {
	return async(ctx, p, func(ctx context.Context, on Option) ([]R, error) {
		return Starmap(ctx, in, fn, append([]Option{on}, opts...)...)
	})
}

// async runs run, with the option that says where, in the background.
func async[R any](ctx context.Context, p *Pool, run func(context.Context, Option) ([]R, error)) *Future[[]R] {
	f := &Future[[]R]{}
	f.index = -1
	f.state.Store(taken)
	err := f.bind(ctx, p)
	if err != nil {
		f.finish(nil, err)
		return f
	}
	leave, err := p.enter(ctx)
	if err != nil {
		f.finish(nil, &RunError{Cause: err})
		return f
	}
	go func() {
		defer leave()
		var out []R
		var err error = &RunError{Cause: fmt.Errorf("the input of the run: %w", ErrGoexit)}
		defer func() { // also when the input of a Starmap panics
			if v := recover(); v != nil {
				err = &RunError{Cause: fmt.Errorf("the input of the run: %w", &PanicError{Value: v, Stack: debug.Stack()})}
			}
			f.finish(out, err)
		}()
		out, err = run(scope.Hide(&f.ctx), on(p, true))
	}()
	return f
}

// Get waits for the result and returns it. When ctx ends first, it returns its cause; the call goes on. Inside a task of the
// same pool, given that task's context, it lends the task's worker to what it waits for: see Pool.
//
// The error is a *TaskError that says which call failed, as that of a run does; of MapAsync and StarmapAsync a *RunError.
// A result that is no R is an error, too.
func (f *Future[R]) Get(ctx context.Context) (r R, err error) {
	if err := f.wait(ctx); err != nil {
		return r, err
	}
	return f.result()
}

func (f *Future[R]) result() (r R, err error) {
	r, ok := f.value.(R)
	if ok || f.err != nil || f.value == nil && reflect.TypeFor[R]().Kind() == reflect.Interface {
		return r, f.err
	}
	want, got := reflect.TypeFor[R](), "nothing; ask for an any"
	if f.value != nil {
		got = fmt.Sprintf("type %T; ask for that", f.value)
	}
	return r, f.failure(fmt.Errorf("Apply or ApplyAsync was asked for a result of type %v, and the task has returned %s", want, got))
}

// OnDone has fn called with the result when there is one, also when it is there already: add_done_callback, and the
// callback and error_callback of apply_async. All callbacks of a pool run one after the other on a goroutine that is
// none of its workers, in the order in which their futures ended, those of one future in the order they were given in.
// What panics in fn harms nothing, and is part of the error of Close. fn must not wait for other callbacks.
func (f *Future[R]) OnDone(fn func(R, error)) {
	if fn == nil {
		return
	}
	f.subscribe(func() {
		f.pool.callbacks.add(func() { fn(f.result()) })
	})
}

// AsCompleted yields the futures as they end, each once, and blocks in between: concurrent.futures.as_completed. The first
// one of it is whichever ends first; leaving the loop leaves the others alone. Nil pointers are left out. Inside a task, of
// futures that it has submitted with its context, it lends the task's worker to them.
func AsCompleted[R any](fs ...*Future[R]) iter.Seq[*Future[R]] {
	return func(yield func(*Future[R]) bool) {
		ended := make(chan *Future[R], len(fs))
		known := map[*Future[R]]bool{nil: true}
		for _, f := range fs {
			if !known[f] {
				known[f] = true
				f.subscribe(func() { ended <- f })
			}
		}
		for range len(known) - 1 {
			var f *Future[R]
			select {
			case f = <-ended:
			default:
				f = next(ended, fs)
			}
			if !yield(f) {
				return
			}
		}
	}
}

// next waits for one of fs to end.
func next[R any](ended <-chan *Future[R], fs []*Future[R]) *Future[R] {
	i := slices.IndexFunc(fs, func(f *Future[R]) bool { return f != nil && f.pool != nil && scope.From(f.ctx.Context) != nil })
	if i < 0 {
		return <-ended
	}
	home, ctx := fs[i].home, fs[i].ctx.Context
	helping, over := context.WithCancel(ctx) // until one of them ends
	first := make(chan *Future[R], 1)
	go func() {
		first <- <-ended
		over()
	}()
	for _, f := range fs {
		if home != nil && f != nil && f.home == home && f.help(helping, home) {
			break
		}
	}
	for _, t := range dispatch.Within(scope.From(ctx)) { // as Get does
		t.Lend()
		defer t.Reclaim(ctx)
	}
	return <-first
}

// promise is what a Future is, whatever its type.
type promise struct {
	state atomic.Uint32
	aided atomic.Bool // it was helped, and is counted there
	gone  bool        // the first attempt has returned; guarded by mu
	index int
	pool  *pool
	task  Task             // of a single call
	home  *dispatch.Tenure // of the call of the same pool that has submitted it
	ctx   callContext
	place *scope.Scope // of the worker that makes the call
	value any          // once it has ended
	err   error

	mu   sync.Mutex
	done chan struct{} // made when first asked for
	rest *rest         // nil: there is none
}

// rest is what most futures have no use for.
type rest struct {
	scope     *scope.Scope     // made when first asked for
	attempt   *callContext     // of an attempt that has one of its own
	tenure    *dispatch.Tenure // of the attempt that runs
	unwatch   func() bool
	cancelled error
	then      []func() // called when it ends
}

// more returns the rest, to be changed. The caller holds the lock.
func (f *promise) more() *rest {
	if f.rest == nil {
		f.rest = new(rest)
	}
	return f.rest
}

// whyCancelled returns why it was cancelled; nil: it was not.
func (f *promise) whyCancelled() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rest == nil {
		return nil
	}
	return f.rest.cancelled
}

// The states of a promise.
const (
	pending = iota
	taken   // a worker has it
	helped  // a call that waits for it has, and is going to begin it
	ended
)

// claim is what a worker that comes to a call finds.
type claim int

const (
	mine   claim = iota
	theirs       // somebody else makes it
	over         // it has ended
)

// bind ties the future to its pool and context.
func (f *promise) bind(ctx context.Context, p *Pool) error {
	if ctx == nil {
		ctx = context.Background()
		f.ctx.Context = ctx
		f.pool = deadPool
		return errors.New("parallel: a nil context was given to a call on a Pool; pass context.Background()")
	}
	f.ctx.Context = ctx
	if p.missing() {
		f.pool = deadPool
		return errNoPool
	}
	f.pool = p.pool
	f.home = p.slots.Within(scope.From(ctx))
	return nil
}

// deadPool is the pool of futures that have none: it calls their callbacks.
var deadPool = func() *pool {
	p := &pool{slots: dispatch.NewPool(0)}
	p.callbacks.fault = p.fault
	return p
}()

// watch cancels the future when ctx ends.
func (f *promise) watch(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { f.end(dispatch.Cause(ctx)) })
	f.mu.Lock()
	f.more().unwatch = stop
	over := f.state.Load() == ended
	f.mu.Unlock()
	if over {
		stop()
	}
}

// begin says what a worker, that has come to the call for this attempt, is to do.
func (f *promise) begin(attempt int, errand bool) claim {
	for {
		switch s := f.state.Load(); {
		case s == ended && f.aided.Load() && !errand:
			return theirs
		case s == ended:
			return over
		case s == pending:
			if !f.state.CompareAndSwap(pending, taken) {
				continue
			}
		case attempt == 1 && !errand && (s == helped || f.aided.Load()): // also when it has been begun there
			return theirs
		case s == helped && errand:
			if !f.state.CompareAndSwap(helped, taken) {
				continue
			}
		default: // again
			if why := f.whyCancelled(); why != nil {
				if attempt == 1 {
					why = notRun(why)
				}
				f.finish(nil, f.failure(why))
				return over
			}
		}
		return mine
	}
}

// enter returns the context for the attempt that t makes.
func (f *promise) enter(t *dispatch.Thread) context.Context {
	given, plain := t.Context().(*scope.Scope), t.Attempt == 1
	if given == &t.Scope && plain {
		f.place, f.ctx.call = given, f
		return &f.ctx
	}
	// An attempt that may be given up, or comes after others: all of this is its own.
	own, c := *given, &callContext{Context: given.Context, values: scope.Hide(f.ctx.Context)}
	own.Context, own.Index = c, t.Index
	tenure := t.NewTenure()
	own.Tenure = tenure
	f.mu.Lock()
	more := f.more()
	more.tenure, more.attempt = tenure, c
	if more.cancelled != nil {
		c.end(more.cancelled)
	}
	f.mu.Unlock()
	return &own
}

// where returns the Scope of the first attempt.
func (f *promise) where() *scope.Scope {
	f.mu.Lock()
	defer f.mu.Unlock()
	more := f.more()
	if more.scope == nil {
		s := f.place
		more.scope = &scope.Scope{Context: scope.Hide(f.ctx.Context), Index: f.index, Attempt: 1, Seed: s.Seed, Names: s.Names, Locals: s.Locals}
		tenure := f.pool.slots.NewTenure(f.gone)
		if more.scope.Tenure = tenure; !f.gone {
			more.tenure = tenure
		}
	}
	return more.scope
}

// returned notes that an attempt has returned: what goroutines that outlive it do has nothing to do with its worker.
func (f *promise) returned() {
	f.mu.Lock()
	f.gone = true
	if f.rest == nil {
		f.mu.Unlock()
		return
	}
	tenure, attempt := f.rest.tenure, f.rest.attempt
	f.rest.tenure, f.rest.attempt = nil, nil
	f.mu.Unlock()
	if tenure != nil {
		tenure.End()
	}
	if attempt != nil {
		attempt.release()
	}
}

// declare describes the call; once it has ended nothing is known of it any more.
func (f *promise) declare() declared {
	f.mu.Lock()
	t := f.task
	f.mu.Unlock()
	return t.declare()
}

// failure is the error of a call that was not made.
func (f *promise) failure(err error) error {
	d := f.declare()
	return &TaskError{Index: f.index, Name: d.label(), Args: shorten(d.args), Err: err}
}

// fail ends the future with the error of its call.
func (f *promise) fail(err *TaskError) {
	why := context.Cause(&f.ctx)
	if why == nil {
		why = f.pool.refusal() // it was terminated
	}
	late := errors.Is(err.Err, context.Canceled) || errors.Is(err.Err, context.DeadlineExceeded)
	if why != nil && late && !errors.Is(err.Err, why) {
		err.Err = fmt.Errorf("%w: %w", err.Err, why)
	}
	f.finish(nil, err)
}

// complete ends the future with what its call has returned: returned and finish, at once where that is possible.
func (f *promise) complete(value any) {
	f.mu.Lock()
	if f.rest != nil {
		f.mu.Unlock()
		f.returned()
		f.mu.Lock()
	}
	f.gone = true
	f.finishLocked(value, nil)
}

// errNoFuture is the result of a Future that nothing has made.
var errNoFuture = errors.New("parallel: the Future was not made by ApplyAsync or its like")

// orphan ends a future that nothing has made, and that nobody else would.
func (f *promise) orphan() {
	if f.pool == nil {
		f.pool, f.index, f.ctx.Context = deadPool, -1, context.Background()
		f.finish(nil, errNoFuture)
	}
}

// finish ends the future, unless it has ended, and tells those who wait.
func (f *promise) finish(value any, err error) {
	f.mu.Lock()
	f.finishLocked(value, err)
}

// finishLocked is finish by who holds the lock, and frees it.
func (f *promise) finishLocked(value any, err error) {
	if f.state.Load() == ended {
		f.mu.Unlock()
		return
	}
	f.value, f.err, f.task = value, err, Task{}
	var last rest
	if f.rest != nil {
		last = *f.rest
		f.rest.then = nil
	}
	for _, tell := range last.then { // before anybody can know that it has ended
		tell()
	}
	f.state.Store(ended)
	done := f.done
	f.mu.Unlock()
	if done != nil {
		close(done)
	}
	if last.unwatch != nil {
		last.unwatch()
	}
	f.ctx.release()
	if last.attempt != nil {
		last.attempt.release()
	}
}

// subscribe has tell called when the future ends, or now. It must not wait for anything.
func (f *promise) subscribe(tell func()) {
	f.orphan()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state.Load() == ended {
		tell()
	} else {
		f.more().then = append(f.more().then, tell)
	}
}

// Done is closed when the future has ended.
func (f *promise) Done() <-chan struct{} {
	f.orphan()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done == nil {
		f.done = make(chan struct{})
		if f.state.Load() == ended {
			close(f.done)
		}
	}
	return f.done
}

// String says what has become of it, not with what result.
func (f *Future[R]) String() string {
	what := fmt.Sprintf("Future[%v]", reflect.TypeFor[R]())
	switch f.state.Load() {
	case pending:
		return what + ", pending"
	case ended:
		if f.err != nil {
			return what + ", failed"
		}
		return what + ", done"
	}
	return what + ", running"
}

// Pending reports whether the call has not begun: it waits for a worker.
func (f *promise) Pending() bool { return f.state.Load() == pending }

// Cancel keeps a call that has not begun from being made, and returns true: the future has ended, with ErrNotRun and
// context.Canceled. If it runs, Cancel ends its context, and in a worker process that does not heed this for Grace
// (100 ms) the process: the future ends when the call has, with what that returns. Then, and when it has ended already, it
// returns false. A call that was sent to a worker process counts as running, and may still never begin.
func (f *promise) Cancel() bool { return f.end(context.Canceled) }

// end is Cancel because of why.
func (f *promise) end(why error) bool {
	f.orphan()
	f.mu.Lock()
	more := f.more()
	if more.cancelled == nil {
		more.cancelled = why
	}
	attempt := more.attempt
	f.mu.Unlock()
	if f.forestall() {
		f.finish(nil, f.failure(notRun(why)))
		return true
	}
	if f.state.Load() == ended {
		return false
	}
	f.ctx.end(why)
	if attempt != nil {
		attempt.end(why)
	}
	return f.index >= 0 && f.pool.calls.Cancel(f.index, why)
}

// forestall keeps a call from being begun; false: it has been.
func (f *promise) forestall() bool {
	return f.state.CompareAndSwap(pending, taken) || f.state.CompareAndSwap(helped, taken)
}

// wait returns when the future has ended, or with the cause of ctx when that ends first.
func (f *promise) wait(ctx context.Context) error {
	if f.state.Load() == ended {
		return nil
	}
	f.orphan()
	if ctx == nil {
		ctx = context.Background()
	}
	if ctx.Err() != nil {
		return dispatch.Cause(ctx)
	}
	if s := scope.From(ctx); s != nil {
		if t := f.pool.slots.Within(s); t != nil {
			f.help(ctx, t)
		}
		if f.state.Load() == ended {
			return nil
		}
		for _, t := range dispatch.Within(s) { // whatever pools they are of: this may wait for any of them
			t.Lend()
			defer t.Reclaim(ctx)
		}
	}
	runtime.Gosched() // a short call is over sooner than a goroutine is asleep and awake again
	if f.state.Load() == ended {
		return nil
	}
	if ctx.Done() == nil {
		<-f.Done()
		return nil
	}
	select {
	case <-f.Done():
		return nil
	case <-ctx.Done():
		return dispatch.Cause(ctx)
	}
}

// help makes the call at once, on the slot t of a call that waits for it; false: somebody else is at it already. With a
// memory, which calls it equals is not known before it begins.
func (f *promise) help(ctx context.Context, t *dispatch.Tenure) (helps bool) {
	if f.index < 0 || f.pool.desk.memo != nil || f.state.Load() != pending {
		return false
	}
	f.pool.calls.Errand(ctx, f.index, t, func() bool {
		helps = f.state.CompareAndSwap(pending, helped)
		if helps {
			f.aided.Store(true)
		}
		return helps
	})
	return helps
}
