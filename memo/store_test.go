package memo_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/gojoblib/parallel/memo"
)

func TestASharedValueIsDecodedOnce(t *testing.T) {
	testkit.Clean(t)
	dir := t.TempDir()
	j := fresh(1)[0]
	for i := range 3 {
		m := open(t, memo.Options{Dir: dir})
		require.NoError(t, m.Declare(count, memo.Share()))
		f := memo.Func(m, count, memo.Share())
		var lists [][]int
		for n := range 4 {
			if n%2 == i%2 {
				o, err := f.Call(inTime(t), j)
				require.NoError(t, err)
				lists = append(lists, o.List)
			} else {
				os, err := parallel.Map(inTime(t), []job{j}, count, parallel.Memo(m))
				require.NoError(t, err)
				lists = append(lists, os[0].List)
			}
		}
		for _, l := range lists[1:] {
			require.Equal(t, []int{j.Key, 1}, l)
			require.Same(t, &lists[0][0], &l[0])
		}
		require.NoError(t, f.Forget(j))
		require.False(t, f.Has(j))
		o, err := f.Call(inTime(t), j)
		require.NoError(t, err)
		require.NotSame(t, &lists[0][0], &o.List[0])
		require.EqualValues(t, i+2, made(j))
	}
}

func TestReduceKeepsWhatWasUsedLast(t *testing.T) {
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		js := fresh(6)
		f := memo.Func(m, count)
		has := func() (n []int) {
			for i, j := range js {
				if f.Has(j) {
					n = append(n, i)
				}
			}
			return n
		}
		for _, j := range js {
			_, err := f.Call(inTime(t), j)
			require.NoError(t, err)
			time.Sleep(12 * time.Millisecond) // so finely are times of use known
		}
		require.NoError(t, m.Reduce(memo.Limits{}))
		require.Equal(t, []int{0, 1, 2, 3, 4, 5}, has())
		require.NoError(t, m.Reduce(memo.Limits{Items: 4}))
		require.Equal(t, []int{2, 3, 4, 5}, has())
		require.NoError(t, m.Reduce(memo.Limits{Age: time.Hour, Bytes: 1 << 20}))
		require.Equal(t, []int{2, 3, 4, 5}, has())
		require.NoError(t, m.Reduce(memo.Limits{Bytes: 1}))
		require.Empty(t, has())
		_, err := f.Call(inTime(t), js[0])
		require.NoError(t, err)
		require.NoError(t, m.Reduce(memo.Limits{Age: 1}))
		require.Empty(t, has())
		require.ErrorContains(t, m.Reduce(memo.Limits{Items: -1}), "limits are positive")
	})
}

func TestClearIsOfOneFunctionOrOfAll(t *testing.T) {
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		j := fresh(1)[0]
		one, other := memo.Func(m, count), memo.Func(m, count, memo.Version("other"))
		another := memo.Func(m, ends)
		fill := func() {
			for range 2 {
				_, err := one.Call(inTime(t), j)
				require.NoError(t, err)
				_, err = other.Call(inTime(t), j)
				require.NoError(t, err)
				_, err = another.Call(inTime(t), "no way")
				require.NoError(t, err)
			}
		}
		fill()
		require.NoError(t, one.Clear())
		require.Equal(t, []bool{false, true, true}, []bool{one.Has(j), other.Has(j), another.Has("no way")})
		fill()
		require.EqualValues(t, 3, made(j))
		require.NoError(t, m.Clear())
		require.Equal(t, []bool{false, false, false}, []bool{one.Has(j), other.Has(j), another.Has("no way")})
		require.NoError(t, one.Clear())
		x := 1
		closure := memo.Func(m, func(context.Context, int) (int, error) { return x, nil })
		require.ErrorContains(t, closure.Clear(), "closure")
	})
}

// ledger takes a while to be encoded.
type ledger []int

func (l ledger) MarshalBinary() (b []byte, err error) {
	for _, n := range l {
		time.Sleep(2 * time.Millisecond)
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return b, nil
}

func (l *ledger) UnmarshalBinary(b []byte) error {
	for ; len(b) >= 8; b = b[8:] {
		*l = append(*l, int(binary.LittleEndian.Uint64(b)))
	}
	return nil
}

func book(_ context.Context, n int) (ledger, error) { return ledger{n, n, n, n, n}, nil }

func init() { registered = append(registered, book) }

// Whoever gets a result may write to it at once: what is kept is what was returned.
func TestResultsAreTheCallersOwn(t *testing.T) {
	for name, where := range map[string]parallel.Hint{"threads": parallel.Threads, "processes": parallel.Processes} {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			t.Cleanup(parallel.CloseIdleWorkers)
			m := open(t, memo.Options{})
			in := []int{1, 2, 3, 4, 5, 6, 7, 8}
			opts := []parallel.Option{parallel.Memo(m), parallel.NJobs(2), parallel.Prefer(where)}
			for round := range 4 {
				i := 0
				scribble := func(l ledger, err error) {
					i++
					require.NoError(t, err)
					require.Equal(t, ledger{i, i, i, i, i}, l, "round %d", round)
					clear(l)
				}
				if round%2 == 0 {
					for l, err := range parallel.Imap(inTime(t), slices.Values(in), book, append(opts, parallel.Timeout(time.Minute))...) {
						scribble(l, err)
					}
				} else {
					for r, err := range parallel.Stream(2, parallel.Memo(m), parallel.Prefer(where))(slices.Values(parallel.Each(book, in))) {
						scribble(r.Value.(ledger), err)
					}
				}
				require.EqualValues(t, 8, m.Stats().Misses)
				if round == 1 {
					require.NoError(t, m.Clear())
					m = open(t, memo.Options{})
					opts[0] = parallel.Memo(m)
				}
			}
		})
	}
}

func TestTwoMemoriesOnOneFolder(t *testing.T) {
	testkit.Clean(t)
	dir := t.TempDir()
	a, b := open(t, memo.Options{Dir: dir}), open(t, memo.Options{Dir: dir})
	ctx := inTime(t)
	lead := func(how string) (baton, chan error) {
		bt := baton{Dir: t.TempDir(), How: how}
		led := make(chan error, 1)
		go func() {
			_, err := memo.Func(a, relay).Call(ctx, bt)
			led <- err
		}()
		require.Eventually(t, func() bool { return bt.exists("call 1") }, 20*time.Second, time.Millisecond)
		return bt, led
	}
	follow := func(ctx context.Context, bt baton) chan error {
		followed := make(chan error, 1)
		go func() {
			n, err := memo.Func(b, relay).Call(ctx, bt)
			if want := 1 + min(1, len(bt.How)); err == nil && n != want {
				err = errors.New("another call was made")
			}
			followed <- err
		}()
		require.Eventually(t, func() bool { return b.Waiting() == 1 }, 20*time.Second, time.Millisecond)
		return followed
	}

	bt, led := lead("") // it succeeds
	followed := follow(ctx, bt)
	require.NoError(t, os.WriteFile(bt.file("go"), nil, 0o600))
	require.NoError(t, <-led)
	require.NoError(t, <-followed)
	require.EqualValues(t, 1, b.Stats().DiskHits)

	bt, led = lead("error")
	followed = follow(ctx, bt)
	require.NoError(t, os.WriteFile(bt.file("go"), nil, 0o600))
	require.ErrorIs(t, <-led, errBoom)
	require.NoError(t, <-followed, "it takes over")
	require.EqualValues(t, 1, b.Stats().Misses)

	bt, led = lead("")
	short, cancel := context.WithCancel(ctx)
	followed = follow(short, bt)
	cancel()
	require.ErrorIs(t, <-followed, context.Canceled)
	require.Eventually(t, func() bool { return b.Flights() == 0 }, 20*time.Second, time.Millisecond, "the last one who waited ends the waiting")
	followed = follow(ctx, bt)
	require.NoError(t, b.Close())
	require.NoError(t, os.WriteFile(bt.file("go"), nil, 0o600))
	require.NoError(t, <-led)
	err := <-followed
	require.True(t, err == nil || err.Error() == "another call was made", "%v: a closed memory has calls made", err)
}

// Where the RAM's value is not good enough any more, another process may have left a better one on disk.
func TestABetterValueOfAnotherProcessIsFound(t *testing.T) {
	testkit.Clean(t)
	dir := t.TempDir()
	a, b := open(t, memo.Options{Dir: dir}), open(t, memo.Options{Dir: dir})
	var since atomic.Int64
	good := memo.Validate(func(e memo.Entry) bool { return e.Stored.UnixNano() >= since.Load() })
	fa, fb := memo.Func(a, count, good), memo.Func(b, count, good)
	j := fresh(1)[0]
	for n := range int64(5) {
		since.Store(time.Now().UnixNano())
		for _, f := range []*memo.Cached[job, outcome]{fa, fb} {
			_, err := f.Call(inTime(t), j)
			require.NoError(t, err)
			require.Equal(t, n+1, made(j))
		}
	}
	require.EqualValues(t, 5, b.Stats().DiskHits)
}

// nest has, where it is told to, another call made that it needs, with the worker's own memory.
func nest(ctx context.Context, n need) (string, error) {
	if !n.Other {
		return n.Key, nil
	}
	m, err := memo.New(memo.Options{Dir: n.Dir})
	if err != nil {
		return "", err
	}
	v, err := memo.Func(m, nest).Call(ctx, need{n.Dir, n.Key, false})
	return "other " + v, errors.Join(err, m.Close())
}

type need struct {
	Dir, Key string
	Other    bool
}

func init() { registered = append(registered, nest) }

// A call that has not begun, though a worker process has it, is nobody's yet: the one before it may need it.
func TestACallMayNeedTheNextOneOfItsRun(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(parallel.CloseIdleWorkers)
	dir := t.TempDir()
	m := open(t, memo.Options{Dir: dir})
	for _, where := range []parallel.Hint{parallel.Threads, parallel.Processes} {
		for _, n := range []int{1, 2} {
			var in []need
			var want []string
			for range 4 {
				key := filepath.Base(t.TempDir()) + time.Now().String()
				in = append(in, need{dir, key, true}, need{dir, key, false})
				want = append(want, "other "+key, key)
			}
			got, err := parallel.Map(inTime(t), in, nest, parallel.Memo(m), parallel.NJobs(n), parallel.Prefer(where))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
	}
}
