package parallel_test

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// everywhere runs a test on goroutines, on a good network and on a bad one, each time with a backend of its own.
func everywhere(t *testing.T, f func(t *testing.T, where Option)) {
	for _, where := range []place{
		{}, {&testkit.Remote{}}, {&testkit.Remote{Seed: 5, Delay: 20 * time.Microsecond, Reorder: .3, Redeliver: .3}},
	} {
		t.Run(where.String(), func(t *testing.T) {
			testkit.Clean(t)
			f(t, where.option())
		})
	}
}

func naturals(yield func(int) bool) {
	for i := 0; yield(i); i++ {
	}
}

func TestNothingIsDrawnBeforeTheLoop(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		drawn := false
		in := func(func(int) bool) { drawn = true }
		s := Imap(t.Context(), in, cube, where)
		require.False(t, drawn)
		for range s {
		}
		require.True(t, drawn)
	})
}

func TestAnEndlessInputIsNoTrouble(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		n := 0
		for v, err := range Imap(t.Context(), naturals, cube, where, NJobs(3)) {
			require.NoError(t, err)
			require.Equal(t, n*n*n, v)
			if n++; n == 500 {
				break
			}
		}
		require.Equal(t, 500, n)
	})
}

func TestAStreamMayBeRunAgain(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		s := ImapUnordered(t.Context(), count(20), cube, where, NJobs(2))
		for range 2 {
			n := 0
			for _, err := range s {
				require.NoError(t, err)
				n++
			}
			require.Equal(t, 20, n)
		}
	})
}

func TestABatchDoesNotWaitForInput(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		synctest.Test(t, func(t *testing.T) {
			consumed := make(chan struct{})
			in := func(yield func(int) bool) {
				for i := range 5 {
					if !yield(i) {
						return
					}
					<-consumed // were the task kept back until there are ten, this would never end
				}
			}
			for _, err := range Imap(context.Background(), in, cube, where, NJobs(2), BatchSize(10)) {
				require.NoError(t, err)
				consumed <- struct{}{}
			}
		})
	})
}

func TestAnUnorderedStreamDoesNotWaitForTheSlow(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		l := newLedger(10)
		var order []int
		require.NoError(t, bubble(t, l, func() error {
			deeds := l.deeds(10)
			deeds[0].Takes = time.Minute
			tasks := func(yield func(Task) bool) {
				for _, d := range deeds {
					if !yield(Delayed(do, d)) {
						return
					}
				}
			}
			for r, err := range Stream(2, where, Unordered(), BatchSize(1))(tasks) {
				if err != nil {
					return err
				}
				order = append(order, r.Index)
			}
			return nil
		}))
		require.Len(t, order, 10)
		require.Equal(t, 0, order[9])
	})
}

func TestLeavingTheLoopEndsWhatRuns(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		l := newLedger(10)
		_ = bubble(t, l, func() error {
			in := func(yield func(deed) bool) {
				for i := range 10 {
					d := deed{Ledger: l.id, Index: i}
					if i > 0 {
						d.How, d.Fails = late, 1
					}
					if !yield(d) {
						return
					}
				}
			}
			start := time.Now()
			for range Imap(context.Background(), in, do, where, NJobs(3), PreDispatch(5), BatchSize(1)) {
				break
			}
			assert.Zero(t, l.running.Load())
			assert.Less(t, time.Since(start), time.Second)
			return nil
		})
	})
}

func TestAnItemCarriesItsOwnError(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		l := newLedger(5)
		defer l.close()
		deeds := l.deeds(5)
		deeds[1].How, deeds[1].Fails = errs, 1
		deeds[2].How, deeds[2].Fails = errs, 3
		n := 0
		for r, err := range Stream(2, where, Retry(2))(seq(Each(do, deeds))) {
			assert.Equal(t, n, r.Index)
			switch n {
			case 1:
				require.NoError(t, err)
				assert.Equal(t, square(1), r.Value)
				assert.Equal(t, 2, r.Attempts)
			case 2:
				require.IsType(t, (*TaskError)(nil), err)
				require.ErrorIs(t, err, errBoom)
				assert.Nil(t, r.Value)
				assert.Equal(t, 3, r.Attempts)
			default:
				require.NoError(t, err)
				assert.Equal(t, square(n), r.Value)
				assert.Equal(t, 1, r.Attempts)
			}
			n++
		}
		require.Equal(t, 5, n)
	})
}

func TestAnInputThatPanicsDoesSoInTheConsumerAfterEarlierResults(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		n := 0
		require.PanicsWithValue(t, "out of ink", func() {
			for _, err := range Imap(t.Context(), ending(7, func() { panic("out of ink") }), cube, where, NJobs(2)) {
				require.NoError(t, err)
				n++
			}
		})
		require.Equal(t, 7, n)
	})
}

func TestAnInputThatPanicsWhenTheLoopIsLeftDoesSoInTheConsumer(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		in := func(yield func(int) bool) {
			defer func() { panic("cleaning up") }()
			for yield(1) {
			}
		}
		require.PanicsWithValue(t, "cleaning up", func() {
			for range Imap(t.Context(), in, cube, where) {
				break
			}
		})
	})
}

func TestAnInputThatCallsGoexitIsAnErrorAfterEarlierResults(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		n := 0
		for _, err := range Imap(t.Context(), ending(7, runtime.Goexit), cube, where, NJobs(2)) {
			if n == 7 {
				require.IsType(t, (*RunError)(nil), err)
				require.ErrorIs(t, err, ErrGoexit)
				require.Empty(t, Failures(err))
			} else {
				require.NoError(t, err)
			}
			n++
		}
		require.Equal(t, 8, n)
	})
}

// ending yields n numbers and ends as how says.
func ending(n int, how func()) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
		how()
	}
}

func TestACancelledContextIsTheLastItem(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		tasks := func(yield func(Task) bool) {
			for yield(Delayed(cubeOf, 3)) {
			}
		}
		n := 0
		var last Result
		var lastErr error
		for r, err := range Stream(2, where, Context(ctx))(tasks) {
			if n++; n == 10 {
				cancel(why)
			}
			last, lastErr = r, err
		}
		require.Equal(t, -1, last.Index)
		require.IsType(t, (*RunError)(nil), lastErr)
		require.ErrorIs(t, lastErr, context.Canceled)
		require.ErrorIs(t, lastErr, why)
	})
}

func TestOneWorkerDrawsEachInputAfterTheLastTaskEnded(t *testing.T) {
	everywhere(t, func(t *testing.T, where Option) {
		l := newLedger(30)
		defer l.close()
		in := func(yield func(deed) bool) {
			for i, d := range l.deeds(30) {
				if n := l.ended.Load(); n != int64(i) {
					t.Errorf("input %d was drawn after %d tasks had ended", i, n)
				}
				if !yield(d) {
					return
				}
			}
		}
		for _, err := range Imap(t.Context(), in, do, where, NJobs(1)) {
			require.NoError(t, err)
		}
	})
}
