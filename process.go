package parallel

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/internal/child"
	"github.com/gojoblib/parallel/internal/dispatch"
)

// Process is one call in a worker process of its own, which Spawn has started: multiprocessing.Process.
//
//	Process(target=f, args=(x,), name="n")   Delayed(f, x).Named("n")
//	p.start()                                p, err := Spawn(ctx, task)
//	p.join(), p.join(timeout)                p.Wait(ctx), which has the call's result, too
//	p.pid, p.name                            p.PID(), p.Name()
//	p.is_alive(), p.exitcode, p.sentinel     p.Alive(), p.ExitCode(), p.Done()
//	p.terminate(), p.kill()                  p.Terminate(), p.Kill()
//	p.daemon                                 always: it ends with this program
//	p.close()                                not needed: it ends after its call, waited for or not
//
// Its methods may be called by several goroutines.
type Process struct {
	name  string
	proc  workerProcess
	done  chan struct{} // closed when nothing of it is left
	value any           // from then on
	err   error
}

// workerProcess is what a worker of package processes is beside a Carrier.
type workerProcess interface {
	PID() int
	Terminate() error          // SIGTERM; nil when it has ended
	Destroy(cause error)       // kills it and what it has started
	ExitCode() int             // -N: signal N; once it was released
	Released() <-chan struct{} // closed when nothing of it is left
}

// Spawn starts a process that makes the one call, and ends after it. It returns as soon as the process is there, and
// waits for nothing in it. When ctx ends, so does the call's context, and the process when the call has not returned
// within Grace (100 ms). As in every worker process the function must be registered, the program call Main, and no value
// of ctx is there.
//
// The options are Timeout, Seed, Capsules, and Backend with one of package processes, whose Options say what the process
// is like. Mistakes are an error before anything has started, which is a *RunError where they are of the task; so is a
// Spawn inside a worker process.
//
// It costs what it takes the program to start, and some 2.5 ms (BenchmarkSpawn): many calls are for a Pool, or Parallel.
func Spawn(ctx context.Context, task Task, opts ...Option) (*Process, error) {
	c := &config{caller: "Spawn", accepts: optTimeout | optSeed | optCapsules | optBackend, ctx: ctx, n: 1}
	configure(c, opts)
	b, ok := c.backend.(*processes.Backend)
	switch {
	case ok:
	case c.given&optBackend != 0 && c.backend == nil: // it was told
	case c.given&optBackend != 0:
		c.fault("a Backend that is none of package processes: a Process needs one")
	default: // a With's is for others
		b = workerProcesses
	}
	if child.Inside() {
		c.fault("a worker process cannot start another; Parallel, Map and streams run on goroutines here")
	}
	if err := c.unfit(task); err != nil {
		return nil, err
	}
	own, free := b.Own(1)
	s := &single{Backend: own, ctx: ctx}
	pool, err := NewPool(1, Backend(s), option{optSeed, func(of *config) {
		of.seed, of.timeout, of.capsules = c.seed, c.timeout, c.capsules
	}})
	if err != nil {
		return nil, err
	}
	worker, err := own.Start(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("parallel: Spawn: %w", err), pool.Close())
	}
	s.Carrier = worker.(backend.Carrier)
	d := task.declare()
	p := &Process{name: d.label(), proc: worker.(workerProcess), done: make(chan struct{})}
	go p.see(ApplyAsync[any](ctx, pool, task), pool, s, free)
	return p, nil
}

// unfit returns what is wrong with the options and the task, all of it.
func (c *config) unfit(task Task) error {
	if c.ctx.Err() != nil {
		c.faults = append(c.faults, dispatch.Cause(c.ctx))
	}
	fault := errors.Join(c.faults...)
	var failed []*TaskError
	if err := misuse([]Task{task}); err != nil {
		failed = Failures(err)
	} else {
		failed = taskLane.strangers([]Task{task})
	}
	switch {
	case failed != nil:
		return &RunError{Failed: failed, NotRun: 1, Cause: fault, Missing: []backend.Range{{Lo: 0, Hi: 1}}}
	case fault != nil:
		return fmt.Errorf("parallel: Spawn: %w", fault)
	}
	return nil
}

// see sees the process to its end.
func (p *Process) see(f *Future[any], pool *Pool, s *single, free func()) {
	defer close(p.done)
	p.value, p.err = f.Get(context.Background())
	_ = pool.Close() // what ended it is the call's error
	if failed, ok := errors.AsType[*TaskError](p.err); ok && s.lost != nil && errors.Is(failed, ErrNotRun) && errors.Is(failed, ErrClosed) {
		failed.Err = notRun(s.lost)
		if crash, ok := errors.AsType[*CrashError](s.lost); ok {
			failed.Err = &notBegun{crash}
		}
	}
	if !s.lent.Load() { // the call was cancelled before
		_ = s.Close()
	}
	free()
	<-p.proc.Released()
}

// PID returns the number of the process, also when it has ended.
func (p *Process) PID() int { return p.proc.PID() }

// Name returns the task's name: the one given by Named, else the function's full name.
func (p *Process) Name() string { return p.name }

// Alive reports whether the process has not ended: Done is not closed.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Done is closed when the process has ended, and nothing of it is left.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits until the process has ended, which is after its call, and returns the call's result: as often as it is
// called. When ctx ends first, it returns its cause; the process goes on.
//
// The error is a *TaskError, as that of a Future is. In it is a *CrashError where the process ended before the call, by
// Kill and Terminate too, and ErrNotRun where the call had not begun.
func (p *Process) Wait(ctx context.Context) (any, error) {
	if p == nil || p.proc == nil {
		return nil, errors.New("parallel: the Process is nil, or was not made by Spawn")
	}
	if p.Alive() && ctx != nil {
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil, dispatch.Cause(ctx)
		}
	}
	<-p.done
	return p.value, p.err
}

// Terminate sends SIGTERM to the process, which by default ends it; a task may catch it by signal.Notify, and return in
// its own time. What the process has started does not get it, and is killed when the process has ended. On Windows,
// which has no such signal, it is Kill. It waits for nothing; when the process has ended it does nothing and returns nil.
func (p *Process) Terminate() error { return p.proc.Terminate() }

// Kill ends the process, and what it has started, now: by SIGKILL, on Windows by its job. It waits for nothing; when
// the process has ended it does nothing. The error is nil.
func (p *Process) Kill() error {
	p.proc.Destroy(errKilled)
	return nil
}

var errKilled = errors.New("Kill was called")

// ExitCode returns, once the process has ended, how: 0 when the call returned without an error, 1 when it failed, or
// never began, in a way that the process survived (an error, a panic, the end of ctx, an Init that fails), N for
// os.Exit(N) but 1 for os.Exit(0), with which no call returns, and -N when signal N ended the process. So it is 0 just if
// the error of Wait is nil, and else what exitcode is in Python; the system itself may see 0 where it is 1. A CrashError
// has -1 for signals, and their names. On Windows a killed process has 1.
func (p *Process) ExitCode() (code int, ended bool) {
	if p.Alive() {
		return 0, false
	}
	code = p.proc.ExitCode()
	crashed := p.err == nil || errors.As(p.err, new(*CrashError)) || !errors.Is(p.err, ErrNotRun)
	switch {
	case p.err == nil: // whatever has ended it came too late
		return 0, true
	case code == 0 || !crashed:
		return 1, true
	}
	return code, true
}

// notBegun is the error of a call whose process ended before it.
type notBegun struct{ crash *CrashError }

func (e *notBegun) Error() string   { return "not run: its process had ended with " + e.crash.Reason }
func (e *notBegun) Unwrap() []error { return []error{ErrNotRun, e.crash} }

// single is a backend of one worker, which has been started, and that worker.
type single struct {
	backend.Backend
	backend.Carrier
	ctx  context.Context // of the call
	lent atomic.Bool     // to the pool
	lost error           // why it is gone
}

func (s *single) Start(context.Context) (backend.Worker, error) {
	if s.lent.Swap(true) {
		return nil, errors.New("its process has ended")
	}
	return s, nil
}

// Send tells the call its deadline.
func (s *single) Send(b backend.Batch) error {
	b.Deadline, _ = s.ctx.Deadline()
	return s.Carrier.Send(b)
}

// Recv says of the one worker that none will take its place.
func (s *single) Recv() (backend.Report, error) {
	r, err := s.Carrier.Recv()
	if lost, ok := errors.AsType[*backend.Lost](err); ok {
		s.lost, lost.Final = lost.Cause, true
	}
	return r, err
}
