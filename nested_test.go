package parallel_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gauge counts how many are inside at once.
type gauge struct{ now, peak atomic.Int64 }

func (g *gauge) enter() {
	n := g.now.Add(1)
	for {
		p := g.peak.Load()
		if n <= p || g.peak.CompareAndSwap(p, n) {
			return
		}
	}
}

func (g *gauge) leave() { g.now.Add(-1) }

// tree runs n calls on n workers at every level, and counts the leaves at work.
func tree(ctx context.Context, depth, n int, leaves *gauge, pass bool) (int, error) {
	if depth == 0 {
		leaves.enter()
		defer leaves.leave()
		time.Sleep(time.Millisecond)
		return 1, nil
	}
	inner := ctx
	if !pass {
		inner = context.Background() // a call that forgot about its context
	}
	got, err := Map(inner, ints(n), func(ctx context.Context, _ int) (int, error) {
		return tree(ctx, depth-1, n, leaves, pass)
	}, NJobs(n))
	sum := 0
	for _, g := range got {
		sum += g
	}
	return sum, err
}

func TestNestedRunsShareTheWidestRunsWorkers(t *testing.T) {
	for _, pass := range []bool{true, false} {
		testkit.Clean(t)
		before := runtime.NumGoroutine()
		var leaves, goroutines gauge
		stop := make(chan struct{})
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for {
				select {
				case <-stop:
					return
				default:
					goroutines.peak.Store(max(goroutines.peak.Load(), int64(runtime.NumGoroutine())))
					runtime.Gosched()
				}
			}
		}()
		sum, err := tree(context.Background(), 4, 4, &leaves, pass)
		close(stop)
		<-watched
		require.NoError(t, err)
		assert.Equal(t, 256, sum)
		width := max(4, runtime.GOMAXPROCS(0))
		assert.LessOrEqual(t, int(leaves.peak.Load()), width, "leaves at work at once, context passed: %v", pass)
		assert.Less(t, int(goroutines.peak.Load())-before, 256/2, "goroutines for 256 leaves, context passed: %v", pass)
	}
}

func TestNestedRunUnderOneWorkerGetsItsOwn(t *testing.T) {
	testkit.Clean(t)
	// All four meet: were they not at work at once, this would never end.
	_, err := Parallel(1)(Delayed(func(ctx context.Context) error {
		meet := make(chan struct{}, 4)
		_, err := Map(ctx, ints(4), func(ctx context.Context, _ int) (int, error) {
			meet <- struct{}{}
			for len(meet) < 4 {
				if err := ctx.Err(); err != nil {
					return 0, err
				}
				time.Sleep(time.Millisecond)
			}
			return 0, nil
		}, NJobs(4), BatchSize(1))
		return err
	}))
	require.NoError(t, err)
}

func TestNestedRunGrowsWhenItsSiblingsEnd(t *testing.T) {
	testkit.Clean(t)
	n := max(2, runtime.GOMAXPROCS(0))
	var inner gauge
	tasks := make([]Task, n)
	started := make(chan struct{}, n)
	release := make(chan struct{})
	for i := range tasks {
		tasks[i] = Delayed(func(context.Context) error { started <- struct{}{}; <-release; return nil })
	}
	tasks[0] = Delayed(func(ctx context.Context) error {
		for len(started) < n-1 { // all slots are taken
			time.Sleep(time.Millisecond)
		}
		_, err := Map(ctx, ints(10_000), func(context.Context, int) (int, error) {
			inner.enter()
			defer inner.leave()
			if inner.peak.Load() == 1 && n > 1 {
				select {
				case <-release:
				default:
					close(release) // only this call's goroutine is here: the peak is one
				}
				time.Sleep(time.Millisecond)
			}
			return 0, nil
		}, NJobs(n), BatchSize(1))
		return err
	})
	_, err := Parallel(n)(tasks...)
	require.NoError(t, err)
	assert.Greater(t, int(inner.peak.Load()), 1, "workers of the nested run")
}

func TestIndependentRunsGetTheirWorkersEach(t *testing.T) {
	testkit.Clean(t)
	var all gauge
	run := func() {
		_, err := Map(context.Background(), ints(16), func(ctx context.Context, _ int) (int, error) {
			all.enter()
			defer all.leave()
			for deadline := time.Now().Add(time.Minute); all.peak.Load() < 32 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			return 0, nil
		}, NJobs(16), BatchSize(1))
		assert.NoError(t, err)
	}
	done := make(chan struct{})
	go func() { defer close(done); run() }()
	run()
	<-done
	assert.Equal(t, 32, int(all.peak.Load()), "calls at work at once")
}

func TestRunInsideAStreamUsesTheWorkersThatTheStreamDoesNotNeed(t *testing.T) {
	testkit.Clean(t)
	var inner gauge
	task := Delayed(func(ctx context.Context) error {
		_, err := Map(ctx, ints(8), func(context.Context, int) (int, error) {
			inner.enter()
			defer inner.leave()
			for deadline := time.Now().Add(time.Minute); inner.peak.Load() < 4 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			return 0, nil
		}, NJobs(4), BatchSize(1))
		return err
	})
	for _, err := range Stream(4)(seq([]Task{task})) {
		require.NoError(t, err)
	}
	assert.Equal(t, 4, int(inner.peak.Load()))
}
