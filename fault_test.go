package parallel_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOneTasksMisfortuneIsOneTasks goes through every fault, on its own among tasks that succeed, wherever they run.
func TestOneTasksMisfortuneIsOneTasks(t *testing.T) {
	const tasks, timeout = 9, 50 * time.Millisecond
	faults := []struct {
		how  fate
		text string // of its error; # is the task's number
	}{
		{errs, "deed #: boom"},
		{panics, "panic: deed #"},
		{exits, "the task called runtime.Goexit (t.FailNow and t.Skip do) instead of returning"},
		{late, "timed out after 50ms"},
		{deaf, "timed out after 50ms"},
		{crashes, "its worker ended with connection lost; it may have run in part"},
	}
	places := []struct {
		name string
		make func() place
	}{
		{"threads", func() place { return place{} }},
		{"remote", func() place { return place{&testkit.Remote{}} }},
		{"redelivered", func() place { return place{&testkit.Remote{Seed: 7, Redeliver: .9, Reorder: .5}} }},
	}
	for _, fault := range faults {
		for _, where := range places {
			if fault.how == crashes && where.name == "threads" {
				continue // what ends a goroutine's worker ends the program
			}
			for _, at := range []int{0, tasks / 2, tasks - 1} {
				for _, keepGoing := range []bool{true, false} {
					t.Run(fmt.Sprintf("%v/%s/task %d/keepGoing=%t", fault.how, where.name, at, keepGoing), func(t *testing.T) {
						testkit.Clean(t)
						l := newLedger(tasks)
						deeds := l.deeds(tasks)
						deeds[at].How, deeds[at].Fails = fault.how, 1
						calls := Each(do, deeds)
						calls[at] = calls[at].Named("the deed")
						opts := []Option{where.make().option()}
						if keepGoing {
							opts = append(opts, KeepGoing())
						}
						if fault.how == late || fault.how == deaf {
							opts = append(opts, Timeout(timeout))
						}
						var got []any
						var err error
						_ = bubble(t, l, func() error {
							got, err = Parallel(2, opts...)(calls...)
							return nil
						})

						require.IsType(t, (*RunError)(nil), err)
						failures := Failures(err)
						require.Len(t, failures, 1)
						f := failures[0]
						assert.Equal(t, at, f.Index)
						assert.Equal(t, "the deed", f.Name)
						assert.Equal(t, 1, f.Attempts)
						assert.True(t, fault.how.is(f.Err, at), "%T: %v", f.Err, f.Err)

						notRun := 0
						for i, v := range got {
							switch {
							case i == at || l.started[i].Load() == 0:
								assert.Nil(t, v, "task %d", i)
								if i != at {
									notRun++
								}
							default:
								assert.Equal(t, square(i), v, "task %d", i)
							}
						}
						if keepGoing {
							assert.Zero(t, notRun)
						}
						text := fmt.Sprintf("parallel: task %d (the deed(%s)): %s", at, f.Args, strings.ReplaceAll(fault.text, "#", strconv.Itoa(at)))
						switch {
						case notRun == 1:
							text += "; 1 task was not run"
						case notRun > 1:
							text += fmt.Sprintf("; %d tasks were not run", notRun)
						}
						assert.EqualError(t, err, text)
						if notRun > 0 {
							assert.ErrorIs(t, err, ErrNotRun)
						} else {
							assert.NotErrorIs(t, err, ErrNotRun)
						}
					})
				}
			}
		}
	}
}

func box(x any) any { return x }
func unbox(kind string) any {
	switch kind {
	case "chan":
		return make(chan int)
	case "func":
		return func() {}
	}
	return kind
}
func throw(kind string) error { panic(unbox(kind)) }

func TestWhatCannotCrossFailsAlone(t *testing.T) {
	testkit.Clean(t)
	const cannotCross = "cannot be sent to another process; leave it out, or give the type that holds it MarshalBinary and UnmarshalBinary"
	r := &testkit.Remote{}
	got, err := Parallel(2, Backend(r), KeepGoing())(
		Delayed(box, 1), Delayed(box, make(chan int)), Delayed(box, "two"),
		Delayed(unbox, "func"), Delayed(unbox, "text"),
	)
	assert.Equal(t, []any{1, nil, "two", nil, "text"}, got)
	failures := Failures(err)
	require.Len(t, failures, 2)
	assert.EqualError(t, failures[0], "parallel: task 1 (github.com/gojoblib/parallel_test.box(chan int)): argument 0: chan int "+cannotCross)
	assert.Zero(t, failures[0].Attempts)
	assert.EqualError(t, failures[1], "parallel: task 3 (github.com/gojoblib/parallel_test.unbox(\"func\")): its result: func() "+cannotCross)
	assert.Equal(t, 1, failures[1].Attempts)
	assert.Zero(t, r.Open())
}

func TestAPanicValueThatCannotCrossComesAsText(t *testing.T) {
	testkit.Clean(t)
	_, err := Parallel(1, Backend(&testkit.Remote{}), KeepGoing())(Delayed(throw, "func"), Delayed(throw, "text"))
	failures := Failures(err)
	require.Len(t, failures, 2)
	for i, f := range failures {
		p, ok := f.Err.(*PanicError)
		require.True(t, ok, "%T", f.Err)
		require.IsType(t, "", p.Value)
		require.Contains(t, string(p.Stack), "throw", "task %d", i)
	}
}

func TestTasksThatCrashTheirWorkersInARowDoNotStopTheRun(t *testing.T) {
	testkit.Clean(t)
	l := newLedger(10)
	defer l.close()
	deeds := l.deeds(10)
	for i := range deeds {
		deeds[i].How, deeds[i].Fails = crashes, 1
	}
	_, err := Parallel(2, Backend(&testkit.Remote{}), KeepGoing(), BatchSize(1))(Each(do, deeds)...)
	require.Len(t, Failures(err), 10)
	require.NotErrorIs(t, err, ErrNotRun)
}

func TestOneWorkerKeepsTheOrderWhenItIsReplaced(t *testing.T) {
	testkit.Clean(t)
	l := newLedger(30)
	defer l.close()
	deeds := l.deeds(30)
	deeds[4].How, deeds[4].Fails = crashes, 1
	_, err := Parallel(1, Backend(&testkit.Remote{}), KeepGoing(), BatchSize(4))(Each(do, deeds)...)
	require.Len(t, Failures(err), 1)
	require.Equal(t, ints(30), l.order)
}

func panicsLate(ctx context.Context, _ int) (int, error) {
	<-ctx.Done()
	panic("late")
}

func TestWhatATaskDoesAfterItsDeadlineIsATimeout(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		synctest.Test(t, func(t *testing.T) {
			_, err := Parallel(1, where, Timeout(time.Second))(Delayed(panicsLate, 1))
			require.ErrorIs(t, err, ErrTimeout)
		})
	})
}

// watched counts who looks at it.
type watched int

var looks atomic.Int64

func (watched) String() string { looks.Add(1); return "watched" }

func refuses(watched) error { return errBoom }

func TestErrorsCallNoMethodOfAnArgument(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		_, err := Parallel(1, where)(Delayed(refuses, watched(7)))
		require.ErrorContains(t, err, "refuses(7)")
		require.Zero(t, looks.Load())
	})
}

func TestAResultThatCannotCrossIsNotRetried(t *testing.T) {
	testkit.Clean(t)
	_, err := Parallel(1, Backend(&testkit.Remote{}), Retry(2))(Delayed(unbox, "func"))
	require.Len(t, Failures(err), 1)
	require.Equal(t, 1, Failures(err)[0].Attempts)
}
