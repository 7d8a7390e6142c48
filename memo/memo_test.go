package memo_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/gojoblib/parallel/memo"
)

var _ parallel.Memoizer = (*memo.Memory)(nil)

// calls counts, by argument, how often count was called in this process.
var calls sync.Map

type job struct {
	Key   int
	Fails int64 // calls that fail first
	Takes time.Duration
}

type outcome struct {
	Key  int
	List []int
}

var errBoom = errors.New("boom")

func count(_ context.Context, j job) (outcome, error) {
	n, _ := calls.LoadOrStore(j, new(atomic.Int64))
	c := n.(*atomic.Int64).Add(1)
	time.Sleep(j.Takes)
	if c <= j.Fails {
		return outcome{}, errBoom
	}
	return outcome{j.Key, []int{j.Key, 1}}, nil
}

func made(j job) int64 {
	n, ok := calls.Load(j)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

var keys atomic.Int64

// fresh returns n jobs that nobody has seen.
func fresh(n int) []job {
	js := make([]job, n)
	for i := range js {
		js[i].Key = int(keys.Add(1))
	}
	return js
}

func TestAHitIsNotMade(t *testing.T) {
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		f := memo.Func(m, count)
		j := fresh(1)[0]
		require.False(t, f.Has(j))
		for range 3 {
			got, err := f.Call(t.Context(), j)
			require.NoError(t, err)
			require.Equal(t, outcome{j.Key, []int{j.Key, 1}}, got)
			got.List[0] = -1 // it is the caller's own
		}
		require.EqualValues(t, 1, made(j))
		require.True(t, f.Has(j))
		s := m.Stats()
		require.EqualValues(t, 2, s.Hits)
		require.EqualValues(t, 1, s.Misses)
		require.EqualValues(t, 1, s.Stores)
		require.Zero(t, s.Errors)
		require.NoError(t, f.Forget(j))
		require.False(t, f.Has(j))
		require.NoError(t, m.Clear())
	})
}

func TestRunsMakeEveryCallOnce(t *testing.T) {
	for name, where := range map[string]parallel.Option{"threads": parallel.Prefer(parallel.Threads), "processes": parallel.Prefer(parallel.Processes)} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, m *memo.Memory) {
				t.Cleanup(parallel.CloseIdleWorkers)
				js := fresh(50)
				js = slices.Concat(js, js, js[:10]) // duplicates inside of one run
				rand.Shuffle(len(js), func(i, k int) { js[i], js[k] = js[k], js[i] })
				for range 2 {
					got, err := parallel.Map(t.Context(), js, count, parallel.Memo(m), where, parallel.NJobs(4))
					require.NoError(t, err)
					for i, j := range js {
						require.Equal(t, outcome{j.Key, []int{j.Key, 1}}, got[i])
					}
					tasks := parallel.Each(count, js)
					all, err := parallel.Parallel(3, parallel.Memo(m), where)(tasks...)
					require.NoError(t, err)
					require.Equal(t, got[7], all[7])
					n := 0
					for r, err := range parallel.Stream(3, parallel.Memo(m), where)(slices.Values(tasks)) {
						require.NoError(t, err)
						require.Equal(t, got[n], r.Value)
						require.True(t, r.Cached)
						n++
					}
					require.Len(t, js, n)
				}
				s := m.Stats()
				require.EqualValues(t, 50, s.Misses)
				require.EqualValues(t, 50, s.Stores)
				if name == "threads" {
					for _, j := range js {
						require.EqualValues(t, 1, made(j))
					}
				}
			})
		})
	}
}

func TestErrorsAreNotKeptAndTheNextOneLeads(t *testing.T) {
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		j := fresh(1)[0]
		j.Fails = 1
		got, err := parallel.Map(t.Context(), []job{j, j, j, j}, count, parallel.Memo(m), parallel.KeepGoing(), parallel.NJobs(2))
		require.Len(t, parallel.Failures(err), 1)
		require.ErrorIs(t, err, errBoom)
		n := 0
		for _, o := range got {
			if o.Key == j.Key {
				n++
			}
		}
		require.Equal(t, 3, n)
		require.EqualValues(t, 2, made(j))

		j = fresh(1)[0]
		j.Fails = 2
		got, err = parallel.Map(t.Context(), []job{j, j, j}, count, parallel.Memo(m), parallel.Retry(2), parallel.NJobs(2))
		require.NoError(t, err)
		require.Len(t, got, 3)
		require.EqualValues(t, 3, made(j))
	})
}

// ends panics, ends its goroutine, or waits for its context, when first called with an argument.
func ends(ctx context.Context, how string) (int, error) {
	if _, before := calls.LoadOrStore(how, true); before {
		return len(how), nil
	}
	switch how, _, _ := strings.Cut(how, " "); how {
	case "panic":
		panic("as planned")
	case "exit":
		runtime.Goexit()
	case "wait":
		<-ctx.Done()
	}
	return 0, ctx.Err()
}

func TestALeaderThatFailsHandsOver(t *testing.T) {
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		id := " " + strconv.Itoa(int(keys.Add(1)))
		for _, how := range []string{"panic" + id, "exit" + id, "wait" + id} {
			got, err := parallel.Map(t.Context(), []string{how, how, how}, ends, parallel.Memo(m), parallel.KeepGoing(), parallel.NJobs(2), parallel.Timeout(50*time.Millisecond))
			require.Len(t, parallel.Failures(err), 1, how)
			slices.Sort(got)
			require.Equal(t, []int{0, len(how), len(how)}, got, how)
		}
	})
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		f := memo.Func(m, count)
		j := fresh(1)[0]
		j.Takes = 300 * time.Millisecond
		first := make(chan error)
		go func() {
			_, err := f.Call(context.Background(), j)
			first <- err
		}()
		require.Eventually(t, func() bool { return made(j) == 1 }, 5*time.Second, time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, err := f.Call(ctx, j)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		ctx, cancel = context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, err = parallel.Map(ctx, []job{j, j}, count, parallel.Memo(m))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, <-first)
		require.EqualValues(t, 1, made(j))
	})
}

func TestSettings(t *testing.T) {
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		j := fresh(1)[0]
		ctx := t.Context()
		call := func(opts ...memo.Option) {
			_, err := memo.Func(m, count, opts...).Call(ctx, j)
			require.NoError(t, err)
		}
		call()
		call(memo.Version("1"))
		call(memo.Version("1"))
		require.EqualValues(t, 2, made(j))
		call(memo.Version("2"))
		require.EqualValues(t, 3, made(j))
		call(memo.MaxAge(time.Nanosecond))
		require.EqualValues(t, 4, made(j))
		asked := 0
		call(memo.Validate(func(e memo.Entry) bool { asked++; return strings.HasSuffix(e.Func, "memo_test.count") && e.Size > 0 }))
		require.Equal(t, 1, asked)
		require.EqualValues(t, 4, made(j))
		call(memo.Validate(func(memo.Entry) bool { return false }))
		require.EqualValues(t, 5, made(j))

		shared := memo.Func(m, count, memo.Share(), memo.Version("shared"))
		one, _ := shared.Call(ctx, j)
		two, _ := shared.Call(ctx, j)
		three, _ := shared.Call(ctx, j)
		require.Equal(t, one, two)
		require.Same(t, &two.List[0], &three.List[0])

		ignoring := memo.Func(m, count, memo.Ignore(0), memo.Version("ignoring"))
		a, err := ignoring.Call(ctx, fresh(1)[0])
		require.NoError(t, err)
		b, err := ignoring.Call(ctx, fresh(1)[0])
		require.NoError(t, err)
		require.Equal(t, a, b)

		_, err = memo.Func(m, count, memo.Ignore(1)).Call(ctx, j)
		require.ErrorContains(t, err, "Ignore(1)")
		require.NoError(t, m.Declare(count, memo.Version("declared")))
		n := made(j)
		for range 2 {
			_, err = parallel.Map(ctx, []job{j}, count, parallel.Memo(m))
			require.NoError(t, err)
		}
		require.Equal(t, n+1, made(j))
	})
}

func sum(_ context.Context, first int, more ...int) (int, error) {
	for _, x := range more {
		first += x
	}
	return first, nil
}

func TestWhatCannotBeKept(t *testing.T) {
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		x := 3
		closure := func(_ context.Context, y int) (int, error) { return x + y, nil }
		_, err := memo.Func(m, closure).Call(t.Context(), 1)
		require.ErrorContains(t, err, "closure")
		require.ErrorContains(t, m.Declare(closure), "closure")
		_, err = parallel.Map(t.Context(), []int{1}, closure, parallel.Memo(m))
		require.ErrorContains(t, err, "closure")
		require.Len(t, parallel.Failures(err), 1)
		_, err = parallel.Map(t.Context(), []chan int{nil}, takesChan, parallel.Memo(m))
		require.ErrorContains(t, err, "chan int cannot be part of a key")
		_, err = parallel.Parallel(1, parallel.Memo(nil))(parallel.Delayed(sum, 1))
		require.ErrorContains(t, err, "Memo(nil)")

		got, err := parallel.Parallel(2, parallel.Memo(m))(parallel.Delayed(sum, 1), parallel.Delayed(sum, 1, 2), parallel.Delayed(sum, 1, 2, 3), parallel.Delayed(sum, 1, 2))
		require.NoError(t, err)
		require.Equal(t, []any{1, 3, 6, 3}, got)
		require.EqualValues(t, 3, m.Stats().Misses)
	})
	_, err := memo.New(memo.Options{RAM: -1})
	require.ErrorContains(t, err, "RAM is -1")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = memo.New(memo.Options{Dir: file})
	require.Error(t, err)
}

func takesChan(context.Context, chan int) (int, error) { return 0, nil }

func TestValuesOutliveTheMemory(t *testing.T) {
	testkit.Clean(t)
	dir := t.TempDir()
	js := fresh(20)
	for i := range 3 {
		m, err := memo.New(memo.Options{Dir: dir, Compress: i == 1})
		require.NoError(t, err)
		_, err = parallel.Map(t.Context(), js, count, parallel.Memo(m))
		require.NoError(t, err)
		if i > 0 {
			require.EqualValues(t, 20, m.Stats().DiskHits)
		}
		require.NoError(t, m.Close())
		require.NoError(t, m.Close())
	}
	for _, j := range js {
		require.EqualValues(t, 1, made(j))
	}
}
