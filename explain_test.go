package parallel_test

import (
	"context"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// grind computes what takes about so many milliseconds on a CPU of its own, however long it has to wait for one.
func grind(ctx context.Context, ms int) (int, error) {
	x := 1.
	for i := 0; i < 200*ms && ctx.Err() == nil; i++ {
		for range 1000 {
			x = math.Sqrt(x + 1)
		}
	}
	return int(x), nil
}

func nap(_ context.Context, ms int) (int, error) {
	time.Sleep(time.Duration(ms) * time.Millisecond)
	return ms, nil
}

// lengthOf is a task with a large argument.
func lengthOf(_ int, data []byte) int { return len(data) }

// bytesOf and stringsOf are tasks with large results.
func bytesOf(n int) []byte { return make([]byte, n) }

func stringsOf(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return all
}

func init() { Register(grind, nap, lengthOf, bytesOf, stringsOf) }

// TestExplainFindsWhatIsSlow has runs that are slow, each in its own way, and some that are not.
func TestExplainFindsWhatIsSlow(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	ctx := context.Background()
	cpus := runtime.GOMAXPROCS(0)
	naps := []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 500} // on a machine that has other things to do a nap of 1 lasts 20
	large := make([]byte, 40<<20)
	var deliveries []Task
	for i := range 6 {
		deliveries = append(deliveries, Delayed(lengthOf, i, large))
	}
	for _, c := range []struct {
		name    string
		run     func(Option) error
		verdict Verdict
		says    []string
	}{
		{"small tasks", func(o Option) error {
			_, err := Parallel(2, o, Prefer(Processes))(Each(cubeOf, ints(30_000))...)
			return err
		}, VerdictSmallTasks, []string{"tasks last ", ": processes costs ", "× here", "Threads", "30000 calls on 2 workers"}},
		{"small tasks, one by one", func(o Option) error {
			_, err := Parallel(2, o, Prefer(Processes), BatchSize(1))(Each(cubeOf, ints(300))...)
			return err
		}, VerdictSmallTasks, []string{"tasks last ", ": processes costs ", "× here"}},
		{"large results", func(o Option) error {
			_, err := Parallel(2, o, Prefer(Processes))(Each(bytesOf, []int{20 << 20, 20 << 20, 20 << 20, 20 << 20})...)
			return err
		}, VerdictLargeResults, []string{"each task returns 20 MB, and workers spent ", "of their time on that; return a path, a key or less, or use Threads", "80 MB received"}},
		{"results of many parts", func(o Option) error {
			_, err := Parallel(2, o, Prefer(Processes))(Each(stringsOf, []int{500_000, 500_000, 500_000})...)
			return err
		}, VerdictLargeResults, []string{"each task returns ", "return a path"}},
		{"a large argument", func(o Option) error {
			_, err := Parallel(2, o, Prefer(Processes))(deliveries...)
			return err
		}, VerdictLargeArguments, []string{"argument 1 is 40 MB, and the same, in every task", "encoding"}},
		{"one task", func(o Option) error {
			_, err := Map(ctx, naps, nap, o, NJobs(2))
			return err
		}, VerdictOneTask, []string{"one task (10, github.com/gojoblib/parallel_test.nap) held ", "% of the run", "The longest task was 10"}},
		{"the input", func(o Option) error {
			for _, err := range Imap(ctx, func(yield func(int) bool) {
				for x := range 30 {
					time.Sleep(5 * time.Millisecond)
					if !yield(x) {
						return
					}
				}
			}, cube, o, NJobs(2)) {
				if err != nil {
					return err
				}
			}
			return nil
		}, VerdictSlowInput, []string{"the input was the bottleneck: drawing it took ", "workers were idle "}},
		{"the consumer", func(o Option) error {
			for _, err := range Imap(ctx, count(30), cube, o, NJobs(2)) {
				time.Sleep(5 * time.Millisecond)
				if err != nil {
					return err
				}
			}
			return nil
		}, VerdictSlowConsumer, []string{"the consumer was slow: the loop over the results took "}},
		{"many workers", func(o Option) error {
			_, err := Map(ctx, slices.Repeat([]int{15}, 64*cpus), grind, o, NJobs(8*cpus))
			return err
		}, VerdictManyWorkers, []string{"more workers than CPUs: ", " waited for one on average"}},
		{"tasks that wait", func(o Option) error { // and wake together
			_, err := Map(ctx, slices.Repeat([]int{20}, 128*cpus), nap, o, NJobs(16*cpus))
			return err
		}, VerdictWaiting, []string{"the tasks waited: workers were busy ", "more workers than ", " may help"}},
		{"tasks that wait, one worker each", func(o Option) error {
			_, err := Map(ctx, []int{100, 100, 100}, nap, o, NJobs(3))
			return err
		}, VerdictWaiting, []string{"the tasks waited, all at once: workers were busy "}},
		{"one worker", func(o Option) error {
			_, err := Map(ctx, []int{20, 20, 20, 20, 20, 20}, grind, o, NJobs(1))
			return err
		}, VerdictFewWorkers, []string{"1 worker used 1 of ", " CPUs: take NJobs(-1)."}},
		{"nothing", func(o Option) error {
			_, err := Map(ctx, slices.Repeat([]int{20}, 16*cpus), grind, o, NJobs(cpus))
			return err
		}, VerdictBusy, []string{"the run was as fast as th", " allow", ": workers were busy "}},
		{"few tasks", func(o Option) error {
			_, err := Map(ctx, []int{20}, nap, o, NJobs(max(2, cpus)))
			return err
		}, VerdictFewTasks, []string{"there was only 1 task, where ", " workers were asked for"}},
		{"few tasks that wait", func(o Option) error {
			_, err := Map(ctx, []int{100, 100, 100}, nap, o, NJobs(8))
			return err
		}, VerdictFewTasks, []string{"there were only 3 tasks, where 8 workers were asked for"}},
		{"three tasks on two workers", func(o Option) error {
			_, err := Map(ctx, []int{200, 200, 200}, nap, o, NJobs(2))
			return err
		}, VerdictUneven, []string{"3 tasks do not divide by 2 workers: the last round left 1 of them idle; cut the work finer"}},
		{"five tasks on four workers", func(o Option) error {
			_, err := Map(ctx, []int{200, 200, 200, 200, 200}, nap, o, NJobs(4))
			return err
		}, VerdictUneven, []string{"5 tasks do not divide by 4 workers: the last round left 3 of them idle"}},
		{"pauses between attempts", func(o Option) error {
			fails := func(ctx context.Context, ms int) (int, error) {
				if info, _ := TaskFrom(ctx); info.Attempt == 1 {
					return 0, errFlaky
				}
				return nap(ctx, ms)
			}
			_, err := Map(ctx, []int{10, 10, 10, 10}, fails, o, NJobs(2),
				RetryIf(func(_ error, attempt int) (time.Duration, bool) { return 300 * time.Millisecond, attempt == 1 }))
			return err
		}, VerdictIdle, []string{"workers were idle ", "of the time: for ", " tasks waited to be tried again"}},
		{"results that another task makes", func(o Option) error {
			_, err := Map(ctx, []int{300, 300, 300}, nap, o, NJobs(2), Memo(new(twins)))
			return err
		}, VerdictIdle, []string{"workers were idle ", "of the time: for ", " tasks waited for results that others were making", "from the cache: 2."}},
		{"looking up", func(o Option) error {
			_, err := Map(ctx, []int{1, 1, 1, 1, 1, 1}, nap, o, NJobs(2), Memo(new(forgetful)))
			return err
		}, VerdictIdle, []string{"of the time: looking results up in the cache took "}},
		{"the last tasks", func(o Option) error {
			_, err := Map(ctx, []int{200, 100, 200, 100, 380}, nap, o, NJobs(4))
			return err
		}, VerdictIdle, []string{"of the time: at the end there was nothing left for them to do"}},
		{"calls of a pool, one by one", func(o Option) error {
			p, err := NewPool(2, o)
			if err != nil {
				return err
			}
			for range 5 {
				if _, err = Apply[int](ctx, p, Delayed(napOf, 2)); err != nil {
					return err
				}
				time.Sleep(40 * time.Millisecond)
			}
			return p.Close()
		}, VerdictIdle, []string{"NewPool on threads: workers were idle ", "of the time: no call was submitted meanwhile"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.verdict == VerdictFewWorkers && cpus == 1 {
				t.Skip("there is one CPU")
			}
			var got []Explanation
			require.NoError(t, c.run(Explain(func(x Explanation) { got = append(got, x) })))
			require.Len(t, got, 1)
			x := got[0]
			assert.Equal(t, c.verdict, x.Verdict, "%v\n%+v", x, x)
			for _, says := range c.says {
				assert.Contains(t, x.String(), says)
			}
			assert.NotContains(t, x.String(), "e+0")
			assert.Equal(t, x.Run.Total < 0 && x.Run.Caller != "NewPool", strings.Contains(x.String(), "Drawing the input"))
			all := float64(x.Elapsed) * float64(x.Workers)
			assert.InDelta(t, all, float64(x.Busy+x.Idle+x.Handling), .1*all)
			t.Log(x)
		})
	}
}

func napOf(ms int) int {
	time.Sleep(time.Duration(ms) * time.Millisecond)
	return ms
}

// twins is a Memoizer of calls that are all the same.
type twins struct {
	mu           sync.Mutex
	begun, ended bool
	value        any
	again        []func()
}

func (m *twins) Lookup(any, []any) (any, bool, func(any, time.Duration, bool), func(func()) func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.ended:
		return m.value, true, nil, nil, nil
	case m.begun:
		return nil, false, nil, m.wait, nil
	}
	m.begun = true
	return nil, false, m.made, nil, nil
}

func (m *twins) made(value any, _ time.Duration, _ bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.value, m.ended = value, true
	for _, again := range m.again {
		go again()
	}
}

func (m *twins) wait(again func()) func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		go again()
	} else {
		m.again = append(m.again, again)
	}
	return func() {}
}

// forgetful is a Memoizer that is slow to say that it knows nothing.
type forgetful struct{}

func (forgetful) Lookup(any, []any) (any, bool, func(any, time.Duration, bool), func(func()) func(), error) {
	time.Sleep(50 * time.Millisecond)
	return nil, false, nil, nil, nil
}

func TestExplainTellsWhyNoTaskWasRun(t *testing.T) {
	testkit.Clean(t)
	var x Explanation
	explain := Explain(func(got Explanation) { x = got })
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for want, run := range map[string]func() error{
		"Map(parallel_test.cube) on threads: no task was run: context canceled; 3 tasks were not run.": func() error {
			_, err := Map(over, ints(3), cube, explain)
			return err
		},
		"Map(parallel_test.cube) on threads: no task was run: BatchSize(0): it must be ": func() error {
			_, err := Map(context.Background(), ints(3), cube, explain, BatchSize(0), Timeout(-1))
			return err
		},
		"Parallel on threads: no task was run: 2 tasks failed: task 1 (": func() error {
			_, err := Parallel(2, explain)(Delayed(cubeOf, 1), Delayed(cubeOf), Delayed(cubeOf, 1, 2))
			return err
		},
	} {
		require.Error(t, run())
		assert.True(t, strings.HasPrefix(x.String(), want), "%s\n%s", want, x)
		assert.Equal(t, VerdictNothing, x.Verdict)
		assert.NotContains(t, x.String(), "\n")
	}
	for range 2 {
		_, err := Map(context.Background(), ints(3), cube, Memo(memory{}), explain)
		require.NoError(t, err)
	}
	assert.Equal(t, "Map(parallel_test.cube) on threads: all 3 results came from the cache.", x.String())
}

func TestExplainCountsWorkersThatWereLost(t *testing.T) {
	testkit.Clean(t)
	l := newLedger(6)
	defer l.close()
	ds := l.deeds(6)
	for i := range ds {
		ds[i].Takes = 5 * time.Millisecond
	}
	ds[1].How, ds[1].Fails, ds[4].How, ds[4].Fails = crashes, 1, crashes, 1
	var x Explanation
	_, err := Map(context.Background(), ds, do, NJobs(2), Backend(&testkit.Remote{}), Retry(1), Explain(func(got Explanation) { x = got }))
	require.NoError(t, err)
	assert.Equal(t, []int{2, 2, 2, 8}, []int{x.Workers, x.Lost, x.Replaced, x.Calls}, "%v", x)
	assert.Contains(t, x.String(), "2 workers were lost, and others started in their place")
}

func TestExplainTellsWhatHasBecomeOfTheTasks(t *testing.T) {
	testkit.Clean(t)
	var x Explanation
	explain := Explain(func(got Explanation) { x = got })
	attempts := 0
	_, err := Map(context.Background(), ints(5), func(context.Context, int) (int, error) {
		if attempts++; attempts > 2 {
			return 0, errFlaky
		}
		return 0, nil
	}, explain, NJobs(1), Retry(2))
	require.Error(t, err)
	assert.Equal(t, 5, x.Calls)
	assert.Equal(t, Summary{Done: 3, Failed: 1, Retried: 2, NotRun: 2}, x.Summary)
	assert.Contains(t, x.String(), "Failed: 1, not run: 2, cut short: 0, from the cache: 0.")
	assert.Contains(t, x.String(), "in attempts that were repeated")

	_, err = Map(context.Background(), nil, cube, explain)
	require.NoError(t, err)
	assert.Equal(t, "Map(parallel_test.cube) on threads: no task was run.", x.String())
	assert.Equal(t, VerdictNothing, x.Verdict)

	for v := VerdictNothing; !strings.HasPrefix(v.String(), "verdict "); v++ {
		assert.NotEmpty(t, v.String())
	}
}
