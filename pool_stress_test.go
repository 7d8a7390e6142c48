package parallel_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/backend/threads"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTasksThatWaitForTheirPool has tasks that wait for their own pool in every way there is, at random, and fail, are
// cancelled, leave goroutines behind. Every future ends, each callback is called once, and Close returns.
func TestTasksThatWaitForTheirPool(t *testing.T) {
	lasts := 500 * time.Millisecond // each
	if s := os.Getenv("PARALLEL_CHAOS"); s != "" {
		d, err := time.ParseDuration(s)
		require.NoError(t, err)
		lasts = d / 5
	}
	some := func(n int) time.Duration { return time.Duration(rand.IntN(n)) * time.Microsecond }
	for name, opts := range map[string][]Option{
		"plain":   nil,
		"retry":   {Retry(2)},
		"timeout": {Timeout(20 * time.Millisecond)},
		"both":    {Timeout(20 * time.Millisecond), Retry(2)},
		"retry later": {RetryIf(func(_ error, attempt int) (time.Duration, bool) {
			return some(3000), attempt < 4
		})},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			for began := time.Now(); time.Since(began) < lasts; {
				p, err := NewPool(1+rand.IntN(3), opts...)
				require.NoError(t, err)
				wait := func(ctx context.Context, f *Future[int]) { _, _ = f.Get(ctx) }
				var deed func(ctx context.Context, depth int) (int, error)
				deeper := func(ctx context.Context, depth int) *Future[int] {
					return ApplyAsync[int](ctx, p, Delayed(deed, depth-1))
				}
				deed = func(ctx context.Context, depth int) (int, error) {
					each := func(ctx context.Context, _ int) (int, error) { return deed(ctx, depth-1) }
					if depth > 0 {
						switch rand.IntN(6) {
						case 0:
							f := deeper(ctx, depth)
							if rand.IntN(3) == 0 {
								f.Cancel()
							}
							wait(ctx, f)
						case 1:
							var all sync.WaitGroup
							for range 3 {
								f := deeper(ctx, depth)
								all.Go(func() { wait(ctx, f) })
							}
							all.Wait()
						case 2:
							fs := []*Future[int]{deeper(ctx, depth), deeper(ctx, depth), deeper(ctx, depth)}
							for range AsCompleted(fs...) {
								if rand.IntN(4) == 0 {
									break
								}
							}
						case 3:
							_, _ = Map(ctx, []int{1, 2, 3}, each, On(p))
						case 4:
							_, _ = MapAsync(ctx, p, []int{1, 2, 3}, each).Get(ctx)
						case 5:
							f := deeper(ctx, depth)
							go wait(ctx, f) // it outlives the task
							short, cancel := context.WithTimeout(ctx, time.Millisecond)
							wait(short, f)
							cancel()
						}
					}
					switch rand.IntN(12) {
					case 0:
						return 0, errBoom
					case 1:
						panic("deed")
					case 2:
						runtime.Goexit()
					case 3:
						time.Sleep(some(1000))
					case 4:
						if opts != nil && rand.IntN(4) == 0 {
							<-time.After(30 * time.Millisecond)
						}
					}
					return depth, ctx.Err()
				}
				const calls = 100
				var told atomic.Int64
				var all sync.WaitGroup
				for i := range calls {
					all.Go(func() {
						ctx, cancel := context.WithCancel(context.Background())
						defer cancel()
						f := ApplyAsync[int](ctx, p, Delayed(deed, 1+i%3))
						f.OnDone(func(int, error) { told.Add(1) })
						switch rand.IntN(5) {
						case 0:
							f.Cancel()
						case 1:
							cancel()
						case 2:
							time.Sleep(some(3000))
							f.Cancel()
						}
						<-f.Done()
					})
				}
				all.Wait()
				require.NoError(t, p.Close())
				assert.EqualValues(t, calls, told.Load())
			}
		})
	}
}

// onceMore tries a failed call again, after d.
func onceMore(d time.Duration) Option {
	return RetryIf(func(_ error, attempt int) (time.Duration, bool) { return d, attempt < 2 })
}

// diesOnce ends its process, unless the file path is there.
func diesOnce(path string) int {
	if _, err := os.Stat(path); err != nil {
		_ = os.WriteFile(path, nil, 0o600)
		os.Exit(3)
	}
	return 7
}

func init() { Register(diesOnce) }

func TestACallIsTriedAgainWhereNoWorkerIsLeft(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	for _, closes := range []bool{false, true} { // which waits for it
		p, err := NewPool(1, Prefer(Processes), onceMore(100*time.Millisecond))
		require.NoError(t, err)
		path := t.TempDir() + "/died"
		f := ApplyAsync[int](ctx, p, Delayed(diesOnce, path))
		if closes {
			for _, err := os.Stat(path); err != nil; _, err = os.Stat(path) {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(30 * time.Millisecond)
			require.NoError(t, p.Close())
		}
		v, err := f.Get(ctx)
		require.NoError(t, err)
		assert.Equal(t, 7, v)
		require.NoError(t, p.Close())
	}
}

func TestATaskWaitsForACallThatIsTriedAgain(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	p := openPool(t, 1, onceMore(50*time.Millisecond))
	failed := make(chan struct{})
	n := 0
	a := ApplyAsync[int](ctx, p, Delayed(func() (int, error) {
		if n++; n == 1 {
			close(failed)
			return 0, errBoom
		}
		return 7, nil
	}))
	<-failed
	v, err := Apply[int](ctx, p, Delayed(func(ctx context.Context) (int, error) { return a.Get(ctx) }))
	require.NoError(t, err)
	assert.Equal(t, 7, v)
}

// twoPools returns pools of one worker each.
func twoPools(t *testing.T) (p, q *Pool) {
	testkit.Clean(t)
	p, err := NewPool(1)
	require.NoError(t, err)
	q, err = NewPool(1)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, errors.Join(p.Close(), q.Close())) })
	return p, q
}

// One goroutine of a task waits for a run, or a call, on the task's worker; another for what comes after, elsewhere.
func TestATaskWaitsInTwoGoroutines(t *testing.T) {
	testkit.Clean(t)
	for _, first := range []string{"run", "call, not for long"} {
		t.Run(first, func(t *testing.T) {
			p, q := twoPools(t)
			_, err := Apply[any](context.Background(), p, Delayed(func(ctx context.Context) error {
				slow := Delayed(func() { time.Sleep(60 * time.Millisecond) })
				var f *Future[any]
				if first != "run" {
					f = ApplyAsync[any](ctx, p, slow)
				}
				last := make(chan struct{})
				g := ApplyAsync[any](context.Background(), q, Delayed(func() { <-last }))
				var all sync.WaitGroup
				all.Go(func() {
					time.Sleep(15 * time.Millisecond)
					_, _ = g.Get(ctx)
				})
				if first == "run" {
					_, _ = Parallel(1, On(p), Context(ctx))(slow)
				} else {
					short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
					defer cancel()
					_, _ = f.Get(short)
				}
				ApplyAsync[any](context.Background(), p, Delayed(func() { close(last) }))
				all.Wait()
				return nil
			}))
			require.NoError(t, err)
		})
	}
}

// Tasks of two pools wait for each other's.
func TestPoolsWaitForEachOther(t *testing.T) {
	testkit.Clean(t)
	for name, wait := range map[string]func(ctx context.Context, on *Pool, task func(context.Context) (int, error)) error{
		"runs": func(ctx context.Context, on *Pool, task func(context.Context) (int, error)) error {
			_, err := Parallel(1, On(on), Context(ctx))(Delayed(task))
			return err
		},
		"streams": func(ctx context.Context, on *Pool, task func(context.Context) (int, error)) error {
			for _, err := range Imap(ctx, count(1), func(ctx context.Context, _ int) (int, error) { return task(ctx) }, On(on)) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"as completed": func(ctx context.Context, on *Pool, task func(context.Context) (int, error)) error {
			for f := range AsCompleted(ApplyAsync[int](ctx, on, Delayed(task))) {
				if _, err := f.Get(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, q := twoPools(t)
			inP, inQ := make(chan bool), make(chan bool)
			end := func(context.Context) (int, error) { return 1, nil }
			f := ApplyAsync[any](context.Background(), p, Delayed(func(ctx context.Context) error {
				close(inP)
				<-inQ
				return wait(ctx, q, end)
			}))
			g := ApplyAsync[any](context.Background(), q, Delayed(func(ctx context.Context) error {
				close(inQ)
				<-inP
				return wait(ctx, p, end)
			}))
			_, err := f.Get(context.Background())
			require.NoError(t, err)
			_, err = g.Get(context.Background())
			require.NoError(t, err)
		})
	}
}

// As in a task, so in a goroutine of it.
func TestAsCompletedInAGoroutineOfATask(t *testing.T) {
	testkit.Clean(t)
	p := openPool(t, 1)
	_, err := Apply[any](context.Background(), p, Delayed(func(ctx context.Context) {
		f := ApplyAsync[int](ctx, p, Delayed(cubeOf, 3))
		var all sync.WaitGroup
		all.Go(func() {
			for range AsCompleted(f) {
			}
		})
		all.Wait()
	}))
	require.NoError(t, err)
}

// A task waits, without a context, for a call that waits for its next attempt: none comes any more.
func TestTerminateEndsCallsThatWaitForTheirNextAttempt(t *testing.T) {
	testkit.Clean(t)
	p, err := NewPool(2, onceMore(time.Hour))
	require.NoError(t, err)
	begun := make(chan struct{}, 3)
	f := ApplyAsync[int](context.Background(), p, Delayed(func() (int, error) { begun <- struct{}{}; return 0, errBoom }))
	g := ApplyAsync[int](context.Background(), p, Delayed(func() int { begun <- struct{}{}; <-f.Done(); return 1 }))
	pending := ApplyAsync[any](context.Background(), p, Delayed(func(ctx context.Context) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))
	later := ApplyAsync[int](context.Background(), p, Delayed(cubeOf, 3))
	for range 3 { // the third has the worker of the first, which has failed
		<-begun
	}
	require.NoError(t, p.Terminate())
	_, err = f.Get(context.Background())
	assert.ErrorIs(t, err, errBoom)
	_, err = g.Get(context.Background())
	assert.NoError(t, err)
	_, err = later.Get(context.Background())
	assert.ErrorIs(t, err, ErrNotRun)
	<-pending.Done()
}

// What an attempt's context holds is let go when the attempt ends, whatever way it does.
func TestContextsOfAttemptsThatPanicEnd(t *testing.T) {
	testkit.Clean(t)
	p := openPool(t, 1, Retry(3))
	var mu sync.Mutex
	var attempts []context.Context
	_, err := Apply[any](context.Background(), p, Delayed(func(ctx context.Context) {
		mu.Lock()
		attempts = append(attempts, ctx)
		mu.Unlock()
		panic("deed")
	}))
	require.Error(t, err)
	for i, ctx := range attempts {
		assert.Error(t, ctx.Err(), "attempt %d", i+1)
	}
}

// A call that was cancelled is not tried again: what it has returned is its result.
func TestCancelKeepsWhatACallReturns(t *testing.T) {
	testkit.Clean(t)
	p := openPool(t, 1, onceMore(time.Hour))
	begun := make(chan struct{})
	f := ApplyAsync[any](context.Background(), p, Delayed(func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		return errBoom
	}))
	<-begun
	assert.False(t, f.Cancel())
	_, err := f.Get(context.Background())
	assert.ErrorIs(t, err, errBoom)
	var failed *TaskError
	require.True(t, errors.As(err, &failed))
	assert.Equal(t, 1, failed.Attempts)
}

// stumbles is a backend of goroutines, whose second worker cannot be started.
type stumbles struct {
	threads.Backend
	starts *atomic.Int64
}

func (s stumbles) Start(ctx context.Context) (backend.Worker, error) {
	if s.starts.Add(1) == 2 {
		return nil, errBoom
	}
	return s.Backend.Start(ctx)
}

func TestAPoolStartsAWorkerAgain(t *testing.T) {
	p := openPool(t, 3, Backend(stumbles{starts: new(atomic.Int64)}))
	var all sync.WaitGroup // all three run at once
	all.Add(3)
	var fs []*Future[any]
	for range 3 {
		fs = append(fs, ApplyAsync[any](context.Background(), p, Delayed(func() {
			all.Done()
			all.Wait()
		})))
	}
	for _, f := range fs {
		_, err := f.Get(context.Background())
		require.NoError(t, err)
	}
}
