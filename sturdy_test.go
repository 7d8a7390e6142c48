package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/backend/threads"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func typedNil(_ context.Context, x int) (int, error) {
	var none *fs.PathError
	switch x {
	case 1:
		return 0, none
	case 2:
		panic(none)
	}
	return x, nil
}

func untilDone(ctx context.Context, x int) (int, error) {
	if x < 2 {
		return x, nil
	}
	<-ctx.Done()
	return 0, ctx.Err()
}

func init() { Register(typedNil, untilDone) }

func TestErrorsWhoseMethodsPanicHarmNobody(t *testing.T) {
	testkit.Clean(t)
	for _, place := range []Option{Prefer(Threads), Backend(&testkit.Remote{})} {
		for _, retry := range []Option{Retry(0), Retry(1)} {
			got, err := Map(context.Background(), ints(5), typedNil, place, retry, KeepGoing())
			assert.Equal(t, []int{0, 0, 0, 3, 4}, got)
			require.Len(t, Failures(err), 2)
			assert.Contains(t, err.Error(), "task 1 (")
			assert.NotErrorIs(t, err, fs.ErrExist, "looking into it is safe")
			assert.NotContains(t, fmt.Sprintf("%+v", err), "PANIC=")
		}
	}
}

func TestRetryOfZeroWinsOverTheDefault(t *testing.T) {
	ctx := With(context.Background(), Retry(3))
	attempts := 0
	_, err := Map(ctx, ints(1), func(context.Context, int) (int, error) { attempts++; return 0, errFlaky }, Retry(0))
	require.ErrorIs(t, err, errFlaky)
	assert.Equal(t, 1, attempts)
}

func TestDeadlineOfTheRunCutsCallsAlikeEverywhere(t *testing.T) {
	testkit.Clean(t)
	for _, place := range []Option{Prefer(Threads), Backend(&testkit.Remote{})} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		_, err := Map(ctx, ints(9), untilDone, place, NJobs(2), BatchSize(1))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Empty(t, Failures(err))
		var run *RunError
		require.ErrorAs(t, err, &run)
		assert.Equal(t, 2, run.Cut)
		assert.Equal(t, 5, run.NotRun)
		assert.EqualError(t, err, "parallel: context deadline exceeded; 5 tasks were not run; 2 tasks were cut short")
	}
}

// counted counts the workers that are started.
type counted struct {
	threads.Backend
	n atomic.Int64
}

func (c *counted) Start(ctx context.Context) (backend.Worker, error) {
	c.n.Add(1)
	return c.Backend.Start(ctx)
}

func TestStreamStartsNoMoreWorkersThanItHasInputs(t *testing.T) {
	testkit.Clean(t)
	var c counted
	n := 0
	for _, err := range Imap(context.Background(), count(3), cube, NJobs(1<<20), Backend(&c)) {
		require.NoError(t, err)
		n++
	}
	assert.Equal(t, 3, n)
	assert.LessOrEqual(t, c.n.Load(), int64(3))
}

func TestFailedResultTellsHowLongItTook(t *testing.T) {
	testkit.Clean(t)
	task := Delayed(func() error { time.Sleep(2 * time.Millisecond); return errFlaky })
	for r, err := range Stream(1)(seq([]Task{task})) {
		require.ErrorIs(t, err, errFlaky)
		assert.GreaterOrEqual(t, r.Elapsed, 2*time.Millisecond)
	}
}

// broken is a backend that does not keep the contract.
type broken func() (backend.Worker, error)

func (b broken) Start(context.Context) (backend.Worker, error) { return b() }
func (broken) Traits() backend.Traits                          { return backend.Traits{Name: "broken"} }

type neither struct{}

func (neither) Close() error { return nil }

func TestBrokenBackendIsAnErrorOfTheRun(t *testing.T) {
	testkit.Clean(t)
	for want, b := range map[string]broken{
		"cannot start a worker of backend broken: it returned no worker and no error": func() (backend.Worker, error) { return nil, nil },
		"cannot start a worker of backend broken: panic: ouch":                        func() (backend.Worker, error) { panic("ouch") },
		"cannot start a worker of backend broken: no room":                            func() (backend.Worker, error) { return nil, errors.New("no room") },
		"neither an InPlacer nor a Carrier":                                           func() (backend.Worker, error) { return neither{}, nil },
	} {
		_, err := Map(context.Background(), ints(4), cube, NJobs(2), Backend(b))
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, ErrNotRun)
		last := error(nil)
		for _, err := range Imap(context.Background(), count(4), cube, NJobs(2), Backend(b)) {
			last = err
		}
		require.ErrorContains(t, last, want)
	}
}

func TestManyFailuresAreSummedUp(t *testing.T) {
	_, err := Map(context.Background(), ints(40), func(context.Context, int) (int, error) { return 0, errFlaky }, KeepGoing(), NJobs(2))
	text := err.Error()
	assert.Contains(t, text, "parallel: 40 tasks failed:\n\ttask 0 (")
	assert.Contains(t, text, "\n\tand 15 more")
	ctx, cancel := context.WithCancelCause(context.Background())
	_, err = Map(ctx, ints(40), func(_ context.Context, x int) (int, error) {
		if x == 2 {
			cancel(errors.New("enough"))
		}
		return 0, errFlaky
	}, KeepGoing(), NJobs(1))
	assert.Regexp(t, `(?s)^parallel: context canceled: enough; 3 tasks failed:\n\ttask 0 .*\n\ttask 2 \([^\n]*\n\t37 tasks were not run$`, err.Error())
}

func TestItemThatReturnsAsItIsGivenUpIsHandedOutOnce(t *testing.T) {
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			seen := map[int]int{}
			late := func() int { time.Sleep(101 * time.Millisecond); return 1 } // just when it is given up
			tasks := func(yield func(Task) bool) {
				for range 64 {
					if !yield(Delayed(late)) {
						return
					}
				}
			}
			for r, err := range Stream(8, Timeout(time.Millisecond), Unordered(), PreDispatch(64))(tasks) {
				seen[r.Index]++
				assert.ErrorIs(t, err, ErrTimeout)
			}
			delete(seen, -1) // more than eight were given up
			for i, n := range seen {
				assert.Equal(t, 1, n, "item %d", i)
			}
		})
	}
}

func TestStreamWhoseInputWatchesItsContextTellsThatItWasCut(t *testing.T) {
	testkit.Clean(t)
	ctx, cancel := context.WithCancel(context.Background())
	in := func(yield func(int) bool) {
		for x := 0; x < 2 && yield(x); x++ {
		}
		cancel()
		<-ctx.Done()
	}
	var last error
	for _, err := range Imap(ctx, in, cube, NJobs(2)) {
		last = err
	}
	require.ErrorIs(t, last, context.Canceled)
}

func TestFailuresThatWaitForARetryAreToldWhenTheStreamIsStopped(t *testing.T) {
	testkit.Clean(t)
	for range 500 {
		ctx, cancel := context.WithCancel(context.Background())
		var left atomic.Int32
		left.Store(4)
		told := 0
		for _, err := range ImapUnordered(ctx, count(4), func(context.Context, int) (int, error) { return 0, errFlaky }, NJobs(2), PreDispatch(8),
			RetryIf(func(error, int) (time.Duration, bool) {
				if left.Add(-1) == 0 {
					cancel()
				}
				return time.Hour, true
			})) {
			if errors.Is(err, errFlaky) {
				told++
			}
		}
		cancel()
		require.Equal(t, 4, told)
	}
}

func TestTimeoutOfTheOuterRunIsNotTheInnerOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		_, err := Parallel(1, Timeout(50*time.Millisecond))(Delayed(func(ctx context.Context) (err error) {
			got, err = Map(ctx, ints(1), func(context.Context, int) (int, error) {
				time.Sleep(80 * time.Millisecond)
				return 7, nil
			}, NJobs(1), Timeout(time.Hour))
			return err
		}))
		require.ErrorIs(t, err, ErrTimeout)
		assert.Equal(t, []int{7}, got)
	})
	_, err := Map(context.Background(), ints(3), cube, Timeout(math.MaxInt64))
	require.NoError(t, err, "the longest there is")
}

func TestFailuresAreTheRunsOwn(t *testing.T) {
	inner := func(ctx context.Context) error {
		_, err := Map(ctx, ints(3), func(context.Context, int) (int, error) { return 0, errFlaky }, KeepGoing())
		return err
	}
	_, err := Parallel(1, KeepGoing())(Delayed(func() {}), Delayed(inner).Named("outer"))
	failed := Failures(fmt.Errorf("wrapped: %w", err))
	require.Len(t, failed, 1)
	assert.Equal(t, 1, failed[0].Index)
	assert.Len(t, Failures(failed[0].Err), 3, "asked of the inner one's")
	for _, err := range Stream(1)(seq([]Task{Delayed(inner)})) {
		assert.Equal(t, "github.com/gojoblib/parallel_test.TestFailuresAreTheRunsOwn.func1", Failures(err)[0].Name)
	}
	assert.Len(t, Failures(errors.Join(err, failed[0])), 2)
	assert.Nil(t, Failures(errFlaky))
}

func TestMisuseIsTheTasksOwn(t *testing.T) {
	_, err := Parallel(1)(Delayed(cubeOf, 1).Named("innocent"), Delayed(cubeOf, "x"), Task{}.Named("void"))
	require.Len(t, Failures(err), 2)
	assert.Equal(t, "github.com/gojoblib/parallel_test.cubeOf", Failures(err)[0].Name)
	assert.Equal(t, "void", Failures(err)[1].Name)
}

// quitter ends the goroutine that encodes or decodes it.
type quitter struct{ Where string }

func (q quitter) MarshalBinary() ([]byte, error) {
	if q.Where == "encode" {
		runtime.Goexit()
	}
	return []byte(q.Where), nil
}

func (q *quitter) UnmarshalBinary(b []byte) error {
	if q.Where = string(b); q.Where == "decode" {
		runtime.Goexit()
	}
	return nil
}

func pass(q quitter) quitter        { return q }
func make1(where string) quitter    { return quitter{where} }
func length(q quitter) (int, error) { return len(q.Where), nil }

func init() { Register(pass, make1, length, quitter{}) }

func TestGoexitInACodecFailsItsTaskAlone(t *testing.T) {
	testkit.Clean(t)
	_, err := Parallel(2, Backend(&testkit.Remote{}), KeepGoing())(
		Delayed(pass, quitter{"fine"}),
		Delayed(pass, quitter{"encode"}),
		Delayed(length, quitter{"decode"}),
		Delayed(make1, "encode"),
		Delayed(make1, "decode"),
		Delayed(cubeOf, 2),
	)
	require.Len(t, Failures(err), 4)
	for i, f := range Failures(err) {
		assert.Equal(t, i+1, f.Index)
		assert.ErrorContains(t, f, "runtime.Goexit")
	}
}

func TestMissingIsWhatToRunAgain(t *testing.T) {
	testkit.Clean(t)
	missing := func(err error) []backend.Range {
		var run *RunError
		require.ErrorAs(t, err, &run)
		return run.Missing
	}
	zeroFails := func(_ context.Context, x int) (int, error) {
		if x%10 == 3 {
			return 0, errFlaky
		}
		return 0, nil // as good a result as any
	}
	_, err := Map(context.Background(), ints(24), zeroFails, KeepGoing())
	assert.Equal(t, []backend.Range{{Lo: 3, Hi: 4}, {Lo: 13, Hi: 14}, {Lo: 23, Hi: 24}}, missing(err))
	_, err = Map(context.Background(), ints(24), zeroFails, NJobs(1))
	assert.Equal(t, []backend.Range{{Lo: 3, Hi: 24}}, missing(err))
	_, err = Map(context.Background(), ints(24), zeroFails, Timeout(-1))
	assert.Equal(t, []backend.Range{{Lo: 0, Hi: 24}}, missing(err))
	_, err = Parallel(1)(Delayed(cubeOf, 1), Delayed(cubeOf, "x"))
	assert.Equal(t, []backend.Range{{Lo: 0, Hi: 2}}, missing(err))
}
