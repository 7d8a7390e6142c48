package memo_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/memo"
)

func init() { registered = append(registered, relay) }

// baton is an argument of relay. Its folder is where calls, of any process, tell what they do.
type baton struct {
	Dir string
	How string // the first call ends, when the file "go" is there
	All bool   // all calls end that way
}

func (b baton) file(name string) string { return filepath.Join(b.Dir, name) }

func (b baton) exists(name string) bool {
	_, err := os.Stat(b.file(name))
	return err == nil
}

// relay is a call that takes the folder's next number, from 1, and returns it; the first one comes to grief.
func relay(ctx context.Context, b baton) (int, error) {
	n := 1
	for os.Mkdir(b.file(fmt.Sprint("call ", n)), 0o700) != nil {
		n++
	}
	if n > 1 && !b.All {
		return n, nil
	}
	for !b.exists("go") && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	switch b.How {
	case "error":
		return -1, errBoom
	case "panic":
		panic("as planned")
	case "exit":
		runtime.Goexit()
	case "late", "cancel":
		<-ctx.Done()
		return -1, ctx.Err()
	case "part":
		<-ctx.Done()
		return -1, nil
	case "deaf":
		time.Sleep(400 * time.Millisecond)
	case "kill":
		p, _ := os.FindProcess(os.Getpid())
		p.Kill()
		select {}
	}
	return n, nil
}

// What befalls the call that leads is its own; whoever waits for it, in another run or by Func, makes the next.
func TestWhoeverWaitsTakesOver(t *testing.T) {
	here, there := parallel.Prefer(parallel.Threads), parallel.Prefer(parallel.Processes)
	soon := parallel.Timeout(100 * time.Millisecond)
	is := func(target error) func(error) bool {
		return func(err error) bool { return errors.Is(err, target) }
	}
	for _, c := range []struct {
		name, how string
		opts      []parallel.Option
		is        func(error) bool
	}{
		{"it fails", "error", []parallel.Option{here}, is(errBoom)},
		{"it panics", "panic", []parallel.Option{here}, isA[*parallel.PanicError]},
		{"it ends its goroutine", "exit", []parallel.Option{here}, is(parallel.ErrGoexit)},
		{"it is late", "late", []parallel.Option{here, soon}, is(parallel.ErrTimeout)},
		{"it is late with a part", "part", []parallel.Option{here, soon}, is(parallel.ErrTimeout)},
		{"it is given up", "deaf", []parallel.Option{here, soon}, is(parallel.ErrTimeout)},
		{"its run is cancelled", "cancel", []parallel.Option{here}, is(context.Canceled)},
		{"it fails in a process", "error", []parallel.Option{there}, is(errBoom)},
		{"it ends its goroutine in a process", "exit", []parallel.Option{there}, is(parallel.ErrGoexit)},
		{"its process dies", "kill", []parallel.Option{there}, isA[*parallel.CrashError]},
		{"it is late with a part in a process", "part", []parallel.Option{there, soon}, is(parallel.ErrTimeout)},
		{"its process is killed for being late", "deaf", []parallel.Option{there, soon}, is(parallel.ErrTimeout)},
		{"its run of processes is cancelled", "cancel", []parallel.Option{there}, is(context.Canceled)},
	} {
		t.Run(c.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, m *memo.Memory) {
				t.Cleanup(parallel.CloseIdleWorkers)
				guard := inTime(t)
				b := baton{Dir: t.TempDir(), How: c.how}
				ctx, cancel := context.WithCancel(guard)
				defer cancel()
				led := make(chan error, 1)
				go func() {
					_, err := parallel.Parallel(1, append(c.opts, parallel.Memo(m), parallel.Context(ctx))...)(parallel.Delayed(relay, b))
					led <- err
				}()
				require.Eventually(t, func() bool { return b.exists("call 1") }, 20*time.Second, time.Millisecond)
				type answer struct {
					n   int
					err error
				}
				followed := make(chan answer, 2)
				go func() {
					ns, err := parallel.Map(guard, []baton{b}, relay, parallel.Memo(m), c.opts[0])
					followed <- answer{ns[0], err}
				}()
				go func() {
					n, err := memo.Func(m, relay).Call(guard, b)
					followed <- answer{n, err}
				}()
				require.Eventually(t, func() bool { return m.Waiting() == 2 || len(c.opts) > 1 && m.Stats().Misses > 0 }, 20*time.Second, time.Millisecond)
				require.NoError(t, os.WriteFile(b.file("go"), nil, 0o600))
				if c.how == "cancel" {
					cancel()
				}
				err := <-led
				assert.True(t, c.is(err), "%v", err)
				for range 2 {
					a := <-followed
					require.NoError(t, a.err)
					require.Equal(t, 2, a.n, "the second call was made once, for both")
				}
				s := m.Stats()
				require.EqualValues(t, 2, s.Misses)
				require.EqualValues(t, 1, s.Stores, "what has failed is not kept")
				require.Zero(t, m.Waiting())
			})
		})
	}
}

// A leader by Func is the caller's own goroutine, whatever becomes of it.
func TestWhoeverWaitsTakesOverFromFunc(t *testing.T) {
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		f := memo.Func(m, relay)
		for _, how := range []string{"error", "panic", "exit", "cancel"} {
			guard := inTime(t)
			b := baton{Dir: t.TempDir(), How: how}
			ctx, cancel := context.WithCancel(guard)
			defer cancel()
			led := make(chan any)
			go func() {
				defer close(led)
				defer func() {
					if p := recover(); p != nil {
						led <- p
					}
				}()
				_, err := f.Call(ctx, b)
				led <- err
			}()
			require.Eventually(t, func() bool { return b.exists("call 1") }, 20*time.Second, time.Millisecond)
			followed := make(chan error)
			for range 3 {
				go func() {
					n, err := f.Call(guard, b)
					if err == nil && n != 2 {
						err = fmt.Errorf("call %d", n)
					}
					followed <- err
				}()
			}
			require.Eventually(t, func() bool { return m.Waiting() == 3 }, 20*time.Second, time.Millisecond)
			require.NoError(t, os.WriteFile(b.file("go"), nil, 0o600))
			if how == "cancel" {
				cancel()
			}
			require.Equal(t, map[string]any{"error": errBoom, "panic": "as planned", "exit": nil, "cancel": context.Canceled}[how], <-led)
			for range 3 {
				require.NoError(t, <-followed, how)
			}
			require.Zero(t, m.Flights())
		}
		require.EqualValues(t, 8, m.Stats().Misses)
		require.EqualValues(t, 4, m.Stats().Stores)
	})
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// In one run, each of several equal calls is one attempt of its own, as long as none succeeds.
func TestEqualCallsOfOneRunFailEachForItself(t *testing.T) {
	for name, where := range map[string]parallel.Hint{"threads": parallel.Threads, "processes": parallel.Processes} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, m *memo.Memory) {
				t.Cleanup(parallel.CloseIdleWorkers)
				opts := func(more ...parallel.Option) []parallel.Option {
					return append(more, parallel.Memo(m), parallel.NJobs(2), parallel.Prefer(where))
				}
				try := func(how string, all bool, more ...parallel.Option) ([]int, error) {
					b := baton{Dir: t.TempDir(), How: how, All: all}
					require.NoError(t, os.WriteFile(b.file("go"), nil, 0o600))
					return parallel.Map(inTime(t), []baton{b, b, b, b}, relay, opts(more...)...)
				}
				_, err := try("error", true, parallel.KeepGoing())
				require.Len(t, parallel.Failures(err), 4)
				require.EqualValues(t, 4, m.Stats().Misses)

				_, err = try("error", true)
				failed := len(parallel.Failures(err))
				require.LessOrEqual(t, failed, 2, "the first failure stops the run; a worker process may have had a call by then")
				require.ErrorIs(t, err, parallel.ErrNotRun)
				require.EqualValues(t, 4+failed, m.Stats().Misses)
				require.Zero(t, m.Stats().Stores)

				ns, err := try("error", false, parallel.KeepGoing())
				require.Len(t, parallel.Failures(err), 1)
				slices.Sort(ns)
				require.Equal(t, []int{0, 2, 2, 2}, ns)

				hows := []string{"error", "panic", "exit"}
				if where == parallel.Processes {
					hows = append(hows, "kill")
				}
				for _, how := range hows {
					before := m.Stats()
					ns, err = try(how, false, parallel.Retry(1))
					require.NoError(t, err, how)
					require.Equal(t, []int{2, 2, 2, 2}, ns, how)
					require.EqualValues(t, 2, m.Stats().Misses-before.Misses, how)
					require.EqualValues(t, 1, m.Stats().Stores-before.Stores, how)
				}
				_, err = try("error", true, parallel.Retry(2), parallel.KeepGoing())
				require.Len(t, parallel.Failures(err), 4)
				for _, f := range parallel.Failures(err) {
					require.Equal(t, 3, f.Attempts)
				}
				require.Zero(t, m.Waiting())
			})
		})
	}
}
