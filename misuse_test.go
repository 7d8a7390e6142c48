package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/threads"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errFlaky = errors.New("not yet")

func two(int) (int, int)                  { return 0, 0 }
func sum(first int, xs ...int) int        { return first + len(xs) }
func pointer(p *int) bool                 { return p == nil }
func withContext(context.Context, string) {}

func TestMisuseIsToldWithItsLineBeforeAnythingRuns(t *testing.T) {
	testkit.Clean(t)
	ran := false
	tasks := []Task{
		Delayed(func() { ran = true }),
		Delayed(nil),
		Delayed(42),
		Delayed((func(int) int)(nil), 1),
		Delayed(math.Sqrt, 2),
		Delayed(math.Sqrt),
		Delayed(math.Pow, 1, "x"),
		Delayed(two, 1),
		Delayed(sum),
		Delayed(sum, 1, "x"),
		Delayed(cubeOf, nil),
		Delayed(withContext, context.Background(), "x"),
		{},
		Delayed(math.Sqrt, "x").Named("root"),
	}
	want := []string{
		"): nil is not a function",
		"int): a value of type int is not a function: give the function and its arguments, Delayed(f, x), not Delayed(f(x))",
		"func(int) int): the function is nil (of type func(int) int)",
		"math.Sqrt): argument 0 is of type int, want float64: write float64(2)",
		"math.Sqrt): 0 arguments given, func(float64) float64 takes 1",
		"math.Pow): argument 0 is of type int, want float64: write float64(1)\nargument 1 is of type string, want float64",
		"parallel_test.two): it returns 2 values: a task returns nothing, a value, an error, or a value and an error",
		"parallel_test.sum): 0 arguments given, func(int, ...int) int takes at least 1",
		"parallel_test.sum): argument 1 is of type string, want int",
		"parallel_test.cubeOf): argument 0 is nil, want int",
		"parallel_test.withContext): 2 arguments given, func(context.Context, string) takes 1; the context comes from the run",
		": a Task that no Delayed made",
		"root): argument 0 is of type string, want float64",
	}
	results, err := Parallel(2, KeepGoing())(tasks...)
	assert.Len(t, results, len(tasks))
	assert.False(t, ran)
	require.ErrorIs(t, err, ErrNotRun)
	failed := Failures(err)
	require.Len(t, failed, len(want))
	for i, f := range failed {
		assert.Equal(t, i+1, f.Index)
		assert.Contains(t, f.Error(), want[i])
		if i != 11 { // no Delayed, no line
			assert.Regexp(t, `^misuse_test.go:\d+$`, f.Site)
		}
		assert.Zero(t, f.Attempts)
	}

	// In a stream, each is its item's error.
	n := 0
	for r, err := range Stream(2, Retry(3))(seq(tasks)) {
		assert.Equal(t, n, r.Index)
		if n > 0 {
			var task *TaskError
			require.ErrorAs(t, err, &task)
			assert.Contains(t, task.Error(), want[n-1])
			assert.Zero(t, task.Attempts)
			assert.Equal(t, failed[n-1].Site, task.Site)
		}
		n++
	}
	assert.Equal(t, len(tasks), n)
}

func seq[T any](xs []T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, x := range xs {
			if !yield(x) {
				return
			}
		}
	}
}

func TestCallsOfEveryShapeAreMade(t *testing.T) {
	testkit.Clean(t)
	var p *int
	type named int
	tasks := []Task{
		Delayed(func() {}),
		Delayed(func() int { return 1 }),
		Delayed(func() (string, error) { return "s", nil }),
		Delayed(sum, 1, 2, 3),
		Delayed(sum, 1),
		Delayed(pointer, nil),
		Delayed(pointer, p),
		Delayed(fmt.Sprint, "a", 1, nil),
		Delayed(func(n named) named { return n + 1 }, named(1)),
		Delayed(func(ctx context.Context, a, b int) (int, error) { return a - b, ctx.Err() }, 5, 3),
		Delayed(func(err error) error { return err }, nil),
		Delayed(errors.Is, nil, nil),
		Delayed(time.Duration.String, time.Second),
	}
	got, err := Parallel(2)(tasks...)
	require.NoError(t, err)
	assert.Equal(t, []any{nil, 1, "s", 3, 1, true, true, "a1 <nil>", named(2), 2, nil, true, "1s"}, got)
}

func TestOptionsThatCannotBeAreErrorsOfTheRun(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	parallel := func(opts ...Option) error { _, err := Parallel(2, opts...)(Delayed(cubeOf, 1)); return err }
	mapped := func(opts ...Option) error { _, err := Map(ctx, ints(3), cube, opts...); return err }
	stream := func(opts ...Option) error {
		var last error
		for r, err := range Stream(2, opts...)(seq(Each(cubeOf, ints(3)))) {
			if err != nil {
				assert.Equal(t, -1, r.Index)
			}
			last = err
		}
		return last
	}
	imap := func(opts ...Option) error {
		var last error
		for _, err := range Imap(ctx, count(3), cube, opts...) {
			last = err
		}
		return last
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{func() error { _, err := Parallel(0)(Delayed(cubeOf, 1)); return err }(), "n = 0 means no worker at all: use -1 for all CPUs, 1 for one task at a time"},
		{mapped(NJobs(0)), "NJobs(0) means no worker at all"},
		{parallel(NJobs(3)), "NJobs does not apply to Parallel: n is its first argument"},
		{parallel(KeepGoing(), KeepGoing()), "KeepGoing is given twice"},
		{parallel(Retry(1), RetryIf(func(error, int) (time.Duration, bool) { return 0, false })), "Retry (or RetryIf) is given twice"},
		{parallel(Unordered()), "Unordered does not apply to Parallel"},
		{parallel(PreDispatch(3)), "PreDispatch does not apply to Parallel"},
		{stream(KeepGoing()), "KeepGoing does not apply to Stream: every item of a stream carries its own error, and break stops the run"},
		{imap(KeepGoing()), "KeepGoing does not apply to Imap"},
		{imap(Unordered()), "Unordered does not apply to Imap"},
		{mapped(Context(ctx)), "Context does not apply to Map: the context is its first argument"},
		{parallel(Prefer(Threads), Backend(threads.Backend{})), "Prefer and Backend are both given"},
		{parallel(Backend(nil)), "Backend(nil)"},
		{parallel(Prefer(7)), "Prefer(7): it takes Threads or Processes"},
		{parallel(Timeout(0)), "Timeout(0s): it must be positive"},
		{parallel(Retry(-1)), "Retry(-1): it must not be negative"},
		{parallel(RetryIf(nil)), "RetryIf(nil)"},
		{parallel(BatchSize(0)), "BatchSize(0): it must be at least 1"},
		{stream(PreDispatch(0)), "PreDispatch(0): it must be at least 1"},
		{parallel(nil), "a nil Option is given to Parallel"},
		{parallel(Context(nil)), "Parallel was given a nil context; pass context.Background()"}, //nolint:staticcheck // on purpose
		{parallel(Timeout(-1), BatchSize(-1)), "Timeout(-1ns): it must be positive; leave it out for no timeout\n\tBatchSize(-1): it must be at least 1; leave it out to have it measured\n\t1 task was not run"},
		{func() error { _, err := Map[int, int](ctx, ints(1), nil); return err }(), "Map was given a nil function"},
		{func() error { _, err := Starmap[int, int, int](ctx, nil, nil); return err }(), "Starmap was given a nil input"},
		{parallel(Context(With(ctx, Timeout(1), Timeout(2)))), "Timeout is given twice"},
	} {
		require.Error(t, c.err, c.want)
		assert.Contains(t, c.err.Error(), "parallel: ")
		assert.Contains(t, c.err.Error(), c.want)
		var run *RunError
		assert.ErrorAs(t, c.err, &run, c.want)
	}
	require.ErrorIs(t, parallel(Timeout(0)), ErrNotRun)
}

func TestMaxJobsCapsTheCPUs(t *testing.T) {
	t.Setenv("PARALLEL_MAX_JOBS", "1")
	assert.Equal(t, 1, NJobs(-1).Workers())
	assert.Equal(t, 64, NJobs(64).Workers())
	t.Setenv("PARALLEL_MAX_JOBS", "many")
	_, err := Map(context.Background(), ints(3), cube)
	require.ErrorContains(t, err, `the environment variable PARALLEL_MAX_JOBS is "many": it must be a whole number of at least 1`)
	_, err = Map(context.Background(), ints(3), cube, NJobs(2))
	require.NoError(t, err)
}

func TestDefaultsGiveWayToOptionsAndToWhatDoesNotApply(t *testing.T) {
	testkit.Clean(t)
	fails := func(ctx context.Context, x int) (int, error) {
		if info, _ := TaskFrom(ctx); info.Attempt < 3 {
			return 0, errFlaky
		}
		return x, nil
	}
	ctx := With(With(context.Background(), Retry(5), KeepGoing(), Unordered(), Prefer(Processes)), Retry(1), Prefer(Threads))
	_, err := Map(ctx, ints(3), fails)
	require.Len(t, Failures(err), 3, "the inner With's Retry(1) counts, and the outer one's KeepGoing")
	_, err = Map(ctx, ints(3), fails, Retry(2))
	require.NoError(t, err, "the explicit one counts")
	for _, err := range Imap(ctx, count(3), fails, Retry(2)) {
		require.NoError(t, err, "KeepGoing and Unordered are ignored")
	}
}

type pipe struct{ Done chan int }

func TestRegistrationFaultsPanicWithAHint(t *testing.T) {
	for want, v := range map[string]any{
		"is a closure, which has no name that it could be known by elsewhere": func() {},
		"is a method value":                             time.Second.String,
		"is a generic function":                         generic[int],
		"pipe.Done: chan int cannot be sent to another": pipe{},
	} {
		func() {
			defer func() { assert.Contains(t, fmt.Sprint(recover()), want) }()
			Register(v)
		}()
	}
	assert.NotPanics(t, func() { Main(); Register(errFlaky, struct{}{}, cubeOf, cubeOf) })
}

func generic[T any](x T) T { return x }

// oddMemory is a Memoizer that misbehaves.
type oddMemory struct{ how string }

func (m oddMemory) Lookup(any, []any) (any, bool, func(any, time.Duration, bool), func(func()) func(), error) {
	switch m.how {
	case "lookup":
		panic("lookup")
	case "type":
		return "a string", true, nil, nil, nil
	case "wait":
		return nil, false, nil, func(func()) func() { panic("wait") }, nil
	}
	return nil, false, func(any, time.Duration, bool) { panic("made") }, nil, nil
}

func TestAMemoizerThatPanicsEndsNoProgram(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		for how, want := range map[string]string{
			"lookup": "task 0 (github.com/gojoblib/parallel_test.cubeOf(0)): the Memoizer failed: panic: lookup",
			"type":   "the Memoizer failed: it knows a string as the result of a function that returns int",
			"wait":   "the Memoizer failed: panic: wait",
			"made":   "the Memoizer failed: panic: made",
		} {
			m := oddMemory{how}
			got, err := Collect[int](Parallel(2, where, Memo(m), KeepGoing())(Each(cubeOf, ints(3))...))
			assert.ErrorContains(t, err, want)
			if how == "made" {
				assert.Equal(t, []int{0, 1, 8}, got)
				assert.Empty(t, Failures(err))
			} else {
				assert.Len(t, Failures(err), 3)
			}
			_, err = Map(context.Background(), ints(3), cube, where, Memo(m))
			assert.ErrorContains(t, err, "the Memoizer failed: ")
			for _, err := range Imap(context.Background(), count(3), cube, where, Memo(m)) {
				if how != "made" {
					assert.ErrorContains(t, err, "the Memoizer failed")
				}
				if err != nil {
					break
				}
			}
			p, err := NewPool(1, where, Memo(m))
			require.NoError(t, err)
			v, err := Apply[int](context.Background(), p, Delayed(cubeOf, 3))
			if how == "made" {
				assert.NoError(t, err)
				assert.Equal(t, 27, v)
				assert.ErrorContains(t, p.Close(), "the Memoizer failed")
			} else {
				assert.ErrorContains(t, err, "the Memoizer failed")
				assert.NoError(t, p.Close())
			}
		}
	})
}
