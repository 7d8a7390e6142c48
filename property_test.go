package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"pgregory.net/rapid"
)

// place is where a run takes place; each run needs a new one.
type place struct {
	remote *testkit.Remote // nil: goroutines

}

func (p place) String() string {
	if p.remote == nil {
		return "threads"
	}
	return fmt.Sprintf("remote{Seed: %d, Delay: %v, Reorder: %.2f, Redeliver: %.2f, Lose: %.2f, Room: %d, Vague: %t}",
		p.remote.Seed, p.remote.Delay, p.remote.Reorder, p.remote.Redeliver, p.remote.Lose, p.remote.Room, p.remote.Vague)
}

func (p place) option() Option {
	if p.remote == nil {
		return Prefer(Threads)
	}
	return Backend(p.remote)
}

func drawPlace(rt *rapid.T) place {
	if rapid.IntRange(0, 2).Draw(rt, "threads") == 0 {
		return place{}
	}
	chance := rapid.SampledFrom([]float64{0, 0, .1, .5})
	r := &testkit.Remote{
		Seed:      rapid.Uint64().Draw(rt, "seed"),
		Delay:     rapid.SampledFrom([]time.Duration{0, 0, 50 * time.Microsecond, 10 * time.Millisecond}).Draw(rt, "delay"),
		Reorder:   chance.Draw(rt, "reorder"),
		Redeliver: chance.Draw(rt, "redeliver"),
		Lose:      rapid.SampledFrom([]float64{0, 0, .02, .3}).Draw(rt, "lose"),
		Vague:     rapid.IntRange(0, 3).Draw(rt, "vague") == 0,
	}
	if r.Delay == 0 { // a bubble's time stands still while a mutex is waited for, as it is behind a full link
		r.Room = rapid.SampledFrom([]int{0, 0, 1, 5}).Draw(rt, "room")
	}
	return place{r}
}

// terms are the options of a run.
type terms struct {
	n, batch, retries int
	keepGoing         bool
	timeout           time.Duration
	place             place
}

func drawTerms(rt *rapid.T) terms {
	return terms{
		n:         rapid.IntRange(1, 8).Draw(rt, "n"),
		batch:     rapid.IntRange(0, 6).Draw(rt, "batch"),
		retries:   rapid.IntRange(0, 3).Draw(rt, "retries"),
		keepGoing: rapid.Bool().Draw(rt, "keepGoing"),
		place:     drawPlace(rt),
	}
}

func (c terms) String() string {
	return fmt.Sprintf("n=%d batch=%d retries=%d keepGoing=%t timeout=%v on %v", c.n, c.batch, c.retries, c.keepGoing, c.timeout, c.place)
}

// options returns those of a stream; a finite run may have KeepGoing beside them.
func (c terms) options() []Option {
	opts := []Option{c.place.option()}
	if c.batch > 0 {
		opts = append(opts, BatchSize(c.batch))
	}
	if c.retries > 0 {
		opts = append(opts, Retry(c.retries))
	}
	if c.timeout > 0 {
		opts = append(opts, Timeout(c.timeout))
	}
	return opts
}

// drawDeeds draws what up to most calls do. Those that wait for their context are drawn only where there is a Timeout
// to end it, and deaf ones only as many as the run puts up with, and where they cannot be retried: on goroutines they
// would not be.
func (c *terms) drawDeeds(rt *rapid.T, l *ledger, most int) []deed {
	fates := []fate{errs, panics, exits}
	if rapid.IntRange(0, 3).Draw(rt, "timeout") == 0 {
		c.timeout = 50 * time.Millisecond
		if r := c.place.remote; r != nil { // news that is late by more than a call's grace costs a mate its worker
			r.Delay = min(r.Delay, 50*time.Microsecond)
		}
		fates = append(fates, late)
		if c.retries == 0 {
			fates = append(fates, deaf)
		}
	}
	if c.place.remote != nil {
		fates = append(fates, crashes)
	}
	deeds := l.deeds(rapid.IntRange(0, most).Draw(rt, "tasks"))
	trouble := rapid.SampledFrom([]int{0, 1, 2, 10}).Draw(rt, "trouble") // every so many deeds fail
	slow := rapid.SampledFrom([]time.Duration{0, 10 * time.Microsecond, time.Millisecond}).Draw(rt, "slow")
	ndeaf := 0
	for i := range deeds {
		d := &deeds[i]
		if slow > 0 {
			d.Takes = slow * time.Duration(rapid.IntRange(0, 3).Draw(rt, "takes"))
		}
		if trouble == 0 || rapid.IntRange(1, trouble).Draw(rt, "fails") > 1 {
			continue
		}
		d.How = rapid.SampledFrom(fates).Draw(rt, "how")
		d.Fails = rapid.IntRange(1, 4).Draw(rt, "attempts")
		if d.How == deaf {
			if ndeaf++; ndeaf > c.n {
				d.How = late
			}
		}
	}
	return deeds
}

// bubble runs f with time of its own: nothing in it takes longer for being scheduled late, waiting costs nothing, and
// a wait that nobody ends is found at once. It returns when the last goroutine has ended, abandoned calls included.
func bubble(t *testing.T, l *ledger, f func() error) (err error) {
	synctest.Test(t, func(*testing.T) {
		l.closed = make(chan struct{})
		err = f()
		l.close()
		time.Sleep(time.Hour)
	})
	return err
}

// within draws the time that a run takes place in: a bubble's or, where nothing depends on it and little is waited
// for, the clock's.
func (c *terms) within(rt *rapid.T) func(*testing.T, *ledger, func() error) error {
	r := c.place.remote
	if c.timeout > 0 || r != nil && (!c.keepGoing || r.Delay > 0) || rapid.Bool().Draw(rt, "bubble") {
		return bubble
	}
	return func(_ *testing.T, l *ledger, f func() error) error {
		defer l.close()
		return f()
	}
}

func TestParallelEqualsTheLoop(t *testing.T) {
	testkit.Clean(t)
	rapid.Check(t, func(rt *rapid.T) {
		l, c := newLedger(60), drawTerms(rt)
		deeds := c.drawDeeds(rt, l, 60)
		typed := rapid.Bool().Draw(rt, "typed")
		err := c.within(rt)(t, l, func() error {
			opts := c.options()
			if c.keepGoing {
				opts = append(opts, KeepGoing())
			}
			var got []int
			var err error
			if typed {
				got, err = Map(context.Background(), deeds, do, append(opts, NJobs(c.n))...)
			} else {
				got, err = Collect[int](Parallel(c.n, opts...)(Each(do, deeds)...))
			}
			return c.verify(l, deeds, got, err)
		})
		if err != nil {
			rt.Fatalf("%v\n%v", &c, err)
		}
	})
}

// verify says in what a run differs from the plain loop over its deeds.
func (c *terms) verify(l *ledger, deeds []deed, got []int, err error) error {
	if len(got) != len(deeds) {
		return fmt.Errorf("%d results for %d tasks", len(got), len(deeds))
	}
	failures := map[int]*TaskError{}
	last := -1
	for _, f := range Failures(err) {
		if f.Index <= last {
			return fmt.Errorf("the failures are not in order: %v", err)
		}
		last = f.Index
		failures[f.Index] = f
	}
	stopped := len(failures) > 0 && !c.keepGoing
	notRun := 0
	for i, d := range deeds {
		starts := int(l.started[i].Load())
		f := failures[i]
		switch {
		case starts > c.retries+1:
			return fmt.Errorf("task %d was started %d times", i, starts)
		case f != nil:
			if fault := c.failure(d, f, starts); fault != nil {
				return fault
			}
			if got[i] != 0 {
				return fmt.Errorf("task %d failed and has the result %d", i, got[i])
			}
		case starts == 0 && !c.mayCrash():
			notRun++
			if !stopped || got[i] != 0 {
				return fmt.Errorf("task %d was not run, its result is %d, the error %v", i, got[i], err)
			}
		case stopped && got[i] == 0 && d.Fails > 0 && (d.How == late || d.How == deaf): // the stop ended it
		case stopped && c.mayCrash(): // its worker may have died at the stop, before its start or later
			if got[i] != 0 && got[i] != square(i) {
				return fmt.Errorf("task %d returned %d", i, got[i])
			}
		case d.Fails > c.retries && !stopped:
			return fmt.Errorf("task %d, which %v, has not failed: %v", i, d.How, err)
		case d.Fails > 0 && stopped && got[i] == 0:
			return fmt.Errorf("task %d was run, %v, and is neither a failure nor a result: %v", i, d.How, err)
		case got[i] != square(i):
			return fmt.Errorf("task %d returned %d after %d starts: %v", i, got[i], starts, err)
		}
	}
	switch run, _ := errors.AsType[*RunError](err); {
	case len(failures) == 0 && err != nil:
		return fmt.Errorf("no task failed, and the error is %w", err)
	case !c.mayCrash() && notRun > 0 != errors.Is(err, ErrNotRun):
		return fmt.Errorf("%d tasks were not run, and the error is %w", notRun, err)
	case run != nil && !c.mayCrash() && run.NotRun != notRun:
		return fmt.Errorf("%d tasks were not run, and the error counts %d", notRun, run.NotRun)
	case run != nil && run.Cause != nil:
		return fmt.Errorf("the run has a fault: %w", err)
	}
	if r := c.place.remote; r != nil {
		if n := r.Open(); n != 0 {
			return fmt.Errorf("%d workers were not closed", n)
		}
	}
	return missing(got, err)
}

// missing says in what the ranges of tasks without a result are not those without one; no result is 0.
func missing(got []int, err error) error {
	want := map[int]bool{}
	if run, ok := errors.AsType[*RunError](err); ok {
		for _, m := range run.Missing {
			for i := m.Lo; i < m.Hi; i++ {
				want[i] = true
			}
		}
	}
	for i, v := range got {
		if (v == 0) != want[i] {
			return fmt.Errorf("task %d has the result %d; missing: %t", i, v, want[i])
		}
	}
	return nil
}

// failure says in what f is not what a deed comes to.
func (c *terms) failure(d deed, f *TaskError, starts int) error {
	if f.Name != "github.com/gojoblib/parallel_test.do" || f.Args == "" {
		return fmt.Errorf("task %d is called %s(%s)", f.Index, f.Name, f.Args)
	}
	_, crashed := f.Err.(*CrashError)
	crashed = crashed && c.mayCrash()
	switch {
	case f.Attempts < 1 || f.Attempts > c.retries+1, f.Attempts <= c.retries && c.keepGoing:
		return fmt.Errorf("task %d was given up after %d of %d attempts", f.Index, f.Attempts, c.retries+1)
	case starts != f.Attempts && !c.mayCrash() && (c.keepGoing || starts != f.Attempts+1): // the stop may have cut a further one
		return fmt.Errorf("task %d was started %d times, and reported after %d: %w", f.Index, starts, f.Attempts, f)
	case !crashed && d.Fails < f.Attempts, !crashed && !d.How.is(f.Err, d.Index):
		return fmt.Errorf("task %d, which %v %d times, failed with %v (%T)", f.Index, d.How, d.Fails, f.Err, f.Err)
	}
	return nil
}

// mayCrash reports whether a task's failure can be that of a mate on the same worker, or of chance.
func (c *terms) mayCrash() bool {
	return c.place.remote != nil && (c.place.remote.Lose > 0 || c.place.remote.Vague)
}

// flow is how a stream is fed and consumed.
type flow struct {
	terms
	how     string // the function that streams
	window  int    // PreDispatch; 0: automatic
	end     string // how the input ends
	taken   int    // the consumer leaves after so many results
	leaving string // and how
}

func (f *flow) String() string {
	return fmt.Sprintf("%s window=%d, the input %s, the consumer %s after %d, %v", f.how, f.window, f.end, f.leaving, f.taken, &f.terms)
}

// item is one result of a stream; index is -1 for a fault of the run, and -2 where it is not told.
type item struct {
	index, value int
	err          error
}

const untold = -2

func (f *flow) ordered() bool { return f.how == "Stream" || f.how == "Imap" }

// items runs the stream.
func (f *flow) items(in iter.Seq[deed]) iter.Seq[item] {
	opts := f.options()
	if f.window > 0 {
		opts = append(opts, PreDispatch(f.window))
	}
	typed := func(s iter.Seq2[int, error]) iter.Seq[item] {
		return func(yield func(item) bool) {
			for v, err := range s {
				if !yield(item{untold, v, err}) {
					return
				}
			}
		}
	}
	switch f.how {
	case "Imap":
		return typed(Imap(context.Background(), in, do, append(opts, NJobs(f.n))...))
	case "ImapUnordered":
		return typed(ImapUnordered(context.Background(), in, do, append(opts, NJobs(f.n))...))
	case "Stream unordered":
		opts = append(opts, Unordered())
	}
	tasks := func(yield func(Task) bool) {
		for d := range in {
			if !yield(Delayed(do, d)) {
				return
			}
		}
	}
	return func(yield func(item) bool) {
		for r, err := range Stream(f.n, opts...)(tasks) {
			v, _ := r.Value.(int)
			if !yield(item{r.Index, v, err}) {
				return
			}
		}
	}
}

func TestStreamsEqualTheLoop(t *testing.T) {
	testkit.Clean(t)
	rapid.Check(t, func(rt *rapid.T) {
		l := newLedger(60)
		f := &flow{terms: drawTerms(rt)}
		f.keepGoing = true // every item has its own error
		deeds := f.drawDeeds(rt, l, 60)
		f.how = rapid.SampledFrom([]string{"Stream", "Stream unordered", "Imap", "ImapUnordered"}).Draw(rt, "how")
		f.window = rapid.IntRange(0, 12).Draw(rt, "window")
		f.end = rapid.SampledFrom([]string{"returns", "returns", "panics", "exits"}).Draw(rt, "end")
		f.leaving = rapid.SampledFrom([]string{"stays", "breaks", "panics", "exits"}).Draw(rt, "leaving")
		if f.leaving != "stays" {
			f.taken = rapid.IntRange(1, len(deeds)+1).Draw(rt, "taken")
		}
		if err := f.within(rt)(t, l, func() error { return f.run(l, deeds) }); err != nil {
			rt.Fatalf("%v\n%v", f, err)
		}
	})
}

// run streams deeds and says in what that differs from a plain loop.
func (f *flow) run(l *ledger, deeds []deed) error {
	var (
		consumed atomic.Int64
		drawn    int
		greedy   error
		got      []item
		pure     = f.place.remote == nil && f.timeout == 0 // a call has ended when it is reported
	)
	in := func(yield func(deed) bool) {
		for _, d := range deeds {
			if drawn++; f.window > 0 && drawn > int(consumed.Load())+f.window {
				greedy = fmt.Errorf("%d inputs were drawn when %d results had been consumed", drawn, consumed.Load())
			}
			if f.n == 1 && pure && l.running.Load() > 0 {
				greedy = fmt.Errorf("input %d was drawn while the one worker ran a task", drawn-1)
			}
			if !yield(d) {
				return
			}
		}
		switch f.end {
		case "panics":
			panic("the input")
		case "exits":
			runtime.Goexit()
		}
	}
	left, panicked := false, any(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		for it := range f.items(in) {
			got = append(got, it)
			if left = len(got) == f.taken; left {
				switch f.leaving {
				case "panics":
					panic("the consumer")
				case "exits":
					runtime.Goexit()
				}
				break
			}
			consumed.Add(1)
		}
	}()
	<-done
	if greedy != nil {
		return greedy
	}
	if n := l.running.Load(); n > 0 && pure {
		return fmt.Errorf("%d tasks run after the loop", n)
	}
	if r := f.place.remote; r != nil && r.Open() != 0 {
		return fmt.Errorf("%d workers were not closed", r.Open())
	}
	switch {
	case left && f.leaving == "panics":
		if panicked != "the consumer" {
			return fmt.Errorf("the loop panicked with %v", panicked)
		}
	case !left && f.end == "panics":
		if panicked != "the input" {
			return fmt.Errorf("the loop panicked with %v", panicked)
		}
	case panicked == "the input" && f.end == "panics": // it was drawn ahead, and a panic is never swallowed
	case panicked != nil:
		return fmt.Errorf("the loop panicked with %v", panicked)
	}
	if n := len(got) - 1; f.end == "exits" && n >= 0 && got[n].index < 0 && errors.Is(got[n].err, ErrGoexit) && Failures(got[n].err) == nil {
		got = got[:n]
	} else if f.end == "exits" && !left {
		return errors.New("an input that exits was taken for one that returns")
	}
	if !left && len(got) != len(deeds) {
		return fmt.Errorf("%d results of %d inputs", len(got), len(deeds))
	}
	return f.verify(l, deeds, got)
}

// verify says in what the results are not those of the deeds.
func (f *flow) verify(l *ledger, deeds []deed, got []item) error {
	bySquare := map[int]int{}
	for i := range deeds {
		bySquare[square(i)] = i
		if n := int(l.started[i].Load()); n > f.retries+1 {
			return fmt.Errorf("task %d was started %d times", i, n)
		}
	}
	seen := map[int]bool{}
	for at, it := range got {
		failure, failed := it.err.(*TaskError)
		i := it.index
		switch {
		case failed && i == untold:
			i = failure.Index
		case failed && i != failure.Index || it.err != nil && !failed:
			return fmt.Errorf("result %d has the error %v (%T)", i, it.err, it.err)
		case i == untold:
			var ok bool
			if i, ok = bySquare[it.value]; !ok {
				return fmt.Errorf("%d is no result", it.value)
			}
		}
		if seen[i] || i < 0 || i >= len(deeds) {
			return fmt.Errorf("result %d came twice, or is none", i)
		}
		seen[i] = true
		d, starts := deeds[i], int(l.started[i].Load())
		switch {
		case f.ordered() && i != at:
			return fmt.Errorf("result %d came in place of %d", i, at)
		case failed:
			if err := f.failure(d, failure, starts); err != nil {
				return err
			}
			if it.value != 0 {
				return fmt.Errorf("task %d failed and has the result %d", i, it.value)
			}
		case d.Fails > f.retries, it.value != square(i):
			return fmt.Errorf("task %d, which %v %d times, returned %d", i, d.How, d.Fails, it.value)
		}
	}
	return nil
}
