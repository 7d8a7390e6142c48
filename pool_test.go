package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/internal/testkit"
)

// openPool returns a pool that is closed, without a fault, at the end of the test.
func openPool(t *testing.T, n int, opts ...Option) *Pool {
	t.Helper()
	testkit.Clean(t)
	p, err := NewPool(n, opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, p.Close())
		assert.NoError(t, p.Close(), "again")
		assert.NoError(t, p.Join())
	})
	return p
}

// places are where pools run.
var places = map[string]func() Option{
	"threads":   func() Option { return Prefer(Threads) },
	"remote":    func() Option { return Backend(&testkit.Remote{}) },
	"processes": func() Option { return Prefer(Processes) },
}

// poolDeed does what it is told, in any process.
func poolDeed(ctx context.Context, what string, x int) (int, error) {
	switch what {
	case "pid":
		return os.Getpid(), nil
	case "error":
		return 0, fmt.Errorf("deed %d: %w", x, errBoom)
	case "panic":
		panic("deed")
	case "goexit":
		runtime.Goexit()
	case "wait":
		<-ctx.Done()
		return 0, context.Cause(ctx)
	case "deaf":
		time.Sleep(time.Hour)
	case "nap":
		time.Sleep(time.Duration(x) * time.Millisecond)
	case "kill":
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {}
	}
	return x * x, nil
}

func waits(ctx context.Context, _ int) (int, error) { return poolDeed(ctx, "wait", 0) }

func deedOf(what string, x int) Task { return Delayed(poolDeed, what, x) }

func TestAPoolMakesCallsAnywhere(t *testing.T) {
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			p := openPool(t, 3, place())
			v, err := Apply[int](ctx, p, deedOf("", 7))
			require.NoError(t, err)
			assert.Equal(t, 49, v)
			var fs []*Future[int]
			for i := range 5_000 {
				fs = append(fs, ApplyAsync[int](ctx, p, deedOf("", i)))
			}
			for i, f := range fs {
				v, err := f.Get(ctx)
				require.NoError(t, err)
				require.Equal(t, i*i, v)
			}
			seen := map[*Future[int]]bool{}
			for f := range AsCompleted(fs...) {
				seen[f] = true
			}
			assert.Len(t, seen, len(fs))
			for f := range AsCompleted(fs...) {
				_ = f
				break
			}

			for _, what := range []string{"error", "panic", "goexit"} {
				_, err := Apply[int](ctx, p, deedOf(what, 3).Named("a deed"))
				failed, ok := errors.AsType[*TaskError](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, "a deed", failed.Name)
				assert.Equal(t, 1, failed.Attempts)
				assert.Contains(t, failed.Args, what)
				switch what {
				case "error":
					assert.ErrorIs(t, err, errBoom)
				case "goexit":
					assert.ErrorIs(t, err, ErrGoexit)
				default:
					panicked, _ := errors.AsType[*PanicError](err)
					assert.Equal(t, "deed", panicked.Value)
				}
			}
			_, err = Apply[string](ctx, p, deedOf("", 3))
			assert.ErrorContains(t, err, "was asked for a result of type string, and the task has returned type int")
			_, err = Apply[int](ctx, p, Delayed(poolDeed, 1))
			assert.ErrorContains(t, err, "pool_test.go:")

			squares, err := MapAsync(ctx, p, []int{1, 2, 3}, cube).Get(ctx)
			require.NoError(t, err)
			assert.Equal(t, []int{1, 8, 27}, squares)
			anys, err := Parallel(2, On(p))(deedOf("", 1), deedOf("", 2))
			require.NoError(t, err)
			assert.Equal(t, []any{1, 4}, anys)
			n := 0
			for r, err := range Stream(-1, On(p))(func(yield func(Task) bool) {
				for i := range 100 {
					if !yield(deedOf("", i)) {
						return
					}
				}
			}) {
				require.NoError(t, err)
				assert.Equal(t, n*n, r.Value)
				n++
			}
			assert.Equal(t, 100, n)
		})
	}
}

func TestAFutureIsCancelled(t *testing.T) {
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			p := openPool(t, 1, place())
			_, err := Apply[int](ctx, p, deedOf("", 0)) // there is a worker
			require.NoError(t, err)
			first := ApplyAsync[int](ctx, p, deedOf("wait", 0))
			for first.Pending() {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(10 * time.Millisecond)
			limited, end := context.WithCancelCause(ctx)
			second := ApplyAsync[int](limited, p, deedOf("wait", 0))
			third := ApplyAsync[int](ctx, p, deedOf("", 5))
			fourth := ApplyAsync[int](ctx, p, deedOf("", 6))

			early, stop := context.WithCancel(ctx)
			stop()
			_, err = first.Get(early)
			assert.ErrorIs(t, err, context.Canceled, "Get's own context")

			third.Cancel()
			end(errBoom)
			_, err = second.Get(ctx)
			assert.ErrorIs(t, err, ErrNotRun)
			assert.ErrorIs(t, err, context.Canceled)
			assert.ErrorIs(t, err, errBoom)

			assert.False(t, first.Cancel(), "it runs")
			_, err = first.Get(ctx)
			assert.ErrorIs(t, err, context.Canceled)
			assert.NotErrorIs(t, err, ErrNotRun)
			assert.False(t, first.Cancel(), "it has ended")

			_, err = third.Get(ctx)
			assert.ErrorIs(t, err, ErrNotRun)
			v, err := fourth.Get(ctx)
			require.NoError(t, err)
			assert.Equal(t, 36, v)
			fourth.OnDone(func(v int, err error) { assert.Equal(t, 36, v) })
		})
	}
}

func TestACancelledCallThatDoesNotHeedItIsKilled(t *testing.T) {
	ctx := context.Background()
	p := openPool(t, 1, Prefer(Processes))
	deaf := ApplyAsync[int](ctx, p, deedOf("deaf", 0))
	next := ApplyAsync[int](ctx, p, deedOf("", 6))
	for deaf.Pending() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	deaf.Cancel()
	_, err := deaf.Get(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	v, err := next.Get(ctx)
	require.NoError(t, err)
	assert.Equal(t, 36, v)
}

func TestTerminateIsPrompt(t *testing.T) {
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			ctx := context.Background()
			p, err := NewPool(2, place())
			require.NoError(t, err)
			assert.ErrorContains(t, p.Join(), "neither closed nor terminated")
			var fs []*Future[int]
			for range 10_000 {
				fs = append(fs, ApplyAsync[int](ctx, p, deedOf("wait", 0)))
			}
			run := MapAsync(ctx, p, make([]int, 100), waits)
			for fs[0].Pending() {
				time.Sleep(time.Millisecond)
			}
			require.NoError(t, p.Terminate())
			notRun := 0
			for _, f := range fs {
				_, err := f.Get(ctx)
				if errors.Is(err, ErrNotRun) {
					notRun++
				}
				require.ErrorIs(t, err, ErrClosed)
			}
			assert.Greater(t, notRun, 9_900)
			_, err = run.Get(ctx)
			assert.ErrorIs(t, err, ErrClosed)
			_, err = Apply[int](ctx, p, deedOf("", 1))
			assert.ErrorIs(t, err, ErrClosed)
			_, err = Map(ctx, []int{1}, cube, On(p))
			assert.ErrorIs(t, err, ErrClosed)
			_, err = MapAsync(ctx, p, []int{1}, cube).Get(ctx)
			assert.ErrorIs(t, err, ErrClosed)
			assert.NoError(t, p.Close())
			assert.NoError(t, p.Terminate())
			assert.NoError(t, p.Join())
		})
	}
}

func TestCloseFinishesWhatWasSubmitted(t *testing.T) {
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			ctx := context.Background()
			p, err := NewPool(2, place())
			require.NoError(t, err)
			var fs []*Future[int]
			called := 0
			for i := range 200 {
				f := ApplyAsync[int](ctx, p, deedOf("", i))
				f.OnDone(func(int, error) { called++ }) // no lock: callbacks come one after the other
				fs = append(fs, f)
			}
			run := MapAsync(ctx, p, make([]int, 1000), cube)
			run.OnDone(func([]int, error) { called++ })
			require.NoError(t, p.Close())
			assert.Equal(t, 201, called)
			for i, f := range fs {
				v, err := f.Get(ctx)
				require.NoError(t, err)
				require.Equal(t, i*i, v)
			}
			_, err = run.Get(ctx)
			assert.NoError(t, err)
			_, err = ApplyAsync[int](ctx, p, deedOf("", 1)).Get(ctx)
			assert.ErrorIs(t, err, ErrClosed)
			assert.ErrorIs(t, err, ErrNotRun)
		})
	}
}

// depth waits for one call of its own pool inside the other.
func depth(p *Pool) func(context.Context, int) (int, error) {
	var f func(context.Context, int) (int, error)
	f = func(ctx context.Context, n int) (int, error) {
		if n == 0 {
			return 0, nil
		}
		v, err := ApplyAsync[int](ctx, p, Delayed(f, n-1)).Get(ctx)
		return v + 1, err
	}
	return f
}

func TestATaskMayWaitForItsOwnPool(t *testing.T) {
	ctx := context.Background()
	for _, opts := range [][]Option{nil, {Timeout(time.Minute)}, {Retry(2)}} {
		for _, n := range []int{1, 2} {
			p := openPool(t, n, opts...)
			v, err := Apply[int](ctx, p, Delayed(depth(p), 50))
			require.NoError(t, err)
			assert.Equal(t, 50, v)

			got, err := MapAsync(ctx, p, []int{5, 6, 7, 8}, depth(p)).Get(ctx)
			require.NoError(t, err)
			assert.Equal(t, []int{5, 6, 7, 8}, got)

			var fs []*Future[int]
			for range 100 {
				fs = append(fs, ApplyAsync[int](ctx, p, Delayed(depth(p), 5)))
			}
			for f := range AsCompleted(fs...) {
				v, err := f.Get(ctx)
				require.NoError(t, err)
				assert.Equal(t, 5, v)
			}

			all := func(ctx context.Context) (sum int, err error) {
				var fs []*Future[int]
				for i := range 10 {
					fs = append(fs, ApplyAsync[int](ctx, p, Delayed(depth(p), i)))
				}
				m := MapAsync(ctx, p, []int{1, 2}, depth(p))
				for f := range AsCompleted(fs...) {
					v, err := f.Get(ctx)
					if err != nil {
						return 0, err
					}
					sum += v
				}
				vs, err := m.Get(ctx)
				return sum + vs[0] + vs[1], err
			}
			v, err = Apply[int](ctx, p, Delayed(all))
			require.NoError(t, err)
			assert.Equal(t, 48, v)

			// A call that fails once is made again while another waits for it.
			var tries atomic.Int64
			once := func() (int, error) {
				if tries.Add(1) == 1 {
					return 0, errBoom
				}
				return 1, nil
			}
			_, err = Apply[int](ctx, p, Delayed(func(ctx context.Context) (int, error) { return Apply[int](ctx, p, Delayed(once)) }))
			if len(opts) == 0 || tries.Load() == 1 {
				assert.ErrorIs(t, err, errBoom)
			} else {
				assert.NoError(t, err)
			}
		}
	}
}

func TestRunsOnAPoolNest(t *testing.T) {
	ctx := context.Background()
	for _, n := range []int{1, 2, 3} {
		p := openPool(t, n)
		var f func(ctx context.Context, n int) (int, error)
		f = func(ctx context.Context, n int) (int, error) {
			if n == 0 {
				return 1, nil
			}
			vs, err := Map(ctx, []int{n - 1, n - 1, n - 1}, f, On(p))
			for r, e := range Imap(ctx, slices.Values([]int{n - 1, n - 1}), f, On(p)) {
				err = errors.Join(err, e)
				vs = append(vs, r)
			}
			sum := 0
			for _, v := range vs {
				sum += v
			}
			return sum, err
		}
		v, err := Apply[int](ctx, p, Delayed(f, 3))
		require.NoError(t, err)
		assert.Equal(t, 125, v)
	}
}

func TestAPoolHasNoMoreThanNAtOnce(t *testing.T) {
	const n = 3
	ctx := context.Background()
	p := openPool(t, n)
	var now, most atomic.Int64
	f := func(context.Context, int) (int, error) {
		k := now.Add(1)
		for m := most.Load(); k > m && !most.CompareAndSwap(m, k); m = most.Load() {
		}
		time.Sleep(100 * time.Microsecond)
		now.Add(-1)
		return 0, nil
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			_, err := Map(ctx, make([]int, 50), f, On(p))
			assert.NoError(t, err)
		})
		all.Go(func() {
			for _, err := range Stream(2, On(p))(func(yield func(Task) bool) {
				for range 50 {
					if !yield(Delayed(f, 1)) {
						return
					}
				}
			}) {
				assert.NoError(t, err)
				_, err = Apply[int](ctx, p, Delayed(f, 1))
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	assert.LessOrEqual(t, most.Load(), int64(n))
}

func TestWorkersOfAPoolKeepWhatTheyOpened(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	var opened, closed atomic.Int64
	w := PerWorker(func() (int64, error) { return opened.Add(1), nil }, func(int64) error { closed.Add(1); return errBoom })
	p, err := NewPool(2)
	require.NoError(t, err)
	get := func(ctx context.Context, _ int) (int64, error) { return w.Get(ctx) }
	for range 50 {
		_, err := Apply[int64](ctx, p, Delayed(get, 1))
		require.NoError(t, err)
		_, err = Map(ctx, make([]int, 10), get, On(p))
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, opened.Load(), int64(4), "two runs at once overlap for a moment")
	assert.ErrorIs(t, p.Close(), errBoom)
	assert.Equal(t, opened.Load(), closed.Load())
}

func TestCallbacks(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	p, err := NewPool(2)
	require.NoError(t, err)
	var order []int
	f := ApplyAsync[int](ctx, p, Delayed(square, 3))
	for i := range 10 {
		f.OnDone(func(v int, err error) { order = append(order, i) })
	}
	f.OnDone(func(int, error) { panic("a callback's own") })
	f.OnDone(func(int, error) { runtime.Goexit() })
	f.OnDone(nil)
	f.OnDone(func(v int, err error) { order = append(order, v) })
	err = p.Close()
	assert.ErrorContains(t, err, "a callback: panic: a callback's own")
	assert.ErrorIs(t, err, ErrGoexit)
	assert.NoError(t, p.Close())
	assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, order)
	late := make(chan int, 1)
	f.OnDone(func(v int, err error) { late <- v })
	assert.Equal(t, 10, <-late, "also after the end of the pool")
}

func TestPoolsAreMisused(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	_, err := NewPool(0)
	assert.ErrorContains(t, err, "n = 0 means no worker at all")
	_, err = NewPool(2, NJobs(3), Retry(-1))
	assert.ErrorContains(t, err, "NJobs does not apply to NewPool")
	assert.ErrorContains(t, err, "Retry(-1)")
	_, err = NewPool(2, On(nil))
	assert.ErrorContains(t, err, "On does not apply to NewPool")
	_, err = Map(ctx, []int{1}, cube, On(nil))
	assert.ErrorContains(t, err, "On was given a Pool that is nil")
	_, err = Apply[int](ctx, nil, Delayed(square, 1))
	assert.ErrorContains(t, err, "the Pool is nil")
	_, err = MapAsync(ctx, &Pool{}, []int{1}, cube).Get(ctx)
	assert.ErrorContains(t, err, "the Pool is nil")
	p := openPool(t, 2)
	_, err = Apply[int](nil, p, Delayed(square, 1)) //nolint:staticcheck // it is the misuse
	assert.ErrorContains(t, err, "nil context")
	_, err = Map(ctx, []int{1}, cube, On(p), Prefer(Processes))
	assert.ErrorContains(t, err, "On and a Prefer that does not agree")
	_, err = Map(ctx, []int{1}, cube, On(p), Backend(&testkit.Remote{}))
	assert.ErrorContains(t, err, "On and Backend are both given")
	_, err = Map(ctx, []int{1}, cube, On(p), Prefer(Threads))
	assert.NoError(t, err)
	_, err = Map(With(ctx, On(p)), []int{1}, cube, Prefer(Processes))
	assert.NoError(t, err, "the explicit option wins")
	CloseIdleWorkers()
	_, err = MapAsync[int, int](ctx, p, []int{1}, nil).Get(ctx)
	assert.ErrorContains(t, err, "nil function")
	_, err = StarmapAsync(ctx, p, func(func(int, int) bool) { panic("input") }, func(context.Context, int, int) (int, error) { return 0, nil }).Get(ctx)
	panicked, _ := errors.AsType[*PanicError](err)
	require.NotNil(t, panicked)
	assert.Equal(t, "input", panicked.Value)
	for range AsCompleted[int](nil, nil) {
		t.Error("there is no future")
	}
}

func TestOptionsOfAPoolHoldOnIt(t *testing.T) {
	ctx := context.Background()
	p := openPool(t, 2, Timeout(30*time.Millisecond), Retry(1))
	_, err := Apply[int](ctx, p, deedOf("wait", 0))
	assert.ErrorIs(t, err, ErrTimeout)
	assert.Equal(t, 2, Failures(err)[0].Attempts)
	_, err = Map(ctx, []int{1}, func(ctx context.Context, _ int) (int, error) { <-ctx.Done(); return 0, nil }, On(p))
	assert.ErrorIs(t, err, ErrTimeout)
	assert.Equal(t, 2, Failures(err)[0].Attempts)
	_, err = Map(ctx, []int{1}, func(ctx context.Context, _ int) (int, error) { return 0, errBoom }, On(p), Retry(3))
	assert.Equal(t, 4, Failures(err)[0].Attempts)

	// The context of a call is the submitter's as well.
	type key struct{}
	given, end := context.WithCancelCause(context.WithValue(ctx, key{}, "value"))
	f := ApplyAsync[any](given, p, Delayed(func(ctx context.Context) (any, error) {
		info, _ := TaskFrom(ctx)
		assert.Contains(t, info.Name, "TestOptionsOfAPool")
		end(errBoom)
		<-ctx.Done()
		assert.ErrorIs(t, context.Cause(ctx), errBoom)
		return ctx.Value(key{}), nil
	}))
	v, err := f.Get(ctx)
	require.NoError(t, err)
	assert.Equal(t, "value", v)
}

func TestAPoolThatIsDroppedLetsItsWorkersGo(t *testing.T) {
	testkit.Clean(t)
	ctx, ours := context.Background(), goleak.IgnoreCurrent()
	f := func() *Future[int] {
		p, err := NewPool(2, Prefer(Processes))
		require.NoError(t, err)
		return ApplyAsync[int](ctx, p, deedOf("nap", 20))
	}()
	for range 3 {
		runtime.GC()
	}
	v, err := f.Get(ctx)
	require.NoError(t, err)
	assert.Equal(t, 400, v)
	for goleak.Find(ours) != nil { // as they wait for the processes; the test's own deadline is what bounds this
		time.Sleep(time.Millisecond)
	}
}

func TestMaxTasksOfAPool(t *testing.T) {
	ctx := context.Background()
	p := openPool(t, 1, Backend(processes.New(processes.Options{MaxTasks: 3})))
	count := map[int]int{}
	var fs []*Future[int]
	for range 100 {
		fs = append(fs, ApplyAsync[int](ctx, p, deedOf("pid", 0)))
	}
	for _, f := range fs {
		pid, err := f.Get(ctx)
		require.NoError(t, err)
		count[pid]++
	}
	assert.Len(t, count, 34)
	for pid, n := range count {
		assert.LessOrEqual(t, n, 3, pid)
	}
}

func failingInit() error { return errBoom }

func TestAPoolWhoseWorkersCannotStart(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	p, err := NewPool(2, Backend(processes.New(processes.Options{Init: failingInit})))
	require.NoError(t, err)
	f, g := ApplyAsync[int](ctx, p, deedOf("", 1)), ApplyAsync[int](ctx, p, deedOf("", 2))
	for _, f := range []*Future[int]{f, g} {
		_, err = f.Get(ctx)
		assert.ErrorIs(t, err, ErrNotRun)
		assert.ErrorIs(t, err, errBoom)
	}
	_, err = Apply[int](ctx, p, deedOf("", 1))
	assert.ErrorIs(t, err, ErrClosed)
	assert.ErrorIs(t, err, errBoom, "it says why")
	assert.ErrorIs(t, p.Close(), errBoom)
}

// TestPoolsUnderFire mixes all that can be done to pools, while workers are killed. Every future ends exactly once.
func TestPoolsUnderFire(t *testing.T) {
	lasts := 3 * time.Second
	if s := os.Getenv("PARALLEL_CHAOS"); s != "" {
		var err error
		lasts, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			ctx := context.Background()
			end := time.Now().Add(lasts / time.Duration(len(places)))
			var made, ended, failed atomic.Int64
			var others sync.WaitGroup
			for time.Now().Before(end) {
				p, err := NewPool(2, place())
				require.NoError(t, err)
				var fs sync.WaitGroup
				for k := range 10 {
					others.Go(func() {
						r := rand.New(rand.NewPCG(uint64(k), uint64(made.Load())))
						for range 30 {
							limited, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(20_000))*time.Microsecond)
							what := []string{"", "", "nap", "error", "panic", "goexit", "wait"}[r.IntN(7)]
							if name == "processes" && r.IntN(20) == 0 {
								what = "kill"
							}
							made.Add(1)
							fs.Add(1)
							var f interface {
								Cancel() bool
								Done() <-chan struct{}
							}
							over := func(err error) {
								ended.Add(1)
								if err != nil {
									failed.Add(1)
								}
								fs.Done()
							}
							if r.IntN(5) == 0 {
								m := MapAsync(limited, p, []int{1, 2, 3, 4}, cube)
								m.OnDone(func(_ []int, err error) { over(err) })
								f = m
							} else {
								a := ApplyAsync[int](limited, p, deedOf(what, 1))
								a.OnDone(func(_ int, err error) { over(err) })
								f = a
							}
							switch r.IntN(6) {
							case 0:
								f.Cancel()
							case 1:
								<-f.Done()
							case 2:
								_, _ = Map(limited, []int{1, 2}, cube, On(p))
							}
							switch r.IntN(400) {
							case 0:
								others.Go(func() { _ = p.Close() })
							case 1:
								others.Go(func() { _ = p.Terminate() })
							}
							<-f.Done()
							cancel()
						}
					})
				}
				others.Wait()
				fs.Wait()
				_ = p.Close()
			}
			assert.Equal(t, made.Load(), ended.Load(), "every future ends exactly once")
			t.Logf("%d futures, %d of them failed", made.Load(), failed.Load())
		})
	}
}
