package memo_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/gojoblib/parallel/memo"
)

// chaos has all rounds made, where else only as many are as there is time for.
var chaos = os.Getenv("PARALLEL_CHAOS") != ""

func init() {
	// order DIR forth|back makes the calls of one round after the other, in one order, when it is told to.
	helpers["order"] = func(args []string) error {
		m, err := memo.New(memo.Options{Dir: args[0]})
		if err != nil {
			return err
		}
		for {
			var round int
			if _, err := fmt.Scanln(&round); err != nil {
				return m.Close()
			}
			ks := numbered(round)
			if args[1] == "back" {
				slices.Reverse(ks)
			}
			vs, err := parallel.Map(context.Background(), ks, logged, parallel.Memo(m), parallel.NJobs(1))
			if err != nil {
				return err
			}
			for i, k := range ks {
				if err := wrong(k, vs[i]); err != nil {
					return err
				}
			}
			fmt.Println(round)
		}
	}
}

const perRound = 8

// numbered returns the keys of a round.
func numbered(round int) []int {
	ks := make([]int, perRound)
	for i := range ks {
		ks[i] = perRound*round + i
	}
	return ks
}

// lane is a way to make calls of count.
type lane struct {
	name string
	run  func(context.Context, *memo.Memory, []job) ([]outcome, error)
}

// lanes are all ways to make calls of count in a run.
func lanes(opts ...parallel.Option) []lane {
	with := func(m *memo.Memory, more ...parallel.Option) []parallel.Option {
		return slices.Concat(opts, more, []parallel.Option{parallel.Memo(m)})
	}
	return []lane{
		{"Map", func(ctx context.Context, m *memo.Memory, in []job) ([]outcome, error) {
			return parallel.Map(ctx, in, count, with(m, parallel.NJobs(1))...)
		}},
		{"Parallel", func(ctx context.Context, m *memo.Memory, in []job) ([]outcome, error) {
			return parallel.Collect[outcome](parallel.Parallel(2, with(m, parallel.Context(ctx))...)(parallel.Each(count, in)...))
		}},
		{"Stream", func(ctx context.Context, m *memo.Memory, in []job) (got []outcome, err error) {
			for r, err := range parallel.Stream(1, with(m, parallel.Context(ctx))...)(slices.Values(parallel.Each(count, in))) {
				if err != nil {
					return got, err
				}
				got = append(got, r.Value.(outcome))
			}
			return got, nil
		}},
		{"Imap", func(ctx context.Context, m *memo.Memory, in []job) (got []outcome, err error) {
			for o, err := range parallel.Imap(ctx, slices.Values(in), count, with(m, parallel.NJobs(2), parallel.PreDispatch(3))...) {
				if err != nil {
					return got, err
				}
				got = append(got, o)
			}
			return got, nil
		}},
	}
}

// crossing makes a round of calls through each of two lanes at once, in opposite orders.
func crossing(ctx context.Context, t *testing.T, m *memo.Memory, a, b lane) bool {
	js := fresh(perRound)
	for i := range js {
		js[i].Takes = 20 * time.Microsecond
	}
	before := m.Stats()
	back := slices.Clone(js)
	slices.Reverse(back)
	var both sync.WaitGroup
	for i, l := range []lane{a, b} {
		in := [][]job{js, back}[i]
		both.Go(func() {
			got, err := l.run(ctx, m, in)
			if !assert.NoError(t, err, l.name) {
				return
			}
			for k, j := range in {
				assert.Equal(t, outcome{j.Key, []int{j.Key, 1}}, got[k], l.name)
			}
		})
	}
	both.Wait()
	after := m.Stats()
	return assert.EqualValues(t, len(js), after.Misses-before.Misses, "%s and %s", a.name, b.name) &&
		assert.EqualValues(t, len(js), after.Stores-before.Stores) && !t.Failed()
}

// rounds are made, 1,000 or as many as there is time for, through all pairs of lanes in turn.
func rounds(t *testing.T, budget time.Duration, m *memo.Memory, as, bs []lane) {
	ctx := inTime(t)
	if chaos {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
	}
	n, begin := 0, time.Now()
	for n < 1000 && (chaos || time.Since(begin) < budget) {
		if !crossing(ctx, t, m, as[n%len(as)], bs[n/len(as)%len(bs)]) {
			break
		}
		n++
	}
	t.Logf("%d rounds in %v", n, time.Since(begin))
}

func TestRunsInOppositeOrderDoNotDeadlock(t *testing.T) {
	ways := slices.Concat(lanes(), lanes(parallel.BatchSize(perRound/2)))
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		rounds(t, 2*time.Second, m, ways, ways)
	})
}

func TestRunsOfProcessesInOppositeOrderDoNotDeadlock(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(parallel.CloseIdleWorkers)
	there := parallel.Prefer(parallel.Processes)
	ways := slices.Concat(lanes(there), lanes(there, parallel.BatchSize(perRound/2)))
	t.Run("both", func(t *testing.T) { rounds(t, 1500*time.Millisecond, open(t, memo.Options{}), ways, ways) })
	t.Run("disk", func(t *testing.T) {
		rounds(t, 500*time.Millisecond, open(t, memo.Options{Dir: t.TempDir()}), ways, ways)
	})
	t.Run("mixed", func(t *testing.T) {
		rounds(t, time.Second, open(t, memo.Options{}), ways, lanes(parallel.BatchSize(perRound/2)))
	})
}

func TestProcessesInOppositeOrderDoNotDeadlock(t *testing.T) {
	testkit.Clean(t)
	dir, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	t.Setenv(logFile, log)
	ctx := inTime(t)
	a, b := startHelper(ctx, t, "order", dir, "forth"), startHelper(ctx, t, "order", dir, "back")
	n, begin := 0, time.Now()
	for n < 1000 && (chaos || time.Since(begin) < 1500*time.Millisecond) {
		for _, p := range []*process{a, b} {
			fmt.Fprintln(p.in, n)
		}
		for _, p := range []*process{a, b} {
			require.Equal(t, strconv.Itoa(n), p.line())
		}
		n++
	}
	for _, p := range []*process{a, b} {
		p.in.Close()
		require.NoError(t, p.Wait())
	}
	keys, times := computed(t, log)
	require.Len(t, keys, n*perRound)
	require.Equal(t, n*perRound, times)
	t.Logf("%d rounds in %v", n, time.Since(begin))
}
