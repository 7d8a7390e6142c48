package parallel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// chronicle is an Observer that keeps what it is told.
type chronicle struct {
	mu     sync.Mutex
	runs   []*RunInfo
	events map[*RunInfo][]Event

	misordered bool // news of a worker's calls may overtake each other
}

func (c *chronicle) Observe(ctx context.Context, run *RunInfo, events []Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.events == nil {
		c.events = map[*RunInfo][]Event{}
	}
	if c.events[run] == nil {
		c.runs = append(c.runs, run)
	}
	c.events[run] = append(c.events[run], events...)
	if ctx == nil {
		panic("no context")
	}
}

// verify says in what the story of one run, of n tasks called name, whose error was err, cannot be true.
func (c *chronicle) verify(run *RunInfo, n int, name string, err error) error {
	events := c.events[run]
	if len(events) < 2 || events[0].Kind != RunBegan || events[len(events)-1].Kind != RunEnded {
		return fmt.Errorf("the events are %v", events)
	}
	end := events[len(events)-1]
	if fmt.Sprint(end.Err) != fmt.Sprint(err) || end.Summary == nil || end.Index != -1 || end.Took <= 0 {
		return fmt.Errorf("the end is %+v, the error %w", end, err)
	}
	type state struct {
		attempt     int
		began, over bool
	}
	tasks := make([]state, n)
	for i := range tasks {
		tasks[i].attempt = 1
	}
	counts := map[EventKind]int{}
	busy := map[int]int{} // worker -> its task
	last := map[int]time.Time{}
	failed := map[int]Event{}
	for _, e := range events[1 : len(events)-1] {
		if e.Index < 0 || e.Index >= n {
			return fmt.Errorf("an event of task %d of %d: %+v", e.Index, n, e)
		}
		t := &tasks[e.Index]
		counts[e.Kind]++
		unstarted := e.Attempt == 0 && !t.began && (e.Kind == TaskFailed || e.Kind == TaskCached)
		stands := (e.Kind == TaskFailed || e.Kind == TaskCut) && e.Worker < 0 && e.Attempt == t.attempt-1 // the stop came between two attempts
		switch {
		case t.over:
			return fmt.Errorf("task %d goes on after its end: %+v", e.Index, e)
		case e.Attempt != t.attempt && !unstarted && !stands:
			return fmt.Errorf("task %d is at attempt %d: %+v", e.Index, t.attempt, e)
		case (e.Kind == TaskStarted) == t.began && !unstarted && !stands:
			return fmt.Errorf("task %d, begun %t: %+v", e.Index, t.began, e)
		case name != "" && e.Name != name:
			return fmt.Errorf("task %d is called %q", e.Index, e.Name)
		case e.Time.Before(last[e.Worker]) && e.Worker >= 0:
			return fmt.Errorf("worker %d goes back in time: %+v", e.Worker, e)
		case e.Time.Before(run.Began), e.Time.After(end.Time):
			return fmt.Errorf("not between %v and %v: %+v", run.Began, end.Time, e)
		case (e.Err != nil) != (e.Kind == TaskFailed || e.Kind == TaskRetried || e.Kind == TaskLost || e.Kind == TaskCut):
			return fmt.Errorf("an error, or none: %+v", e)
		}
		last[e.Worker] = e.Time
		if at, at2 := busy[e.Worker]; at2 && at != e.Index && e.Kind == TaskStarted && !c.misordered {
			return fmt.Errorf("worker %d is at task %d: %+v", e.Worker, at, e)
		}
		switch e.Kind {
		case TaskStarted:
			t.began = true
			busy[e.Worker] = e.Index
			continue
		case TaskLost:
			continue
		case TaskRetried:
			t.attempt, t.began = t.attempt+1, false
		case TaskFailed:
			failed[e.Index] = e
			fallthrough
		default:
			t.over = true
		}
		delete(busy, e.Worker)
	}
	for i, t := range tasks {
		if t.began && !t.over {
			return fmt.Errorf("task %d never ended", i)
		}
	}
	s := end.Summary
	if s.Done != counts[TaskFinished]+counts[TaskFailed]+counts[TaskCached] || s.Failed != counts[TaskFailed] || s.Cached != counts[TaskCached] || s.Cut != counts[TaskCut] {
		return fmt.Errorf("the end counts %+v, told were %v", *s, counts)
	}
	if run.Total >= 0 {
		if s.Done+s.Cut+s.NotRun != n || run.Total != n {
			return fmt.Errorf("the end counts %+v of %d, which should be %d", *s, run.Total, n)
		}
		for _, f := range Failures(err) {
			e, ok := failed[f.Index]
			if !ok || e.Attempt != f.Attempts && s.Cut+s.NotRun == 0 || e.Name != f.Name || e.Err.Error() != f.Err.Error() {
				return fmt.Errorf("%w was told as %+v", f, e)
			}
			delete(failed, f.Index)
		}
		if len(failed) > 0 {
			return fmt.Errorf("these were told to fail: %v", failed)
		}
	}
	return nil
}

func TestObserversAreToldTheStoryOfARun(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	rapid.Check(t, func(rt *rapid.T) {
		es := drawErrands(rt)
		var c chronicle
		opts := []Option{Observe(&c)}
		backendName := "threads"
		switch rapid.IntRange(0, 3).Draw(rt, "place") {
		case 1:
			c.misordered = true
			opts, backendName = append(opts, Prefer(Processes)), "processes"
		case 2:
			opts, backendName = append(opts, Backend(&testkit.Remote{})), "remote"
		case 3:
			c.misordered = true
			opts, backendName = append(opts, Backend(&testkit.Remote{Seed: rapid.Uint64().Draw(rt, "seed"), Reorder: .3, Redeliver: .3, Lose: .05, Losses: 10})), "remote"
		}
		if n := rapid.IntRange(0, 3).Draw(rt, "retries"); n > 0 {
			opts = append(opts, Retry(n))
		}
		if n := rapid.IntRange(0, 40).Draw(rt, "batch"); n > 0 {
			opts = append(opts, BatchSize(n))
		}
		if rapid.IntRange(0, 3).Draw(rt, "timeout") == 0 {
			opts = append(opts, Timeout(time.Hour))
		}
		n := rapid.IntRange(1, 4).Draw(rt, "n")
		how := rapid.SampledFrom([]string{"Parallel", "Map", "Starmap", "Stream", "Imap", "ImapUnordered"}).Draw(rt, "how")
		if how != "Stream" && !strings.HasPrefix(how, "Imap") && rapid.Bool().Draw(rt, "keepGoing") {
			opts = append(opts, KeepGoing())
		}
		ctx, name, calls, want := context.Background(), "github.com/gojoblib/parallel_test.run", len(es), len(es)
		var err error
		switch how {
		case "Parallel":
			tasks := Each(run, es)
			for i := range tasks {
				if i%5 == 1 {
					tasks[i], name = tasks[i].Named("errand"), ""
				}
			}
			_, err = Parallel(n, opts...)(tasks...)
		case "Map":
			_, err = Map(ctx, es, run, append(opts, NJobs(n))...)
		case "Starmap":
			name = "github.com/gojoblib/parallel_test.repeated"
			_, err = Starmap(ctx, Zip(ints(calls), slices.Repeat([]string{"x"}, calls)), repeated, append(opts, NJobs(n))...)
		case "Stream":
			for r, err := range Stream(n, opts...)(seq(Each(run, es))) {
				require.Equal(rt, r.Index < 0, false, "%v", err)
			}
			want = -1
		case "Imap":
			for range Imap(ctx, seq(es), run, append(opts, NJobs(n))...) {
			}
			want = -1
		case "ImapUnordered":
			for range ImapUnordered(ctx, seq(es), run, append(opts, NJobs(n))...) {
			}
			want = -1
		}
		require.Len(rt, c.runs, 1)
		info := c.runs[0]
		require.Equal(rt, []any{how, backendName, n, want}, []any{info.Caller, info.Backend, info.Workers, info.Total})
		if fault := c.verify(info, calls, name, err); fault != nil {
			rt.Fatalf("%v", fault)
		}
	})
}

func TestObserverSeesMemoryAtWork(t *testing.T) {
	testkit.Clean(t)
	var c chronicle
	known := memory{}
	for range 2 {
		_, err := Map(context.Background(), ints(5), cube, Memo(known), Observe(&c), NJobs(2))
		require.NoError(t, err)
	}
	require.NoError(t, c.verify(c.runs[0], 5, "github.com/gojoblib/parallel_test.cube", nil))
	require.NoError(t, c.verify(c.runs[1], 5, "github.com/gojoblib/parallel_test.cube", nil))
	end := c.events[c.runs[1]]
	assert.Equal(t, Summary{Done: 5, Cached: 5}, *end[len(end)-1].Summary)
	assert.Len(t, end, 7)
}

// memory is a Memoizer that knows every result of cube.
type memory struct{}

func (memory) Lookup(_ any, args []any) (any, bool, func(any, time.Duration, bool), func(func()) func(), error) {
	if known, ok := seen.Load(args[0]); ok {
		return known, true, nil, nil, nil
	}
	return nil, false, func(v any, _ time.Duration, ok bool) { seen.Store(args[0], v) }, nil, nil
}

var seen sync.Map

func TestObserverThatFailsIsAFaultAndNoMore(t *testing.T) {
	testkit.Clean(t)
	for name, fail := range map[string]func(){"panic": func() { panic("observer") }, "exit": runtime.Goexit} {
		for kind := RunBegan; kind <= RunEnded; kind++ {
			told := 0
			o := ObserverFunc(func(_ context.Context, _ *RunInfo, e Event) {
				if told > 0 || e.Kind == kind {
					told++
				}
				if told == 1 {
					fail()
				}
			})
			got, err := Map(context.Background(), ints(100), cube, Observe(o), NJobs(2))
			assert.Equal(t, cubes(100), got)
			if kind != RunBegan && kind != TaskStarted && kind != TaskFinished && kind != RunEnded {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, "parallel: Observe: ", "%s at %v", name, kind)
			assert.Empty(t, Failures(err))
			assert.Equal(t, 1, told)
			if name == "panic" {
				var p *PanicError
				require.ErrorAs(t, err, &p)
				assert.Contains(t, string(p.Stack), "observe_test.go")
			} else {
				require.ErrorIs(t, err, ErrGoexit)
			}
		}
	}
	for range Imap(context.Background(), count(3), cube, Observe(ObserverFunc(func(context.Context, *RunInfo, Event) { panic("observer") }))) {
		break // the loop was left: nobody is there to hear of it
	}
}

func cubes(n int) []int {
	xs := ints(n)
	for i, x := range xs {
		xs[i] = x * x * x
	}
	return xs
}

func TestOptionsThatFollowARunAreMisused(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	var none *bytes.Buffer
	for want, opts := range map[string][]Option{
		"Observe(nil): give an Observer":         {Observe(nil)},
		"Observe(nil)":                           {Observe(ObserverFunc(nil))},
		"Observe is given twice":                 {Observe(&chronicle{}), Observe(&chronicle{})},
		"Progress(nil): give a writer":           {Progress(nil)},
		"Progress(nil)":                          {Progress(none)},
		"Progress is given twice":                {Progress(io.Discard), Progress(io.Discard)},
		"Trace(nil): give a writer":              {Trace(nil)},
		"Trace(nil)":                             {Trace(none)},
		"Trace is given twice":                   {Trace(io.Discard), Trace(io.Discard)},
		"Explain(nil): give a function":          {Explain(nil)},
		"Explain is given twice":                 {Explain(func(Explanation) {}), Explain(func(Explanation) {})},
		"Trace and Progress have the same":       {Trace(io.Discard), Progress(io.Discard)},
		"Progress(nil): give a writer, as os.St": {Observe(&chronicle{}), Progress(nil)},
	} {
		for how, run := range map[string]func() error{
			"Map":      func() error { _, err := Map(ctx, ints(3), cube, opts...); return err },
			"Parallel": func() error { _, err := Parallel(2, opts...)(Each(cubeOf, ints(3))...); return err },
			"Imap": func() error {
				for _, err := range Imap(ctx, count(3), cube, opts...) {
					return err
				}
				return nil
			},
			"defaults": func() error { _, err := Map(With(ctx, opts...), ints(3), cube); return err },
		} {
			err := run()
			require.ErrorContains(t, err, want, how)
			var faulty *RunError
			require.ErrorAs(t, err, &faulty)
			assert.Empty(t, faulty.Failed)
		}
	}
}

func TestRunThatIsRefusedBeginsAndEnds(t *testing.T) {
	testkit.Clean(t)
	for name, run := range map[string]func(...Option) error{
		"options": func(opts ...Option) error {
			_, err := Map(context.Background(), ints(3), cube, append(opts, BatchSize(0))...)
			return err
		},
		"tasks": func(opts ...Option) error {
			_, err := Parallel(2, opts...)(Delayed(cubeOf, 1), Delayed(cubeOf), Delayed(cubeOf, 2))
			return err
		},
		"stream": func(opts ...Option) (err error) {
			for _, err = range Stream(2, append(opts, BatchSize(0))...)(seq([]Task{})) {
			}
			return err
		},
	} {
		var c chronicle
		err := run(Observe(&c))
		require.Error(t, err, name)
		require.Len(t, c.runs, 1, name)
		events := c.events[c.runs[0]]
		assert.EqualError(t, events[len(events)-1].Err, err.Error(), name)
		if name != "tasks" {
			require.Len(t, events, 2, name)
		} else {
			require.Len(t, events, 3, name)
			require.Len(t, Failures(err), 1)
			require.EqualError(t, err, run().Error(), "followed or not")
			assert.Equal(t, []any{TaskFailed, 1, 0, -1}, []any{events[1].Kind, events[1].Index, events[1].Attempt, events[1].Worker})
			assert.Equal(t, Summary{Failed: 1, NotRun: 3}, *events[len(events)-1].Summary)
		}
	}
}

func TestDefaultsAreFollowedEverywhere(t *testing.T) {
	testkit.Clean(t)
	var c, own chronicle
	ctx := With(context.Background(), Observe(&c))
	inner := func(ctx context.Context, x int) (int, error) {
		ys, err := Map(ctx, ints(x), cube, NJobs(2))
		return len(ys), err
	}
	_, err := Map(ctx, []int{2, 3}, inner, NJobs(2))
	require.NoError(t, err)
	require.Len(t, c.runs, 3)
	_, err = Map(ctx, []int{2}, cube, Observe(&own)) // wins
	require.NoError(t, err)
	require.Len(t, c.runs, 3)
	require.Len(t, own.runs, 1)
	ids := map[uint64]bool{}
	for _, r := range append(c.runs, own.runs...) {
		ids[r.ID] = true
	}
	assert.Len(t, ids, 4)
}

func TestSlogObserver(t *testing.T) {
	testkit.Clean(t)
	var out strings.Builder
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch {
		case a.Key == slog.TimeKey && a.Value.Time().IsZero(), a.Key == "took" && a.Value.Duration() <= 0:
			return slog.String(a.Key, "wrong")
		case a.Key == slog.TimeKey || a.Key == "took" || a.Key == "run":
			return slog.Attr{}
		}
		return a
	}})
	attempts := 0
	flaky := func(context.Context, int) (int, error) {
		if attempts++; attempts == 2 || attempts >= 4 {
			return 0, errFlaky
		}
		return 0, nil
	}
	_, err := Map(context.Background(), ints(3), flaky, NJobs(1), Retry(1), Observe(SlogObserver(slog.New(h))))
	require.Error(t, err)
	const name = "github.com/gojoblib/parallel_test.TestSlogObserver.func2 "
	assert.Equal(t, strings.NewReplacer("NAME", "name="+name, "FN", "fn="+name).Replace(`level=INFO msg="run began" caller=Map FNbackend=threads workers=1 total=3
level=DEBUG msg="task started" caller=Map index=0 NAMEattempt=1 worker=0
level=DEBUG msg="task finished" caller=Map index=0 NAMEattempt=1 worker=0
level=DEBUG msg="task started" caller=Map index=1 NAMEattempt=1 worker=0
level=WARN msg="task retried" caller=Map index=1 NAMEattempt=1 worker=0 err="not yet"
level=DEBUG msg="task started" caller=Map index=1 NAMEattempt=2 worker=0
level=DEBUG msg="task finished" caller=Map index=1 NAMEattempt=2 worker=0
level=DEBUG msg="task started" caller=Map index=2 NAMEattempt=1 worker=0
level=WARN msg="task retried" caller=Map index=2 NAMEattempt=1 worker=0 err="not yet"
level=DEBUG msg="task started" caller=Map index=2 NAMEattempt=2 worker=0
level=ERROR msg="task failed" caller=Map index=2 NAMEattempt=2 worker=0 args=2 err="not yet"
level=ERROR msg="run ended" caller=Map FNdone=3 failed=1 cached=0 retried=2 cut=0 notRun=0 err="parallel: task 2 (github.com/gojoblib/parallel_test.TestSlogObserver.func2(2)), attempt 2: not yet"
`), out.String())
	assert.Equal(t, "event 200", EventKind(200).String())
}

// records is a slog.Handler that keeps what it is given.
type records struct {
	slog.Handler
	all []slog.Record
}

func (h *records) Handle(ctx context.Context, r slog.Record) error {
	h.all = append(h.all, r.Clone())
	return h.Handler.Handle(ctx, r)
}

// attr returns the value of an attribute of r; nil: it has none.
func attr(r slog.Record, key string) (v any) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == key {
			v = a.Value.Any()
		}
		return true
	})
	return v
}

func TestSlogObserverLogsErrorsInOneLine(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	fail := func(_ context.Context, what string) (int, error) {
		switch what {
		case "panic":
			panic("over\nand out")
		case "crash":
			return 0, &CrashError{Reason: "exit status 3", Trace: "goroutine 1 [running]:\n"}
		}
		return 0, errors.New(what)
	}
	for name, run := range map[string]func(Option) error{
		"Map": func(o Option) error {
			_, err := Map(ctx, []string{"panic", "crash", "three"}, fail, o, KeepGoing(), NJobs(1))
			return err
		},
		"Imap": func(o Option) error {
			for range Imap(ctx, slices.Values([]string{"panic", "crash", "three"}), fail, o, NJobs(1)) {
			}
			return nil
		},
	} {
		var out strings.Builder
		h := &records{Handler: slog.NewTextHandler(&out, nil)}
		err := run(Observe(SlogObserver(slog.New(h))))
		assert.NotContains(t, out.String(), "goroutine", name)
		assert.NotContains(t, out.String(), `\n`, name)
		require.Len(t, h.all, 5, name)
		assert.Contains(t, attr(h.all[0], "fn"), "TestSlogObserverLogsErrorsInOneLine", name)
		var p *PanicError
		require.ErrorAs(t, attr(h.all[1], "err").(error), &p, name)
		require.EqualError(t, attr(h.all[1], "err").(error), "panic: over; and out", name)
		var c *CrashError
		require.ErrorAs(t, attr(h.all[2], "err").(error), &c, name)
		for i, args := range []any{nil, `"panic"`, `"crash"`, `"three"`, nil} {
			assert.Equal(t, args, attr(h.all[i], "args"), name)
		}
		if name == "Map" {
			end := attr(h.all[4], "err").(error)
			assert.Len(t, Failures(end), 3)
			assert.True(t, strings.HasPrefix(end.Error(), "parallel: 3 tasks failed: task 0 ("), end)
			assert.ErrorIs(t, end, errors.Unwrap(err.(*RunError).Failed[2]))
		}
	}
}

// panicky is a writer that does.
type panicky struct{}

func (panicky) Write([]byte) (int, error) { panic("ouch") }

func TestWhoFailsToFollowARunIsNamed(t *testing.T) {
	testkit.Clean(t)
	for want, o := range map[string]Option{
		"parallel: Observe: panic: ouch": Observe(ObserverFunc(func(context.Context, *RunInfo, Event) { panic("ouch") })),
		"parallel: writing the trace: ":  Trace(panicky{}),
		"parallel: Explain: panic: ouch": Explain(func(Explanation) { panic("ouch") }),
	} {
		got, err := Map(context.Background(), ints(3), cube, o)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "panic: ouch")
		assert.Equal(t, cubes(3), got)
	}
}

func TestPoolIsFollowed(t *testing.T) {
	testkit.Clean(t)
	for name, place := range places {
		var c chronicle
		var bar, trace bytes.Buffer
		p, err := NewPool(2, place(), Observe(&c), Progress(&bar), Trace(&trace), Retry(1))
		require.NoError(t, err)
		ctx := context.Background()
		var fs []*Future[int]
		for i := range 20 {
			fs = append(fs, ApplyAsync[int](ctx, p, Delayed(cubeOf, i)))
		}
		for i, f := range fs {
			got, err := f.Get(ctx)
			require.NoError(t, err)
			assert.Equal(t, i*i*i, got)
		}
		_, err = Apply[outcome](ctx, p, Delayed(run, errand{What: "error", Fails: 3}))
		require.Error(t, err)
		_, err = Map(ctx, ints(5), cube, On(p))
		require.NoError(t, err)
		require.NoError(t, p.Close())
		require.Len(t, c.runs, 2, name)
		require.NoError(t, c.verify(c.runs[0], 21, "", nil))
		require.NoError(t, c.verify(c.runs[1], 5, "github.com/gojoblib/parallel_test.cube", nil))
		assert.Equal(t, "NewPool", c.runs[0].Caller)
		end := c.events[c.runs[0]]
		assert.Equal(t, Summary{Done: 21, Failed: 1, Retried: 1}, *end[len(end)-1].Summary)
		assert.Equal(t, "Map(parallel_test.cube): 5/5 (100%)\nNewPool: 21/21 (100%), 1 failed\n", figures.ReplaceAllString(bar.String(), ""))
		require.Len(t, documents(t, trace.Bytes()), 1)
	}
}

// late190 is quick at first; later calls take most of the Timeout of the test below.
func late190(_ context.Context, i int) (int, error) {
	if i >= 512 {
		time.Sleep(190 * time.Millisecond)
	}
	return i, nil
}

func init() { Register(late190) }

// A worker's answers are not heard while an Observer takes its time: no call has timed out because of that.
func TestASlowObserverFailsNoTask(t *testing.T) {
	testkit.Clean(t)
	lost := 0
	slow := ObserverFunc(func(_ context.Context, _ *RunInfo, e Event) {
		switch e.Kind {
		case RunBegan:
			time.Sleep(1500 * time.Millisecond)
		case TaskLost:
			lost++
		}
	})
	got, err := Map(context.Background(), ints(516), late190, NJobs(1), Backend(&testkit.Remote{}), Timeout(250*time.Millisecond), BatchSize(1), KeepGoing(), Observe(slow))
	require.NoError(t, err)
	assert.Equal(t, ints(516), got)
	assert.Zero(t, lost)
}

// summaries keeps what RunEnded says, and counts events.
type summaries struct {
	kinds map[EventKind]int
	ended []Event
	runs  []RunInfo
}

func (s *summaries) option() Option {
	s.kinds = map[EventKind]int{}
	return Observe(ObserverFunc(func(_ context.Context, run *RunInfo, e Event) {
		s.kinds[e.Kind]++
		if e.Kind == RunEnded {
			s.ended, s.runs = append(s.ended, e), append(s.runs, *run)
		}
	}))
}

func TestCallsThatNeverRanAreCountedAsSuch(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	for name, where := range places {
		t.Run(name, func(t *testing.T) {
			var s summaries
			p, err := NewPool(1, where(), s.option(), RetryIf(func(error, int) (time.Duration, bool) { return time.Hour, true }))
			require.NoError(t, err)
			failed := ApplyAsync[int](ctx, p, deedOf("error", 0)) // waits for its next attempt
			_, err = Apply[int](ctx, p, deedOf("", 2))
			require.NoError(t, err)
			waits := ApplyAsync[int](ctx, p, deedOf("wait", 0))
			never := ApplyAsync[int](ctx, p, deedOf("", 3))
			never.Cancel()
			failed.Cancel()
			_, err = failed.Get(ctx)
			assert.ErrorIs(t, err, errBoom)
			_, err = never.Get(ctx)
			assert.ErrorIs(t, err, ErrNotRun)
			waits.Cancel()
			_, _ = waits.Get(ctx)
			require.NoError(t, p.Close())
			require.Len(t, s.ended, 1)
			sum := s.ended[0].Summary
			notRun := 1
			if s.kinds[TaskStarted] < 3 { // it was cancelled on its way to a worker
				notRun++
			}
			assert.Equal(t, notRun, sum.NotRun)
			assert.Equal(t, 4-notRun, sum.Done)
			assert.Equal(t, s.kinds[TaskFailed], sum.Failed)
			assert.Zero(t, sum.Retried, "no attempt has followed")
		})
	}
}

func TestStreamsThatAreLeftOrRefused(t *testing.T) {
	testkit.Clean(t)
	var s summaries
	o := s.option()
	for range Imap(context.Background(), count(100), cube, o, NJobs(2)) {
		break
	}
	for _, err := range Imap(context.Background(), count(100), cube, o, KeepGoing()) {
		require.Error(t, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range Imap(ctx, count(100), cube, o) {
		require.Error(t, err)
	}
	require.Len(t, s.ended, 3)
	assert.NoError(t, s.ended[0].Err, "it was left")
	assert.Error(t, s.ended[1].Err)
	assert.ErrorIs(t, s.ended[2].Err, context.Canceled)
	for _, run := range s.runs {
		assert.Equal(t, -1, run.Total)
	}
}
