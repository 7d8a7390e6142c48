package parallel_test

import (
	"context"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// grind computes for so many milliseconds, and somewhat longer where it has to share a CPU.
func grind(ctx context.Context, ms int) (int, error) {
	start, x := time.Now(), 1.
	for time.Since(start) < time.Duration(ms)*time.Millisecond && ctx.Err() == nil {
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

func init() { Register(grind, nap, lengthOf) }

// TestExplainFindsWhatIsSlow has seven runs that are slow, each in its own way, and one that is not.
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
			in := make([]int, 64*cpus)
			for i := range in {
				in[i] = 50
			}
			_, err := Map(ctx, in, grind, o, NJobs(8*cpus))
			return err
		}, VerdictManyWorkers, []string{"more workers than CPUs: ", " waited for one on average"}},
		{"tasks that wait", func(o Option) error { // and wake together
			in := make([]int, 128*cpus)
			for i := range in {
				in[i] = 20
			}
			_, err := Map(ctx, in, nap, o, NJobs(16*cpus))
			return err
		}, VerdictBusy, []string{"workers were busy ", "tasks that wait want more workers"}},
		{"few tasks", func(o Option) error {
			_, err := Map(ctx, []int{20}, nap, o, NJobs(max(2, cpus)))
			return err
		}, VerdictFewTasks, []string{"there were more workers than tasks: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.verdict == VerdictFewTasks && cpus == 1 {
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
			all := float64(x.Elapsed) * float64(x.Workers)
			assert.InDelta(t, all, float64(x.Busy+x.Idle+x.Handling), .1*all)
			t.Log(x)
		})
	}
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

	_, err = Map(context.Background(), ints(1), cube, Explain(func(Explanation) { panic("ouch") }))
	require.ErrorContains(t, err, "an observer failed: panic: ouch")
	for v := VerdictNothing; !strings.HasPrefix(v.String(), "verdict "); v++ {
		assert.NotEmpty(t, v.String())
	}
}
