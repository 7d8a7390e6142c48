package parallel

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/scope"
)

// EventKind says what happened.
type EventKind uint8

const (
	RunBegan     EventKind = iota + 1 // nothing has run yet
	TaskStarted                       // a worker has begun an attempt
	TaskFinished                      // it has returned a value
	TaskFailed                        // it has failed for good; with Attempt 0 it was never started
	TaskRetried                       // it has failed and is tried again, unless the run is stopped before
	TaskLost                          // its worker is gone; TaskFailed, TaskRetried or TaskCut follows
	TaskCut                           // it has ended without a result only because the run was stopped
	TaskCached                        // its result came from a cache (see Memo), and nothing was started
	RunEnded                          // the last event of a run
)

var eventNames = [...]string{
	RunBegan: "run began", TaskStarted: "task started", TaskFinished: "task finished", TaskFailed: "task failed", TaskRetried: "task retried",
	TaskLost: "task lost", TaskCut: "task cut short", TaskCached: "task cached", RunEnded: "run ended",
}

func (k EventKind) String() string {
	if k > 0 && int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// Event is one moment of a run, or of one of its tasks.
type Event struct {
	Kind    EventKind
	Index   int    // the task's number in the run, from 0; -1: the event is the run's
	Attempt int    // counted from 1; 0 where nothing was started
	Worker  int    // numbered from 0 within the run; one that replaces another has a number of its own; -1: none was involved
	Name    string // the task's Named name, else its function's
	Time    time.Time
	Took    time.Duration // how long the attempt lasted, or the run; 0 where that is not known
	Args    string        // of TaskFailed: the arguments, shortened, where they were still there
	Err     error         // of TaskFailed, TaskRetried, TaskLost and TaskCut; of RunEnded what the run returns, a *RunError
	Summary *Summary      // of RunEnded
}

// Summary is what has become of the tasks of a run.
type Summary struct {
	Done    int // that have ended for good, Failed and Cached ones included
	Failed  int // those that could not be started, and kept the run from beginning, are not Done but NotRun
	Cached  int
	Retried int // attempts that were followed by another
	Cut     int // that have ended without a result only because the run was stopped
	NotRun  int // that were never started; of a stream, of those drawn
}

// RunInfo is which run an Event belongs to.
type RunInfo struct {
	ID      uint64 // unique in this process
	Caller  string // "Map", "Parallel", "Stream", ...
	Func    string // the function's full name; empty where each task has one of its own
	Backend string // "threads", "processes", or what a backend of one's own is called
	Workers int    // how many it may have
	Total   int    // how many tasks there are; -1 for streams, which do not know
	Began   time.Time
}

// Observer follows runs: for logs, metrics and traces. See Observe.
type Observer interface {
	// Observe is told what has happened in a run, in batches: soon, but not at once. ctx is the run's; run is the same pointer
	// in all calls for one run, and may be kept. events are good until Observe returns; names and errors in them may be kept.
	Observe(ctx context.Context, run *RunInfo, events []Event)
}

// ObserverFunc is an Observer that is called for one event after the other.
type ObserverFunc func(ctx context.Context, run *RunInfo, e Event)

// Observe calls f for each event.
func (f ObserverFunc) Observe(ctx context.Context, run *RunInfo, events []Event) {
	for _, e := range events {
		f(ctx, run, e)
	}
}

// Observe has o told what happens to the run and its tasks: RunBegan first, RunEnded last, between them what happens to
// each task in its order: TaskStarted before all else of that attempt, and at the end, once, TaskFinished, TaskFailed,
// TaskCut or TaskCached, unless it was never started. A worker's events come in its order, too; where workers are
// elsewhere, in that of its news. Those of different workers come in batches of their own, not sorted by Time. A run
// that is refused (faulty options, faulty tasks) is RunBegan, RunEnded, and TaskFailed of the faulty tasks.
//
// Batches come 50 ms after their first event, or earlier: also the start of a task that runs on. The calls of Observe
// for one run come one after the other, on a goroutine of the run's that is none of its workers; different runs call at
// the same time. An o that is slow slows the run, which keeps no more than a thousand events per worker, and one that
// blocks holds its end up. It must not wait for the run's own pool: a worker may be waiting for o. If it panics
// or ends its goroutine, it is told no more of that run, and the run's error has that as its Cause ("Observe: panic: …"):
// its tasks and results are not touched. All that has happened has been told when the run returns.
//
// On worker processes, times are reckoned from how long each task took, and are right to within a message's delay.
// Measured with tasks that do nothing, on two threads, an Observer that does nothing costs some 70 ns per task; where
// nobody observes nothing is spent.
func Observe(o Observer) Option {
	return option{optObserve, func(c *config) {
		if isNil(o) {
			c.fault("Observe(nil): give an Observer, or leave the option out")
			return
		}
		c.observer = o
	}}
}

// isNil reports whether v is nothing, or a nil pointer or function in the guise of something.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Chan, reflect.Slice:
		return r.IsNil()
	}
	return false
}

// runIDs numbers the runs that are followed.
var runIDs atomic.Uint64

// attend sets those to listen that the options name.
func (c *config) attend(spec *dispatch.Spec) {
	if c.observer == nil && c.trace == nil && c.explain == nil && c.progress == nil {
		return
	}
	run := &RunInfo{ID: runIDs.Add(1), Caller: c.caller, Backend: spec.Backend.Traits().Name, Workers: spec.N, Total: -1}
	if c.fn != nil {
		run.Func = funcName(c.fn)
	}
	listen := func(option string, l dispatch.Listener) {
		spec.Listeners = append(spec.Listeners, dispatch.Named{Listener: l, Name: option})
	}
	if c.observer != nil {
		listen("Observe", &audience{Observer: c.observer, ctx: c.ctx, run: run})
	}
	watch := func(counts func() dispatch.Counts) (over func()) { return func() {} }
	if c.progress != nil {
		label := labelOf(c.caller, run.Func)
		watch = func(counts func() dispatch.Counts) func() { return show(c.progress, label, counts) }
		spec.Watch = watch
	}
	if c.trace != nil {
		listen("Trace", c.trace.track(run))
		inner := watch
		watch = func(counts func() dispatch.Counts) func() {
			c.trace.enter()
			return inner(counts)
		}
		spec.Watch = watch
	}
	if c.explain != nil {
		spec.Tally = new(dispatch.Tally)
		q := newInquiry(c.explain, run, spec.Tally, c.pool != nil || scope.From(c.ctx) != nil)
		listen("Explain", q)
		spec.Watch = func(counts func() dispatch.Counts) func() {
			q.count = counts
			return watch(counts)
		}
	}
}

// audience tells an Observer of one run.
type audience struct {
	Observer
	ctx    context.Context
	run    *RunInfo
	events []Event
}

func (a *audience) Begin(_ dispatch.Work, n int, at time.Time) error {
	a.run.Total, a.run.Began = n, at
	a.Observe(a.ctx, a.run, []Event{{Kind: RunBegan, Index: -1, Worker: -1, Time: at}})
	return nil
}

func (a *audience) Tell(events []dispatch.Event) error {
	a.events = a.events[:0]
	for i := range events {
		e := &events[i]
		a.events = append(a.events, Event{
			Kind: kinds[e.Kind], Index: e.Index, Attempt: e.Attempt, Worker: e.Worker,
			Name: e.Name, Args: e.Args, Time: a.run.Began.Add(e.At), Took: e.Took, Err: e.Err,
		})
	}
	a.Observe(a.ctx, a.run, a.events)
	return nil
}

func (a *audience) End(took time.Duration, c dispatch.Counts, err *backend.RunError) error {
	e := Event{Kind: RunEnded, Index: -1, Worker: -1, Time: a.run.Began.Add(took), Took: took, Summary: summaryOf(c)}
	if err != nil {
		e.Err = err
	}
	a.Observe(a.ctx, a.run, []Event{e})
	return nil
}

func summaryOf(c dispatch.Counts) *Summary {
	return &Summary{Done: c.Done, Failed: c.Failed, Cached: c.Cached, Retried: c.Retried, Cut: c.Cut, NotRun: c.NotRun}
}

// kinds are the dispatcher's in the caller's words.
var kinds = [...]EventKind{
	dispatch.Started: TaskStarted, dispatch.Finished: TaskFinished, dispatch.Failed: TaskFailed, dispatch.Retried: TaskRetried,
	dispatch.Lost: TaskLost, dispatch.Cut: TaskCut, dispatch.Cached: TaskCached,
}

// SlogObserver logs runs and their tasks to l: the beginning and end of a run at level Info, Error where it returns an
// error; TaskStarted, TaskFinished and TaskCached at Debug, TaskRetried, TaskLost and TaskCut at Warn, TaskFailed at
// Error. Records carry the time of the event and the run's context. Attributes are run (RunInfo.ID) and caller; index,
// name, attempt, worker, took, args and err, where they mean something; of the run itself fn, where all tasks have one
// function; backend, workers and total at its beginning, the Summary at its end. An err is an error whose text is one line,
// without stacks, and which errors.Is and errors.As look into. Where l is nil, slog.Default() at the time of the run is meant.
func SlogObserver(l *slog.Logger) Observer { return slogObserver{l} }

type slogObserver struct{ *slog.Logger }

func (s slogObserver) Observe(ctx context.Context, run *RunInfo, events []Event) {
	l := s.Logger
	if l == nil {
		l = slog.Default()
	}
	h := l.Handler()
	for i := range events {
		e := &events[i]
		level := slog.LevelDebug
		switch e.Kind {
		case TaskRetried, TaskLost, TaskCut:
			level = slog.LevelWarn
		case TaskFailed:
			level = slog.LevelError
		case RunBegan, RunEnded:
			level = slog.LevelInfo
			if e.Err != nil {
				level = slog.LevelError
			}
		}
		if !h.Enabled(ctx, level) {
			continue
		}
		r := slog.NewRecord(e.Time, level, e.Kind.String(), 0)
		r.AddAttrs(slog.Uint64("run", run.ID), slog.String("caller", run.Caller))
		if e.Index < 0 && run.Func != "" {
			r.AddAttrs(slog.String("fn", run.Func))
		}
		if e.Kind == RunBegan {
			r.AddAttrs(slog.String("backend", run.Backend), slog.Int("workers", run.Workers))
			if run.Total >= 0 {
				r.AddAttrs(slog.Int("total", run.Total))
			}
		}
		if e.Index >= 0 {
			r.AddAttrs(slog.Int("index", e.Index), slog.String("name", e.Name))
		}
		if e.Attempt > 0 {
			r.AddAttrs(slog.Int("attempt", e.Attempt))
		}
		if e.Worker >= 0 {
			r.AddAttrs(slog.Int("worker", e.Worker))
		}
		if e.Took > 0 {
			r.AddAttrs(slog.Duration("took", e.Took))
		}
		if n := e.Summary; n != nil {
			r.AddAttrs(slog.Int("done", n.Done), slog.Int("failed", n.Failed), slog.Int("cached", n.Cached),
				slog.Int("retried", n.Retried), slog.Int("cut", n.Cut), slog.Int("notRun", n.NotRun))
		}
		if e.Args != "" {
			r.AddAttrs(slog.String("args", e.Args))
		}
		if e.Err != nil {
			r.AddAttrs(slog.Any("err", logged{e.Err}))
		}
		_ = h.Handle(ctx, r) // as slog's own functions do
	}
}

// logged is an error in a log. A slog.TextHandler prints errors with %+v, by which those of this package show their
// stacks; this one has no other text than that of one line.
type logged struct{ error }

func (e logged) Error() string { return oneLine(e.error.Error()) }
func (e logged) Unwrap() error { return e.error }

// oneLine joins the lines of a text.
func oneLine(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}
