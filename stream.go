package parallel

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/plan"
)

// Result is one result of a Stream.
type Result struct {
	Index    int           // the task's number in the order it was drawn, from 0; -1 for a fault of the run itself
	Value    any           // what the function returned; nil when it failed
	Attempts int           // how often it was started
	Cached   bool          // it came from a cache (see Memo): Attempts is 0
	Elapsed  time.Duration // how long the last attempt took
}

// Stream runs tasks as they are drawn from an iterator and hands out the results as an iterator, in the order of
// the tasks, or with Unordered as they complete: joblib's return_as="generator" and "generator_unordered".
//
//	for r, err := range Stream(4)(tasks) {
//
// Both ends are lazy: nothing is drawn before the loop begins, and then no more than PreDispatch allows beyond what
// the loop has taken, so that endless inputs work and memory is bounded. Every result carries its own error, a
// *TaskError; a failure stops nothing, leaving the loop does. When the loop statement ends, by whatever way, all
// tasks and the input have ended, too: a task should watch its context, and an input that can block for ever a
// context of its own. A cancelled context or a faulty option comes as the last item, a *RunError with Index -1.
//
// tasks is drawn on one goroutine of its own. If it panics, the loop panics with the same value after the earlier
// results; if it calls runtime.Goexit, the last item is an error. With n = 1 each task is drawn after the
// last one has ended, which costs half a microsecond each.
func Stream[N int | NJobs](n N, opts ...Option) func(tasks iter.Seq[Task]) iter.Seq2[Result, error] {
	c := &config{caller: "Stream", accepts: optEverywhere | optContext | optPreDispatch | optUnordered, ctx: context.Background(), n: NJobs(n)}
	configure(c, opts)
	return func(tasks iter.Seq[Task]) iter.Seq2[Result, error] {
		return func(yield func(Result, error) bool) {
			run(c, taskLane, tasks, !c.unordered, true, func(i int, s *slot[Task, any]) bool {
				if s.err != nil {
					return yield(Result{Index: i, Attempts: s.attempts, Elapsed: s.elapsed}, s.err)
				}
				return yield(Result{Index: i, Value: s.out, Attempts: s.attempts, Elapsed: s.elapsed, Cached: s.cached}, nil)
			}, func(err error) { yield(Result{Index: -1}, err) })
		}
	}
}

// Imap is Map for inputs that are drawn lazily and results that are wanted as they come, in the order of the
// inputs: Pool.imap. What Stream says of laziness, errors and leaving the loop holds here; a fault of the run is
// the last item.
func Imap[A, R any](ctx context.Context, in iter.Seq[A], fn func(context.Context, A) (R, error), opts ...Option) iter.Seq2[R, error] {
	return imap(&config{caller: "Imap", ctx: ctx}, in, fn, opts, true)
}

// ImapUnordered is Imap with the results as they complete: Pool.imap_unordered.
func ImapUnordered[A, R any](ctx context.Context, in iter.Seq[A], fn func(context.Context, A) (R, error), opts ...Option) iter.Seq2[R, error] {
	return imap(&config{caller: "ImapUnordered", ctx: ctx}, in, fn, opts, false)
}

func imap[A, R any](c *config, in iter.Seq[A], fn func(context.Context, A) (R, error), opts []Option, ordered bool) iter.Seq2[R, error] {
	c.accepts, c.n = optEverywhere|optNJobs|optPreDispatch, -1
	configure(c, opts)
	l := funcLane(c, fn, fn != nil)
	return func(yield func(R, error) bool) {
		run(c, l, in, ordered, false, func(_ int, s *slot[A, R]) bool { return yield(s.out, s.err) },
			func(err error) {
				var none R
				yield(none, err)
			})
	}
}

// run runs a stream and hands each slot to yield, and a fault of the run, at the end, to fault.
func run[A, R any](c *config, l lane[A, R], in iter.Seq[A], ordered, timed bool, yield func(int, *slot[A, R]) bool, fault func(error)) {
	spec, err := c.spec()
	if in == nil {
		err = errors.Join(err, fmt.Errorf("%s was given a nil input", c.caller))
	}
	w := &belt[A, R]{lane: l, timed: timed, blocks: map[int]*block[A, R]{}}
	leave := func() {}
	if err == nil {
		leave, err = c.join(&spec)
	}
	if err != nil {
		fault(dispatch.Refuse(spec, w, -1, &RunError{Cause: err}))
		return
	}
	defer leave()
	w.recall(c, &spec)
	var at *block[A, R] // the block that is being handed out, when it is the same as last time
	atID := -1
	failed := dispatch.Stream(dispatch.StreamSpec{Spec: spec, Window: c.window, Ordered: ordered}, w,
		func(src *dispatch.Source) { w.fill(src, in) },
		func(i int) bool {
			if id := i / plan.Block; id != atID {
				at, atID = w.block(id), id
			}
			s := &at.slots[i%plan.Block]
			more := yield(i, s)
			*s = slot[A, R]{}
			if at.left--; at.left == 0 {
				w.drop(atID)
				atID = -1
			}
			return more
		})
	if failed != nil {
		fault(failed)
	}
}

// belt is the work of a stream: its items lie in blocks, which come and go.
type belt[A, R any] struct {
	lane[A, R]
	timed bool    // someone wants to know how long each took
	memo  *recall // nil: every call is made

	mu     sync.Mutex
	blocks map[int]*block[A, R]
	spare  []*block[A, R] // empty ones, to be used again
}

type block[A, R any] struct {
	slots [plan.Block]slot[A, R]
	left  int // slots that have not been handed out
}

type slot[A, R any] struct {
	in       A
	out      R
	err      error
	attempts int
	elapsed  time.Duration
	cached   bool
}

// recall makes the run look its calls up, if the options say so.
func (w *belt[A, R]) recall(c *config, spec *dispatch.Spec) {
	if c.memo == nil {
		return
	}
	w.memo = &recall{
		memo:    c.memo,
		declare: func(i int) declared { return w.declare(w.slot(i).in) },
		put: func(i int, value any) {
			s := w.slot(i)
			s.out, s.cached = as[R](value), true
		},
	}
	spec.Memo = w.memo
}

func (w *belt[A, R]) block(id int) *block[A, R] {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blocks[id]
}

// add makes room for the items of another block.
func (w *belt[A, R]) add(id int) *block[A, R] {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b *block[A, R]
	if n := len(w.spare) - 1; n >= 0 {
		b, w.spare = w.spare[n], w.spare[:n]
	} else {
		b = &block[A, R]{}
	}
	b.left = plan.Block
	w.blocks[id] = b
	return b
}

// drop forgets a block whose results have all been handed out.
func (w *belt[A, R]) drop(id int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spare = append(w.spare, w.blocks[id])
	delete(w.blocks, id)
}

// fill puts the inputs on the belt.
func (w *belt[A, R]) fill(src *dispatch.Source, in iter.Seq[A]) {
	var b *block[A, R]
	for a := range in {
		i := src.Next()
		if i%plan.Block == 0 {
			b = w.add(i / plan.Block)
		}
		b.slots[i%plan.Block].in = a
		if !src.Put() {
			return
		}
	}
}

func (w *belt[A, R]) slot(i int) *slot[A, R] { return &w.block(i / plan.Block).slots[i%plan.Block] }

func (w *belt[A, R]) Run(t *dispatch.Thread, lo, hi int) int {
	ctx, fn, b, stop, plain := t.Context(), w.fn, w.block(lo/plan.Block), t.Stop(), t.Plain()
	if w.memo != nil {
		fn = noting(w.memo, fn)
	}
	i := lo
	for ; i < hi && !stop.Load(); i++ {
		t.Index = i
		s := &b.slots[i%plan.Block]
		var start time.Time
		if w.timed {
			start = time.Now()
		}
		a := s.in
		if !plain {
			t.Begun()
		}
		r, err := fn(ctx, a)
		if w.timed {
			t.Took = time.Since(start)
		}
		if err == nil && plain || t.Ended(err) {
			s.out, s.attempts, s.elapsed = r, t.Attempt, t.Took
		}
		t.Publish()
	}
	return i
}

// Name is also asked by TaskFrom, hence perhaps by what has outlived its call.
func (w *belt[A, R]) Name(i int) string {
	b := w.block(i / plan.Block)
	if b == nil {
		return ""
	}
	return w.name(&b.slots[i%plan.Block].in)
}

func (w *belt[A, R]) Args(i int) string { return shorten(w.declare(w.slot(i).in).args) }

// Fail keeps a failure in its item's place.
func (w *belt[A, R]) Fail(i int, err *TaskError, took time.Duration) {
	s := w.slot(i)
	s.err, s.attempts, s.elapsed = err, err.Attempts, took
}
