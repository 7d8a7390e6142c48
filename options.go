package parallel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/backend/threads"
	"github.com/gojoblib/parallel/internal/child"
	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/plan"
	"github.com/gojoblib/parallel/internal/replay"
	"github.com/gojoblib/parallel/internal/scope"
	"github.com/gojoblib/parallel/internal/wire"
)

// Option sets one thing of a run. One that does not apply to the function it is given to, is given twice or
// contradicts another is an error of the run, before anything has run. A default from With is ignored where it does not
// apply, and an explicit option wins over it.
type Option interface{ apply(*config) }

// config is what the options of one run add up to.
type config struct {
	caller    string          // the function that runs, for errors
	accepts   optionSet       // the options it takes
	given     optionSet       // the explicit ones so far, or those of one With
	defaults  bool            // applying options of a With
	ctx       context.Context // never nil once validated
	n         NJobs           // workers wanted; -1: all CPUs
	hint      Hint            // where to run, when backend is nil
	backend   backend.Backend // the caller's own
	pool      *Pool           // whose workers, when neither of the two says
	fn        any             // that all calls are of; nil: each has its own
	observer  Observer        // nil: none; as those that follow
	trace     *tracer
	explain   func(Explanation)
	progress  io.Writer
	foreign   bool          // applying options of a With outside of the task that starts the run
	entered   bool          // the pool knows of the run
	timeout   time.Duration // per attempt; 0: none
	retry     func(err error, attempt int) (time.Duration, bool)
	keepGoing bool
	batch     int // tasks per chunk or message; 0: by measurement
	window    int // PreDispatch; 0: by measurement
	unordered bool
	seed      uint64
	memo      Memoizer // nil: every call is made
	capsules  string   // where failed calls are kept; empty: nowhere
	faults    []error
}

type optionSet uint32

const (
	optNJobs optionSet = 1 << iota
	optPrefer
	optBackend
	optContext
	optTimeout
	optRetry
	optKeepGoing
	optBatchSize
	optPreDispatch
	optUnordered
	optSeed
	optCapsules
	optMemo
	optOn
	optProgress
	optObserve
	optTrace
	optExplain

	optEverywhere = optPrefer | optBackend | optTimeout | optRetry | optBatchSize | optSeed | optCapsules | optMemo | optOn |
		optProgress | optObserve | optTrace | optExplain
)

var optionNames = map[optionSet]string{
	optNJobs: "NJobs", optPrefer: "Prefer", optBackend: "Backend", optContext: "Context", optTimeout: "Timeout", optRetry: "Retry (or RetryIf)",
	optKeepGoing: "KeepGoing", optBatchSize: "BatchSize", optPreDispatch: "PreDispatch", optUnordered: "Unordered", optSeed: "Seed", optCapsules: "Capsules", optMemo: "Memo", optOn: "On",
	optProgress: "Progress", optObserve: "Observe", optTrace: "Trace", optExplain: "Explain",
}

// whyNot says what to do instead of giving an option to a function that does not take it.
var whyNot = map[optionSet]string{
	optNJobs:       "n is its first argument",
	optContext:     "the context is its first argument",
	optKeepGoing:   "every item of a stream carries its own error, and break stops the run",
	optPreDispatch: "its tasks are all known; PreDispatch is for Stream and Imap",
	optOn:          "it has workers of its own",
	optUnordered:   "its results have their places; use Stream or ImapUnordered",
}

// option is an Option that is nothing else.
type option struct {
	is  optionSet
	set func(*config)
}

func (o option) apply(c *config) {
	if c.take(o.is) {
		o.set(c)
	}
}

// take notes that an option is given and reports whether it counts.
func (c *config) take(o optionSet) bool {
	if c.accepts&o == 0 {
		if !c.defaults {
			why := whyNot[o]
			if o == optUnordered && strings.HasPrefix(c.caller, "Imap") {
				why = "Imap is ordered, ImapUnordered is not"
			}
			if c.caller == "Spawn" && o != optContext {
				why = "it makes one call, once, in a new process"
			}
			c.fault("%s does not apply to %s: %s", optionNames[o], c.caller, why)
		}
		return false
	}
	if c.given&o != 0 {
		c.fault("%s is given twice", optionNames[o])
		return false
	}
	c.given |= o
	return true
}

func (c *config) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(format, args...))
}

type defaultsKey struct{}

// defaults is one With: its options, and the With around it.
type defaults struct {
	opts  []Option
	outer *defaults
	task  *scope.Scope // in which they were made
}

// With returns a context that carries defaults for every run under it, as joblib.parallel_config does: an option given
// to a run wins over them, the innermost With over those around it. Options that do not apply to a run are ignored there.
// Runs that a task starts with its context are under it, too: a Retry here multiplies. (Options given to a run are not
// inherited.)
func With(ctx context.Context, opts ...Option) context.Context {
	if ctx == nil {
		ctx = context.Background()
	}
	outer, _ := ctx.Value(defaultsKey{}).(*defaults)
	return context.WithValue(ctx, defaultsKey{}, &defaults{opts, outer, scope.From(ctx)})
}

// configure adds up the options of a run in c, which says what is asked for so far.
func configure(c *config, opts []Option) {
	for _, o := range opts {
		if o, ok := o.(contextOption); ok && c.accepts&optContext != 0 {
			c.ctx = o.ctx
		}
	}
	if c.ctx == nil {
		c.fault("%s was given a nil context; pass context.Background()", c.caller)
		c.ctx = context.Background()
	}
	if d, ok := c.ctx.Value(defaultsKey{}).(*defaults); ok {
		c.inherit(d)
	}
	c.inheritPool(opts)
	for _, o := range opts {
		if o == nil {
			c.fault("a nil Option is given to %s", c.caller)
			continue
		}
		o.apply(c)
	}
	c.contradictions()
	if c.n == 0 {
		what := "NJobs(0)"
		if c.accepts&optNJobs == 0 {
			what = "n = 0"
		}
		c.fault("%s means no worker at all: use -1 for all CPUs, 1 for one task at a time", what)
	}
}

// inheritPool applies the options of the pool that the run is on, as On among its own options or its defaults says. An
// explicit Prefer or Backend wins over a default.
func (c *config) inheritPool(opts []Option) {
	own, elsewhere := false, false
	for _, o := range opts {
		switch o := o.(type) {
		case onOption:
			c.pool, own = o.pool, true
		case option:
			elsewhere = elsewhere || o.is&(optPrefer|optBackend) != 0
		}
	}
	if elsewhere && !own || c.pool == nil || c.pool.pool == nil || c.accepts&optOn == 0 {
		c.pool = nil
		return
	}
	c.inherit(&defaults{opts: c.pool.opts})
}

func (c *config) contradictions() {
	if c.given&optOn != 0 && c.pool != nil {
		switch {
		case c.given&optBackend != 0:
			c.fault("On and Backend are both given: each says where tasks run")
		case c.given&optPrefer != 0 && c.hint != c.pool.hint:
			c.fault("On and a Prefer that does not agree are both given: the pool's workers are what they are")
		}
	}
	if c.trace != nil && c.progress != nil && newScreen(c.trace.w).same(newScreen(c.progress)) {
		c.fault("Trace and Progress have the same writer: give the trace a file of its own")
		c.progress = nil
	}
	if c.given&optPrefer != 0 && c.given&optBackend != 0 {
		c.fault("Prefer and Backend are both given: each says where tasks run")
	}
}

// inherit applies the defaults of a With and of those around it, the outermost first.
func (c *config) inherit(d *defaults) {
	if d.outer != nil {
		c.inherit(d.outer)
	}
	c.defaults, c.foreign = true, d.task != scope.From(c.ctx)
	for _, o := range d.opts {
		if o == nil {
			c.fault("a nil Option is given to With")
			continue
		}
		o.apply(c)
	}
	c.contradictions()
	c.defaults, c.foreign, c.given = false, false, 0
}

// spec is the run as the dispatcher wants it, or all that is wrong with it.
func (c *config) spec() (dispatch.Spec, error) {
	err := errors.Join(c.faults...)
	n := int(c.n)
	if n < 0 {
		cpus, fault := cpus()
		n = plan.Workers(n, cpus)
		err = errors.Join(err, fault)
	}
	b := c.backend
	if b == nil {
		b = threads.Backend{}
		if c.hint == Processes && !child.Inside() {
			b = workerProcesses
		}
	}
	var slots *dispatch.Pool
	if p := c.pool; p != nil {
		b, n, slots = p.backend, p.workers(c.n), p.slots
	}
	spec := dispatch.Spec{
		Pool:    slots,
		Context: c.ctx, Backend: b, N: n, KeepGoing: c.keepGoing, Timeout: c.timeout, Retry: c.retry, Batch: c.batch, Seed: c.seed,
	}
	if c.capsules != "" {
		spec.Keep = c.keep
	}
	c.attend(&spec)
	return spec, err
}

// workerProcesses is where Prefer(Processes) runs.
var workerProcesses = processes.New(processes.Options{})

// NJobs is a number of workers: 4 is four, -1 all CPUs, -2 all but one, and so on, but never below 1; 0 is an error
// of the run. More than there are CPUs is allowed, which is what tasks that wait want. It is also an Option where the
// number of workers is not the first argument (Map, Imap, Starmap); the default is -1.
//
// CPUs are what the Go scheduler gives this process (GOMAXPROCS, which heeds CPU affinity and cgroup quotas), capped by
// the environment variable PARALLEL_MAX_JOBS.
type NJobs int

// Workers returns how many workers n stands for on this machine, at least 1: joblib.effective_n_jobs.
func (n NJobs) Workers() int {
	cpus, _ := cpus()
	return plan.Workers(int(n), cpus)
}

func (n NJobs) apply(c *config) {
	if c.take(optNJobs) {
		c.n = n
	}
}

// maxJobs is the environment variable that caps what this program takes for the number of CPUs.
const maxJobs = "PARALLEL_MAX_JOBS"

func cpus() (int, error) {
	n := runtime.GOMAXPROCS(0)
	limit := os.Getenv(maxJobs)
	if limit == "" {
		return n, nil
	}
	m, err := strconv.Atoi(limit)
	if err != nil || m < 1 {
		return n, fmt.Errorf("the environment variable %s is %q: it must be a whole number of at least 1", maxJobs, limit)
	}
	return min(n, m), nil
}

// Hint says where tasks run.
type Hint int

const (
	Threads   Hint = iota // on goroutines of this process
	Processes             // in copies of this program, which can be killed and crash alone
)

// Prefer says where tasks run: Threads, the default, or Processes. It is a demand: what cannot be had is an error of the
// run, except inside a worker process, where tasks always run on goroutines.
func Prefer(h Hint) Option {
	return option{optPrefer, func(c *config) {
		if h != Threads && h != Processes {
			c.fault("Prefer(%d): it takes Threads or Processes", int(h))
		}
		c.hint, c.backend = h, nil
	}}
}

// Backend says that tasks run on workers of b. The run starts as many as it needs and closes them before it returns.
func Backend(b backend.Backend) Option {
	return option{optBackend, func(c *config) {
		if b == nil {
			c.fault("Backend(nil): give a backend, or leave the option out")
		}
		c.backend = b
	}}
}

type contextOption struct {
	option
	ctx context.Context
}

// Context gives a Parallel or Stream its context: when it ends, no task is started any more, the contexts of those
// running end, and the run returns its cause. Inside a task it should come from the task's own context, which lets
// the inner run share the outer one's workers. The default is context.Background().
func Context(ctx context.Context) Option {
	return contextOption{option{optContext, func(*config) {}}, ctx}
}

// Timeout bounds each attempt of a task, from its start. At the deadline the task's context ends, and it fails with
// ErrTimeout whatever it returns after that; only that task fails. A goroutine cannot be killed: one that has not
// returned 100 ms after its deadline is abandoned, which means that it may run on beyond the run and beyond n, that
// its late result is dropped, and that it is not retried. More than n abandoned ones end the run. A worker process is
// killed then (processes.Options.Grace says when), whatever the task does, and another takes its place.
//
// On goroutines it costs about 1 µs per task and makes chunks of one, unless BatchSize says otherwise.
func Timeout(d time.Duration) Option {
	return option{optTimeout, func(c *config) {
		if d <= 0 {
			c.fault("Timeout(%v): it must be positive; leave it out for no timeout", d)
		}
		c.timeout = d
	}}
}

// Retry gives a task that failed, panicked, timed out or lost its worker up to n further attempts, at once. One that
// returns context.Canceled, for whatever reason, is not repeated, nor is one that cannot run at all (misuse, values
// that cannot be sent). The failure reported is the last attempt's; where the run was stopped before that ended, the one
// before it.
func Retry(n int) Option {
	return option{optRetry, func(c *config) {
		if n < 0 {
			c.fault("Retry(%d): it must not be negative", n)
		}
		c.retry = nil // also where a With says otherwise
		if n > 0 {
			c.retry = func(_ error, attempt int) (time.Duration, bool) { return 0, attempt <= n }
		}
	}}
}

// RetryIf lets f decide after each failed attempt, counted from 1, whether the task gets another and how long it
// waits for that; waiting holds no worker. f may be called by several goroutines at once. What Retry never repeats is
// not asked.
func RetryIf(f func(err error, attempt int) (wait time.Duration, again bool)) Option {
	return option{optRetry, func(c *config) {
		if f == nil {
			c.fault("RetryIf(nil): give a function, or leave the option out")
		}
		c.retry = f
	}}
}

// KeepGoing runs all tasks whatever happens and reports every failure. Without it the first failure stops the run.
func KeepGoing() Option { return option{optKeepGoing, func(c *config) { c.keepGoing = true }} }

// BatchSize makes workers take n tasks at a time. By default they take one at first, and soon as many as last 50 µs
// on goroutines or 2 ms elsewhere. Tasks that wait for one another need BatchSize(1), and a worker each.
func BatchSize(n int) Option {
	return option{optBatchSize, func(c *config) {
		if n < 1 {
			c.fault("BatchSize(%d): it must be at least 1; leave it out to have it measured", n)
		}
		c.batch = n
	}}
}

// PreDispatch bounds how many inputs of a Stream or Imap are drawn whose results have not been consumed. By default
// that is twice the workers while tasks last a millisecond or more, and what keeps each worker busy for two, but no more
// than 2,048, while they are faster.
func PreDispatch(n int) Option {
	return option{optPreDispatch, func(c *config) {
		if n < 1 {
			c.fault("PreDispatch(%d): it must be at least 1; leave it out to have it measured", n)
		}
		c.window = n
	}}
}

// Unordered makes a Stream hand out results as they complete instead of in the order of its tasks.
func Unordered() Option { return option{optUnordered, func(c *config) { c.unordered = true }} }

// Seed sets the run's seed, from which every task's is derived together with its index (see TaskFrom). The default is
// 0: two runs draw the same numbers unless told otherwise.
func Seed(seed uint64) Option { return option{optSeed, func(c *config) { c.seed = seed }} }

// Capsules keeps every task that fails for good in a file of its own in dir, its arguments and all:
//
//	PARALLEL_REPLAY=dir/main.extract-123.capsule ./program
//
// makes that one call again, inside parallel.Main, alone and without workers: for a debugger. TaskError.Capsule is the
// path. Only the build of the program that wrote a capsule replays it. Functions must be registered, as for Processes;
// on goroutines the arguments are written as the task has left them. Files are never removed; they are readable by the
// user alone, as arguments may be.
func Capsules(dir string) Option {
	return option{optCapsules, func(c *config) {
		if dir == "" {
			c.fault("Capsules: the directory has no name")
		}
		c.capsules = dir
	}}
}

// keep writes the capsule of a task that has failed.
func (c *config) keep(e *TaskError, w dispatch.Work) (string, error) {
	var b wire.Batch
	b.Begin(wire.Head{Seed: c.seed, Attempt: e.Attempts}, false)
	add := w.Append
	if d, ok := w.(*desk); ok {
		add = d.encode
	}
	err := add(&b, e.Index)
	if err == nil {
		var path string
		if path, err = replay.Write(c.capsules, e.Name, e.Err, &b); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("writing the capsule of task %d: %w", e.Index, err)
}

// Memoizer keeps the results of calls and knows them again. *memo.Memory is one.
type Memoizer interface {
	// Lookup asks for the result of fn(args...), a leading context not counted. One of these holds:
	//   - hit: value is the result, of the function's result type (nil if it has none).
	//   - made is not nil: nobody has it. The caller makes the call, and calls made once: with the value, before anybody has it
	//     who may write to it, or ok false. took is 0 for a call that was not begun.
	//   - wait is not nil: somebody else is making the call. wait has again called, once, on a goroutine of its own, when it
	//     is worth asking again; stop ends that.
	//   - err says why calls of fn, or with these arguments, cannot be kept.
	//   - none: the call should be made, and nobody wants to know.
	Lookup(fn any, args []any) (value any, hit bool, made func(value any, took time.Duration, ok bool), wait func(again func()) (stop func()), err error)
}

// Memo looks every call up before it is made, and keeps its result: joblib's Memory.cache. Nothing is sent to a worker for a
// call whose result is known; of equal calls, in this run, in others and in other processes with the same folder, one
// is made and the others wait for it, without holding a worker. Errors are not kept. See package memo for what makes
// calls equal.
func Memo(m Memoizer) Option {
	return option{optMemo, func(c *config) {
		if m == nil {
			c.fault("Memo(nil): give a *memo.Memory, or leave the option out")
		}
		c.memo = m
	}}
}
