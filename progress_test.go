package parallel_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// figures are what differs from run to run in a line of Progress.
var figures = regexp.MustCompile(` in [^,\n]*(, [^,\n]*(/s|each))?`)

func TestProgressOfEveryFunctionAnywhere(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	ctx := context.Background()
	es := make([]errand, 40)
	for i := range es {
		es[i] = errand{N: i, What: "error", Fails: 1 - min(1, i%10)}
	}
	drain := func(n int, err error) error { return err }
	for name, place := range places {
		for _, c := range []struct {
			want string
			run  func(opts ...Option) error
		}{
			{"Parallel: 40/40 (100%), 4 failed\n", func(opts ...Option) error {
				_, err := Parallel(2, append(opts, KeepGoing())...)(Each(run, es)...)
				return err
			}},
			{"Map(parallel_test.run): 40/40 (100%), 4 failed\n", func(opts ...Option) error {
				_, err := Map(ctx, es, run, append(opts, KeepGoing())...)
				return err
			}},
			{"Map(parallel_test.run): 40/40 (100%)\n", func(opts ...Option) error {
				_, err := Map(ctx, es, run, append(opts, Retry(1))...)
				return err
			}},
			{"Starmap(parallel_test.repeated): 3/3 (100%)\n", func(opts ...Option) error {
				_, err := Starmap(ctx, Zip(ints(3), []string{"a", "b", "c"}), repeated, opts...)
				return err
			}},
			{"Stream: 40/40 (100%), 4 failed\n", func(opts ...Option) error {
				for range Stream(2, opts...)(seq(Each(run, es))) {
				}
				return nil
			}},
			{"Imap(parallel_test.run): 40/40 (100%), 4 failed\n", func(opts ...Option) error {
				for range Imap(ctx, seq(es), run, opts...) {
				}
				return nil
			}},
			{"ImapUnordered(parallel_test.run): 40/40 (100%), 4 failed\n", func(opts ...Option) error {
				for range ImapUnordered(ctx, seq(es), run, opts...) {
				}
				return nil
			}},
			{"Map(parallel_test.run): 0/0 (100%)\n", func(opts ...Option) error {
				_, err := Map(ctx, nil, run, opts...)
				return drain(0, err)
			}},
			{"Imap(parallel_test.run): 0/0 (100%)\n", func(opts ...Option) error {
				for range Imap(ctx, seq([]errand{}), run, opts...) {
				}
				return nil
			}},
			{"Imap(parallel_test.run): 0 done, stopped\n", func(opts ...Option) error {
				for range Imap(ctx, seq(es), run, append(opts, BatchSize(-1))...) {
				}
				return nil
			}},
			{"Stream: 0 done, stopped\n", func(opts ...Option) error {
				over, stop := context.WithCancel(ctx)
				stop()
				for range Stream(2, append(opts, Context(over))...)(seq(Each(run, es))) {
				}
				return nil
			}},
			{"Parallel: 0/40 (0%), stopped, 40 not run\n", func(opts ...Option) error {
				_, err := Parallel(0, opts...)(Each(run, es)...)
				return err
			}},
		} {
			var b bytes.Buffer
			err := c.run(place(), Progress(&b))
			assert.Equal(t, c.want, figures.ReplaceAllString(b.String(), ""), "%s, %v", name, err)
		}
	}
}

func TestProgressIsExactAboutAStop(t *testing.T) {
	testkit.Clean(t)
	for range 20 {
		var b bytes.Buffer
		_, err := Map(context.Background(), ints(100), func(_ context.Context, x int) (int, error) {
			if x == 30 {
				return 0, errFlaky
			}
			return x, nil
		}, NJobs(3), Progress(&b))
		var run *RunError
		require.ErrorAs(t, err, &run)
		want := fmt.Sprintf(": %d/100 (%d%%), 1 failed", 100-run.NotRun-run.Cut, 100-run.NotRun-run.Cut)
		if run.NotRun+run.Cut > 0 {
			want += ", stopped"
		}
		if run.Cut > 0 {
			want += fmt.Sprintf(", %d cut short", run.Cut)
		}
		if run.NotRun > 0 {
			want += fmt.Sprintf(", %d not run", run.NotRun)
		}
		assert.Equal(t, "Map"+want+"\n", figures.ReplaceAllString(b.String(), ""))
	}
}

func TestProgressOfDefaultsIsNotForRunsOfTasks(t *testing.T) {
	testkit.Clean(t)
	inner := func(opts ...Option) func(context.Context, int) (int, error) {
		return func(ctx context.Context, x int) (int, error) {
			got, err := Map(ctx, ints(x), cube, append(opts, NJobs(1))...)
			return len(got), err
		}
	}
	var b, own bytes.Buffer
	ctx := With(context.Background(), Progress(&b))
	_, err := Map(ctx, ints(4), inner(), NJobs(2))
	require.NoError(t, err)
	assert.Equal(t, "Map: 4/4 (100%)\n", figures.ReplaceAllString(b.String(), ""))
	_, err = Map(ctx, ints(2), cube)
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(b.String(), "\n"), "the defaults' runs have lines, one after the other")

	_, err = Map(context.Background(), ints(4), inner(Progress(&own)), NJobs(1))
	require.NoError(t, err)
	assert.Equal(t, 4, strings.Count(own.String(), "\n"), "a task may ask for them")
	own.Reset()
	_, err = Map(ctx, ints(4), func(ctx context.Context, x int) (int, error) {
		return inner()(With(ctx, Progress(&own)), x)
	}, NJobs(1))
	require.NoError(t, err)
	assert.Equal(t, 4, strings.Count(own.String(), "\n"), "also as a default of its own")
	assert.Equal(t, 3, strings.Count(b.String(), "\n"))
}

func TestProgressIsOverWhenTheRunIs(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer // it is read without a lock
		for range 30 {
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					_, err := Map(context.Background(), ints(3), func(context.Context, int) (int, error) { time.Sleep(3 * time.Second); return 0, nil }, Progress(&b), NJobs(1))
					assert.NoError(t, err)
				})
			}
			all.Wait()
			lines := strings.Count(b.String(), "\n")
			time.Sleep(time.Minute)
			assert.Equal(t, lines, strings.Count(b.String(), "\n"))
		}
		assert.Equal(t, 30*3, strings.Count(b.String(), "Map: 3/3 (100%) in 9s, 3s each\n"))
		assert.Equal(t, 30*3, strings.Count(b.String(), "Map: 1/3 (33%) in 5s, "))
	})
}

func TestProgressOfARunThatDidNothingHasNoRate(t *testing.T) {
	var b bytes.Buffer
	for range Imap(context.Background(), seq(ints(3)), cube, BatchSize(-1), Progress(&b)) {
	}
	_, err := Map(context.Background(), nil, cube, Progress(&b))
	require.NoError(t, err)
	assert.NotContains(t, b.String(), "?")
}

func TestOptionsThatFollowARunCombine(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	for name, place := range places {
		var c chronicle
		var bar, trace bytes.Buffer
		var why []Explanation
		got, err := Map(context.Background(), ints(50), cube, place(), NJobs(2), Timeout(time.Minute), Retry(2),
			Observe(&c), Progress(&bar), Trace(&trace), Explain(func(x Explanation) { why = append(why, x) }))
		require.NoError(t, err, name)
		assert.Equal(t, cubes(50), got)
		require.NoError(t, c.verify(c.runs[0], 50, "github.com/gojoblib/parallel_test.cube", nil))
		outcomes, err := verifyTrace(documents(t, trace.Bytes())[0], 50)
		require.NoError(t, err)
		assert.Equal(t, map[string]int{"finished": 50}, outcomes)
		require.Len(t, why, 1)
		assert.Equal(t, 50, why[0].Calls)
		assert.Equal(t, c.runs[0].ID, why[0].Run.ID)
		assert.Contains(t, bar.String(), "50/50")
	}
	_, err := Map(context.Background(), ints(3), cube, Progress(io.Discard), Trace(struct{ io.Writer }{io.Discard}))
	require.NoError(t, err)
}
