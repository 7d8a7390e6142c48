package parallel_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	Main(cube, cubeOf, boom, panics, exits, sleepy)
	testkit.Main(m)
}

var errBoom = errors.New("boom")

func boom(x int) (int, error) { return 0, errBoom }
func panics(x int) int        { panic("ouch") }
func exits(x int) int         { runtime.Goexit(); return 0 }
func sleepy(ctx context.Context, x int) (int, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(time.Hour):
		return x, nil
	}
}

func TestSmoke(t *testing.T) {
	for name, opt := range map[string]func() Option{"threads": func() Option { return Prefer(Threads) }, "remote": func() Option { return Backend(&testkit.Remote{}) },
		"bad": func() Option {
			return Backend(&testkit.Remote{Delay: 20 * time.Microsecond, Reorder: .3, Redeliver: .2})
		}} {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			got, err := Collect[int](Parallel(3, opt())(Each(cubeOf, ints(1000))...))
			require.NoError(t, err)
			for i, g := range got {
				require.Equal(t, i*i*i, g)
			}
			tasks := Each(cubeOf, ints(10))
			tasks[3] = Delayed(boom, 3)
			tasks[5] = Delayed(panics, 5)
			tasks[7] = Delayed(exits, 7)
			got, err = Collect[int](Parallel(3, opt(), KeepGoing())(tasks...))
			t.Log(err)
			require.Len(t, Failures(err), 3)
			require.Equal(t, 729, got[9])
			_, err = Parallel(3, opt(), KeepGoing(), Timeout(20*time.Millisecond))(Delayed(sleepy, 1), Delayed(cubeOf, 2))
			t.Log(err)
			require.ErrorIs(t, err, ErrTimeout)
			n := 0
			for x, err := range Imap(context.Background(), count(5000), cube, opt(), NJobs(2)) {
				require.NoError(t, err)
				require.Equal(t, n*n*n, x)
				n++
			}
			require.Equal(t, 5000, n)
			n = 0
			for x, err := range ImapUnordered(context.Background(), count(5000), cube, opt(), NJobs(2)) {
				require.NoError(t, err)
				n++
				_ = x
				if n == 1000 {
					break
				}
			}
		})
	}
	t.Run("lossy", func(t *testing.T) {
		testkit.Clean(t)
		r := &testkit.Remote{Lose: .01, Delay: 20 * time.Microsecond, Reorder: .3, Redeliver: .2}
		got, err := Collect[int](Parallel(3, Backend(r), KeepGoing())(Each(cubeOf, ints(1000))...))
		require.Len(t, Failures(err), r.Lost())
		for _, f := range Failures(err) {
			var c *CrashError
			require.ErrorAs(t, f, &c)
			got[f.Index] = f.Index * f.Index * f.Index
		}
		for i, g := range got {
			require.Equal(t, i*i*i, g)
		}
		got, err = Collect[int](Parallel(3, Backend(r), Retry(100))(Each(cubeOf, ints(1000))...))
		require.NoError(t, err)
		require.Equal(t, 0, r.Open())
	})
	var _ backend.Backend
}
