package parallel_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// thing is something that only one call at a time may use.
type thing struct {
	busy, closed atomic.Bool
	uses         int
}

func TestPerWorkerOpensOneForEachWorkerAndClosesAll(t *testing.T) {
	testkit.Clean(t)
	var mu sync.Mutex
	var all []*thing
	things := PerWorker(func() (*thing, error) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, &thing{})
		return all[len(all)-1], nil
	}, func(th *thing) error {
		assert.False(t, th.closed.Swap(true), "closed once")
		return nil
	})
	_, err := Map(context.Background(), ints(500), func(ctx context.Context, x int) (int, error) {
		th, err := things.Get(ctx)
		if err != nil {
			return 0, err
		}
		assert.False(t, th.busy.Swap(true), "shared between workers")
		defer th.busy.Store(false)
		assert.False(t, th.closed.Load())
		th.uses++
		again, _ := things.Get(ctx)
		assert.Same(t, th, again)
		if x%100 == 7 {
			runtime.Goexit() // the worker goes on, with what it has
		}
		return 0, nil
	}, NJobs(3), KeepGoing(), BatchSize(1))
	require.Len(t, Failures(err), 5)
	uses := 0
	for _, th := range all {
		assert.True(t, th.closed.Load())
		uses += th.uses
	}
	assert.LessOrEqual(t, len(all), 3)
	assert.Equal(t, 500, uses)
}

func TestPerWorkerFailures(t *testing.T) {
	testkit.Clean(t)
	errClose, errOpen := errors.New("close failed"), errors.New("open failed")
	run := func(w *Worker[int], opts ...Option) ([]int, error) {
		return Map(context.Background(), ints(4), func(ctx context.Context, x int) (int, error) {
			v, err := w.Get(ctx)
			return x + v, err
		}, append(opts, NJobs(1))...)
	}
	tries := 0
	flaky := PerWorker(func() (int, error) {
		if tries++; tries < 3 {
			return 0, errOpen
		}
		return 10, nil
	}, nil)
	got, err := run(flaky, KeepGoing())
	require.ErrorIs(t, err, errOpen)
	assert.Equal(t, []int{0, 0, 12, 13}, got)

	for name, c := range map[string]struct {
		close func(int) error
		is    func(error) bool
	}{
		"error":  {func(int) error { return errClose }, func(err error) bool { return errors.Is(err, errClose) }},
		"panic":  {func(int) error { panic("ouch") }, func(err error) bool { var p *PanicError; return errors.As(err, &p) && p.Value == "ouch" }},
		"goexit": {func(int) error { runtime.Goexit(); return nil }, func(err error) bool { return errors.Is(err, ErrGoexit) }},
	} {
		first := PerWorker(func() (int, error) { return 1, nil }, func(int) error { return errOpen })
		second := PerWorker(func() (int, error) { return 1, nil }, c.close)
		got, err := Map(context.Background(), ints(3), func(ctx context.Context, x int) (int, error) {
			a, _ := first.Get(ctx)
			b, _ := second.Get(ctx)
			return x + a + b, nil
		}, NJobs(1))
		assert.Equal(t, []int{2, 3, 4}, got, "all results are there")
		assert.True(t, c.is(err), "%s: %v", name, err)
		assert.ErrorIs(t, err, errOpen, "the other one is closed, too")
		assert.NotErrorIs(t, err, ErrNotRun)
		assert.Empty(t, Failures(err))
	}

	_, err = flaky.Get(context.Background())
	require.ErrorContains(t, err, "outside of a task")
	_, err = run(PerWorker[int](nil, nil))
	require.ErrorContains(t, err, "PerWorker[int]: open is nil")
}

func TestDiscardOpensAnother(t *testing.T) {
	testkit.Clean(t)
	opened, closed := 0, 0
	conns := PerWorker(func() (int, error) { opened++; return opened, nil }, func(int) error { closed++; return nil })
	got, err := Map(context.Background(), ints(6), func(ctx context.Context, x int) (int, error) {
		c, err := conns.Get(ctx)
		if x%2 == 1 {
			err = conns.Discard(ctx)
		}
		return c, errors.Join(err)
	}, NJobs(1))
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1, 2, 2, 3, 3}, got)
	assert.Equal(t, 3, closed)
}

func info(ctx context.Context, x int) (TaskInfo, error) {
	i, ok := TaskFrom(ctx)
	if !ok || i.Index != x {
		return i, errors.New("not my index")
	}
	return i, nil
}

func init() { Register(info) }

func TestTaskFromTellsTheSameEverywhere(t *testing.T) {
	testkit.Clean(t)
	var first []any
	for _, opts := range [][]Option{
		nil, {BatchSize(7)}, {Timeout(1e12)}, {Backend(&testkit.Remote{})},
	} {
		for _, n := range []int{1, 3} {
			got, err := Parallel(n, append(opts, Seed(42))...)(Each(info, ints(50))...)
			require.NoError(t, err)
			if first == nil {
				first = got
			}
			assert.Equal(t, first, got)
		}
	}
	seeds := map[uint64]bool{}
	for i, r := range first {
		ti := r.(TaskInfo)
		assert.Equal(t, TaskInfo{i, 1, "github.com/gojoblib/parallel_test.info", ti.Seed}, ti)
		seeds[ti.Seed] = true
	}
	assert.Len(t, seeds, 50)
	other, err := Parallel(2)(Each(info, ints(50))...)
	require.NoError(t, err)
	assert.NotEqual(t, first, other, "another run seed")
	named, err := Collect[TaskInfo](Parallel(2)(Delayed(info, 0).Named("zero")))
	require.NoError(t, err)
	assert.Equal(t, "zero", named[0].Name)
	_, ok := TaskFrom(context.Background())
	assert.False(t, ok)
}

func TestSeedsMakeRandomnessReproducible(t *testing.T) {
	draw := func(n int) []float64 {
		got, err := Map(context.Background(), ints(100), func(ctx context.Context, _ int) (float64, error) {
			i, _ := TaskFrom(ctx)
			return rand.New(rand.NewPCG(i.Seed, 0)).Float64(), nil //nolint:gosec // not for secrets
		}, NJobs(n), Seed(7))
		require.NoError(t, err)
		return got
	}
	one := draw(1)
	assert.Equal(t, one, draw(4))
	slices.Sort(one)
	assert.Len(t, slices.Compact(one), 100)
}
