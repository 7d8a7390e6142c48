// Package processes runs calls in worker processes: copies of this program, which can be killed, crash alone, are bounded in
// memory, and may be shut off from files and network before they read what comes from strangers.
//
//	parallel.Map(ctx, files, extract, parallel.Backend(processes.New(processes.Options{MemoryLimit: 1 << 30})))
//
// parallel.Prefer(parallel.Processes) is the same with all defaults. The program must call parallel.Main in the first
// line of main, and of TestMain: in the copies it never returns.
//
// # One worker, pictured
//
//	this process                                     the worker
//	  carrier.go ── Run: a batch of calls ────────────> link    (a socket)
//	      |                                              |
//	      |   board: begun, ended, results  <────────────┤      (shared memory; see internal/board)
//	      |                                              |
//	      └──── Bell: the batch is over  <───────────────┘      (the socket again; also what is too large for the board)
//
// The board says at every moment which calls have been begun and which have ended. So a worker that dies, by whatever
// cause, fails the one call that it was running: results are kept, what it had not begun goes elsewhere. An idle
// worker takes calls back from a busy one's batch without asking it, and time is watched from outside.
//
//	processes.go   Options, New: what workers should be like
//	pool.go        the program's workers: started on demand, lent to runs, ended when idle
//	process.go     one worker process: start, kill, wait
//	carrier.go     one worker lent to a run: batches out, news in
//	crash.go       what a dead worker has left behind, as an error
//	control.go     what parallel.Spawn does with a worker besides
//	unix.go, ...   what the system has for it
package processes

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/child"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/wire"
)

// Options say what worker processes are like. The zero value is what parallel.Prefer(parallel.Processes) uses.
type Options struct {
	// MaxTasks is how many tasks a worker runs before another takes its place (Pool's maxtasksperchild): for code that
	// leaks. 0: any number.
	MaxTasks int

	// MemoryLimit bounds the memory of each worker, in bytes. One that uses more is ended, and the task that it was
	// running fails with a CrashError that Is ErrMemory. It counts what the worker has in use beside what it shares
	// with others (looked at every 5 to 20 ms, where the system tells as often); Linux and Windows also refuse to give it
	// more than that and 64 MB, and the garbage collector works harder from nine tenths on. 0: no bound.
	//
	// A worker that uses more than five eighths of it after a task, with its garbage collected, and then goes on growing,
	// leaks, and another takes its place between two tasks: a leak costs no task, unless it is fast. What a worker
	// needs all the time, as a model that its tasks share, is no leak, however much it is.
	MemoryLimit int64

	// IdleTimeout is how long a worker without work is kept for the next run. 0 means 5 minutes, a negative one that
	// it ends with the run.
	IdleTimeout time.Duration

	// Grace is how long a task whose context has ended, by cancellation or at its Timeout, may take to return before its
	// worker is killed. 0 means 100 ms; negative: none.
	Grace time.Duration

	// Init is a registered function that every worker calls before its first task, with InitArgs; it returns an error
	// or nothing, and may take a context first, which PerWorker.Get accepts. When it fails the worker does not start.
	Init     any
	InitArgs []any

	// Env is added to the environment of the workers: "NAME=value".
	Env []string

	// GOMAXPROCS is how many CPUs each worker uses. 0: the program's, divided by the workers of the run. The threads of
	// BLAS and OpenMP libraries are set alike when the worker starts, unless the environment already says.
	GOMAXPROCS int

	// Sandbox shuts workers off, after Init and before the first task. The program must import
	// backend/processes/sandbox.
	Sandbox *Sandbox
}

// Sandbox says what workers may still do; everything else is refused, which their tasks see as errors of permission.
// It is enforced by Landlock and seccomp, on Linux only. See package sandbox for what it does not cover.
type Sandbox struct {
	Read  []string // files and directories that may be read, with everything below
	Write []string // and that may be written, created and removed, too

	Network bool // sockets other than unix ones may be used
	Exec    bool // other programs may be started

	// Strict refuses to start workers where the kernel cannot enforce all of it. Otherwise what it can is enforced, and
	// one line on the program's stderr says what is missing.
	Strict bool
}

// Backend starts worker processes. Those with equal Options share them.
type Backend struct {
	pool *pool
	err  error // of the Options
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend whose workers are as o says; for parallel.Backend. It starts none: runs do, on demand, and leave
// them to the next run. What is wrong with o is an error of the run.
func New(o Options) *Backend {
	o.InitArgs, o.Env = slices.Clone(o.InitArgs), slices.Clone(o.Env)
	if o.Sandbox != nil {
		s := *o.Sandbox
		s.Read, s.Write = slices.Clone(s.Read), slices.Clone(s.Write)
		o.Sandbox = &s
	}
	setup, err := o.setup()
	if err != nil {
		return &Backend{err: fmt.Errorf("processes.Options: %w", err)}
	}
	return &Backend{pool: poolOf(o, setup)}
}

// setup checks the options and returns what a worker is told of them.
func (o *Options) setup() (s child.Setup, err error) {
	var errs []error
	if o.MaxTasks < 0 {
		errs = append(errs, fmt.Errorf("MaxTasks is %d; 0 is any number", o.MaxTasks))
	}
	if o.MemoryLimit < 0 {
		errs = append(errs, fmt.Errorf("MemoryLimit is %d; 0 is no bound", o.MemoryLimit))
	}
	if o.GOMAXPROCS < 0 {
		errs = append(errs, fmt.Errorf("GOMAXPROCS is %d; 0 is each worker's share", o.GOMAXPROCS))
	}
	for _, e := range o.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.ContainsRune(e, 0) {
			errs = append(errs, fmt.Errorf("an Env of %q; it must be NAME=value", e))
		}
	}
	s.MemoryLimit = o.MemoryLimit
	if o.Sandbox != nil {
		s.Sandbox = &child.Rules{Read: o.Sandbox.Read, Write: o.Sandbox.Write, Network: o.Sandbox.Network, Exec: o.Sandbox.Exec, Strict: o.Sandbox.Strict}
	}
	if s.Init, err = o.init(); err != nil {
		errs = append(errs, fmt.Errorf("the Init: %w", err))
	}
	return s, errors.Join(errs...)
}

// init encodes the call of Init.
func (o *Options) init() ([]byte, error) {
	if o.Init == nil {
		if len(o.InitArgs) > 0 {
			return nil, errors.New("there are InitArgs and no Init")
		}
		return nil, nil
	}
	name, err := registry.FuncName(o.Init)
	if err != nil {
		return nil, err
	}
	t := reflect.TypeOf(o.Init)
	if n := t.NumOut(); n > 1 || n == 1 && t.Out(0) != reflect.TypeFor[error]() {
		return nil, fmt.Errorf("%s is a %v; it must return an error or nothing", name, t)
	}
	params := t.NumIn()
	if wire.TakesContext(t) {
		params--
	}
	if t.IsVariadic() || params != len(o.InitArgs) {
		return nil, fmt.Errorf("%s is a %v; there are %d InitArgs", name, t, len(o.InitArgs))
	}
	for i, a := range o.InitArgs {
		want := t.In(t.NumIn() - params + i)
		if a == nil && want.Kind() != reflect.Interface && want.Kind() != reflect.Pointer && want.Kind() != reflect.Slice && want.Kind() != reflect.Map ||
			a != nil && !reflect.TypeOf(a).AssignableTo(want) {
			return nil, fmt.Errorf("InitArgs[%d] is a %T, %s takes %v", i, a, name, want)
		}
	}
	var b wire.Batch
	b.Begin(wire.Head{Attempt: 1}, false)
	if err := b.Add(wire.Call{Func: name}, t, o.InitArgs); err != nil {
		return nil, err
	}
	return b.Body, nil
}

// Own returns a backend with the same Options and processes of its own, and what ends those that are idle.
func (b *Backend) Own(n int) (own backend.Backend, free func()) {
	if b == nil || b.err != nil || b.pool == nil {
		return b, func() {}
	}
	p := &pool{Options: b.pool.Options, setup: b.pool.setup, most: n}
	return &Backend{pool: p}, p.free
}

// Traits says that batches last about 2 ms, two of them in a worker's hands.
func (b *Backend) Traits() backend.Traits {
	t := backend.Traits{Name: "processes", InFlight: board.Slots, Batch: 2 * time.Millisecond, MaxBatch: board.MaxCalls, Segments: true}
	if b != nil && b.pool != nil {
		t.Grace = b.pool.Grace
	}
	return t
}

// Start lends a worker to a run: an idle one, or a new one, for which it does not wait.
func (b *Backend) Start(ctx context.Context) (backend.Worker, error) {
	switch {
	case b == nil || b.err == nil && b.pool == nil:
		return nil, errors.New("the *processes.Backend is nil, or was not made by processes.New")
	case b.err != nil:
		return nil, b.err
	case child.Inside():
		return nil, errors.New("a worker process cannot start worker processes; Prefer(Processes) runs on goroutines here")
	case !child.Called():
		return nil, errors.New("the program has not called parallel.Main, so that its copies could not become workers; " +
			"make parallel.Main(functions...) the first line of main, and of TestMain in tests")
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return b.pool.lend(backend.Workers(ctx))
}

// CloseIdleWorkers ends all workers of the program that no run has in use, and returns when they have ended.
func CloseIdleWorkers() { closeIdle() }
