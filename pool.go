package parallel

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/backend/threads"
	"github.com/gojoblib/parallel/internal/child"
	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/plan"
	"github.com/gojoblib/parallel/internal/scope"
)

// Pool is a fixed number of workers for any number of callers: multiprocessing.Pool and concurrent.futures' executors.
// Single calls go in by Apply and ApplyAsync, whole runs by MapAsync and StarmapAsync, or by any function of this package
// with the option On; all of them share the pool's workers, in turns. Its methods may be called by several goroutines.
//
//	p, err := parallel.NewPool(4)
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//
// Nesting is safe: a task that waits for its own pool (by Get or Apply with the task's context, by a run with On)
// lends its worker to what it waits for, so that even a pool of one never waits for itself.
//
// A Pool that is dropped without Close finishes what was submitted, and then lets its workers go.
type Pool struct{ *pool }

// pool is what outlives its Pool until it has nothing left to do.
type pool struct {
	opts    []Option // defaults of the runs on it
	hint    Hint
	backend backend.Backend
	slots   *dispatch.Pool
	calls   *dispatch.Open
	desk    *desk
	free    func() // ends the workers that the backend keeps
	ended   chan struct{}
	ctx     context.Context // of its runs: ends with Terminate
	cancel  context.CancelCauseFunc

	callbacks queue

	mu     sync.Mutex
	closed bool
	sealed bool           // to runs that its tasks start, too
	why    error          // of a termination
	runs   sync.WaitGroup // on it, not counting single calls
	faults []error
	told   bool // the faults were returned
}

// NewPool returns a pool of n workers, which n means as in Parallel. It starts none: tasks do, when they need one.
//
// The options hold for all that runs on the pool: Prefer or Backend says where, Timeout, Retry, Seed, Memo, Capsules and
// others are what a run on it (see On) starts from, where they apply to it: KeepGoing, PreDispatch and Unordered are for
// runs alone. When the Context ends the pool is terminated. Progress, Observe, Trace and Explain follow the single calls
// as one run, which begins with the pool and ends with it, and each run by itself.
//
// On Processes the pool has worker processes of its own. They go away when they have been idle for long, when the pool
// has ended, and with the program. A worker that cannot start (its Init fails) ends the pool; futures tell why.
func NewPool[N int | NJobs](n N, opts ...Option) (*Pool, error) {
	accepts := optEverywhere&^optOn | optContext | optKeepGoing | optPreDispatch | optUnordered
	c := &config{caller: "NewPool", accepts: accepts, ctx: context.Background(), n: NJobs(n)}
	configure(c, opts)
	spec, err := c.spec()
	if child.Inside() {
		err = errors.Join(err, errors.New("a worker process cannot have a Pool; Parallel, Map and streams run on goroutines here"))
	}
	if err != nil {
		return nil, fmt.Errorf("parallel: NewPool: %w", err)
	}
	p := &pool{hint: hintOf(spec.Backend), backend: spec.Backend, free: func() {}, slots: dispatch.NewPool(spec.N), ended: make(chan struct{})}
	for _, o := range opts {
		if _, ok := o.(contextOption); !ok {
			p.opts = append(p.opts, o)
		}
	}
	if b, ok := spec.Backend.(backend.Owner); ok {
		p.backend, p.free = b.Own(spec.N)
	}
	p.callbacks.fault = p.fault
	p.ctx, p.cancel = context.WithCancelCause(spec.Context)
	p.desk = &desk{pool: p, blocks: map[int]*deskBlock{}}
	spec.Context = scope.Hide(p.ctx)
	spec.Backend, spec.Pool, spec.KeepGoing = p.backend, p.slots, true
	if c.memo != nil {
		p.desk.recall(c.memo)
		spec.Memo = p.desk.memo
	}
	p.calls = dispatch.NewOpen(spec, p.desk)
	context.AfterFunc(p.calls.Context(), p.desk.stop)
	context.AfterFunc(p.ctx, func() { p.terminate(context.Cause(p.ctx)) })
	go p.wait()
	handle := &Pool{p}
	runtime.AddCleanup(handle, (*pool).close, p)
	return handle, nil
}

// On runs on the workers of p, instead of workers of the run's own. A number of workers given to the run caps its share;
// -1 is all of p's, and what p has no more of it does not get. The options of p hold for the run, where they apply to it;
// its own win over them. A Prefer beside On must agree with the pool.
func On(p *Pool) Option {
	return on(p, false)
}

func on(p *Pool, entered bool) Option {
	return onOption{option{optOn, func(c *config) {
		if p.missing() {
			c.fault("On was given a Pool that is nil, or was not made by NewPool; leave the option out to run elsewhere")
			return
		}
		c.pool, c.entered = p, entered
	}}, p}
}

type onOption struct {
	option
	pool *Pool
}

// errTerminated is what a terminated pool answers with.
var errTerminated error = terminated{}

type terminated struct{}

func (terminated) Error() string        { return "the pool was terminated" }
func (terminated) Is(target error) bool { return target == ErrClosed }

// errNoPool is what a Pool answers with that NewPool has not made, or has failed to make.
var errNoPool = errors.New("parallel: the Pool is nil, or was not made by NewPool")

func (p *Pool) missing() bool { return p == nil || p.pool == nil }

// Close refuses new work, waits until all that was submitted has ended, callbacks included, and ends the workers: made
// for defer. It returns what went wrong beside the tasks: a callback that panicked, a PerWorker value that could not be
// closed, the reason why the pool ended by itself; when called again, nil. A task or callback of the pool must not call it:
// it would wait for itself.
func (p *Pool) Close() error {
	if p.missing() {
		return errNoPool
	}
	p.close()
	return p.end()
}

// Terminate ends the pool now: what has not begun ends with ErrNotRun, the contexts of what runs are cancelled, and
// worker processes that do not heed that within their Grace (100 ms) are killed. It waits until all has ended, as Close
// does, and what Close says of its error and of tasks holds here.
func (p *Pool) Terminate() error {
	if p.missing() {
		return errNoPool
	}
	p.terminate(errTerminated)
	return p.end()
}

// Join waits until the pool has ended. Before Close or Terminate, which have waited themselves, it is an error.
func (p *Pool) Join() error {
	if p.missing() {
		return errNoPool
	}
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if !closed {
		return errors.New("parallel: Join of a Pool that is neither closed nor terminated would wait for ever")
	}
	<-p.ended
	return nil
}

// close refuses new work.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.desk.close()
	p.calls.Close()
}

func (p *pool) terminate(why error) {
	p.mu.Lock()
	p.closed = true
	if p.why == nil {
		p.why = why
		if !errors.Is(why, ErrClosed) { // its context has ended
			p.why = fmt.Errorf("%w: %w", ErrClosed, why)
			p.faults = append(p.faults, why)
		}
	}
	why = p.why
	p.mu.Unlock()
	p.desk.close()
	p.calls.Stop(why)
	p.cancel(why)
}

// wait sees the pool to its end.
func (p *pool) wait() {
	<-p.calls.Done()
	if p.ctx.Err() != nil { // the run has heard of it first
		p.terminate(context.Cause(p.ctx))
	}
	err := p.calls.Err()
	p.mu.Lock()
	if err != nil && err.Cause != nil {
		if p.why == nil { // it ended by itself
			p.faults = append(p.faults, err.Cause)
			p.why = fmt.Errorf("%w: %w", ErrClosed, err.Cause)
		}
	}
	p.closed = true
	p.mu.Unlock()
	p.desk.close()
	p.desk.sweep()
	p.runs.Wait()
	p.callbacks.wait()
	p.mu.Lock()
	p.sealed = true
	p.mu.Unlock()
	p.runs.Wait() // those that tasks' goroutines have begun meanwhile
	p.callbacks.wait()
	p.slots.Close(p.fault)
	p.free()
	p.cancel(ErrClosed)
	close(p.ended)
}

// end waits for the end and returns what went wrong, once.
func (p *pool) end() error {
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told {
		return nil
	}
	p.told = true
	if err := errors.Join(p.faults...); err != nil {
		return fmt.Errorf("parallel: Pool: %w", err)
	}
	return nil
}

func (p *pool) fault(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, err)
}

// refusal is the answer to work that comes too late; nil: it does not.
func (p *pool) refusal() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refusalLocked()
}

// over is why the pool's calls end that run.
func (p *pool) over() error {
	if why := p.refusal(); why != nil {
		return why
	}
	<-p.calls.Context().Done() // it ends just after their run has stopped, by itself
	return fmt.Errorf("%w: %w", ErrClosed, context.Cause(p.calls.Context()))
}

func (p *pool) refusalLocked() error {
	switch {
	case p.why != nil:
		return p.why
	case p.closed:
		return ErrClosed
	}
	return nil
}

// enter counts a run in, until leave. A run that a task of the pool has started may begin while the pool is being closed.
func (p *pool) enter(ctx context.Context) (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err = p.refusalLocked()
	if err != nil && (p.sealed || p.why != nil || p.slots.Within(scope.From(ctx)) == nil) {
		return nil, err
	}
	p.runs.Add(1)
	return p.runs.Done, nil
}

// hintOf is the Prefer that stands for b; neither, where none does.
func hintOf(b backend.Backend) Hint {
	switch b.(type) {
	case threads.Backend:
		return Threads
	case *processes.Backend:
		return Processes
	}
	return -1
}

// join counts a run with these options in on its pool, if it has one, until leave, and ends it with the pool.
func (c *config) join(spec *dispatch.Spec) (leave func(), err error) {
	if c.pool == nil {
		return func() {}, nil
	}
	p := c.pool.pool
	left := func() {}
	if !c.entered {
		if left, err = p.enter(spec.Context); err != nil {
			return nil, err
		}
	}
	left = sync.OnceFunc(left)
	spec.Left = left // a loop over its results may take its time
	ctx, cancel := context.WithCancelCause(spec.Context)
	spec.Context = ctx
	unhook := context.AfterFunc(p.ctx, func() { cancel(context.Cause(p.ctx)) })
	return func() {
		unhook()
		cancel(nil)
		left()
	}, nil
}

// workers is how many workers of p a run that asks for n gets.
func (p *pool) workers(n NJobs) int { return min(plan.Workers(int(n), p.slots.Size()), p.slots.Size()) }
