package parallel_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/testkit"
)

// What a hostile review has found in pools: each was a hang, a leak or a wrong answer once.

func TestATaskIsGivenUpWhileItWaits(t *testing.T) {
	ctx := context.Background()
	p := openPool(t, 1, Timeout(30*time.Millisecond))
	_, err := Apply[int](ctx, p, Delayed(func(ctx context.Context) (int, error) {
		f := ApplyAsync[int](ctx, p, Delayed(func() int { time.Sleep(150 * time.Millisecond); return 1 }))
		time.Sleep(28 * time.Millisecond)
		return f.Get(context.WithoutCancel(ctx))
	}))
	assert.ErrorIs(t, err, ErrTimeout)
	v, err := Apply[int](ctx, p, Delayed(square, 2))
	require.NoError(t, err)
	assert.Equal(t, 5, v)
}

type lame struct{}

func (lame) Start(context.Context) (backend.Worker, error) { return nil, errBoom }
func (lame) Traits() backend.Traits                        { return backend.Traits{Name: "lame"} }

func TestAPoolWhoseBackendIsLame(t *testing.T) {
	for _, n := range []int{1, 2} {
		testkit.Clean(t)
		p, err := NewPool(n, Backend(lame{}))
		require.NoError(t, err)
		_, err = Apply[int](context.Background(), p, Delayed(square, 1))
		assert.ErrorIs(t, err, errBoom)
		assert.ErrorIs(t, err, ErrNotRun)
		assert.ErrorIs(t, p.Close(), errBoom)
	}
	for _, err := range Stream(2, Backend(lame{}))(slices.Values([]Task{Delayed(square, 1)})) {
		assert.ErrorIs(t, err, errBoom)
	}
}

func TestTwoCallsThatNeedEachOtherBothRun(t *testing.T) {
	ctx := context.Background()
	for range 300 {
		p, err := NewPool(2)
		require.NoError(t, err)
		_, err = Apply[int](ctx, p, Delayed(square, 1))
		require.NoError(t, err)
		ch := make(chan int)
		done := make(chan error, 2)
		go func() { _, err := Apply[int](ctx, p, Delayed(func() int { return <-ch })); done <- err }()
		go func() { _, err := Apply[any](ctx, p, Delayed(func() { ch <- 1 })); done <- err }()
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		require.NoError(t, p.Close())
	}
}

func TestTerminateReachesACallThatIsJustBeginning(t *testing.T) {
	ctx := context.Background()
	for range 1000 {
		p, err := NewPool(1)
		require.NoError(t, err)
		f := ApplyAsync[any](ctx, p, Delayed(func(ctx context.Context) { <-ctx.Done() }))
		require.NoError(t, p.Terminate())
		<-f.Done()
	}
}

func TestALoopOverAPoolsStreamIsLeft(t *testing.T) {
	ctx := context.Background()
	inputs := func(yield func(Task) bool) {
		for i := 0; yield(Delayed(square, i)); i++ {
		}
	}
	p := openPool(t, 1)
	for range Stream(2, On(p))(inputs) {
		require.NoError(t, p.Terminate()) // as from a loop over Pool.imap
		break
	}

	p = openPool(t, 1)
	_, err := Apply[any](ctx, p, Delayed(func(ctx context.Context) error {
		for range Imap(ctx, func(yield func(int) bool) {
			for yield(0) {
			}
		}, func(ctx context.Context, i int) (int, error) { return Apply[int](ctx, p, Delayed(square, i)) }, On(p)) {
			if _, err := Apply[int](ctx, p, Delayed(square, 1)); err != nil {
				return err
			}
			break
		}
		return nil
	}))
	assert.NoError(t, err)
}

func TestCapsulesOfCallsOfAPool(t *testing.T) {
	ctx := context.Background()
	p := openPool(t, 1, Capsules(t.TempDir()))
	_, err := Apply[int](ctx, p, Delayed(func(ctx context.Context) int {
		_, err := Apply[int](ctx, p, deedOf("error", 1)) // helped
		assert.ErrorIs(t, err, errBoom)
		assert.NotEmpty(t, Failures(err)[0].Capsule)
		return 0
	}))
	require.NoError(t, err)
	f := ApplyAsync[int](ctx, p, deedOf("wait", 1))
	for f.Pending() {
		runtime.Gosched()
	}
	f.Cancel()
	_, err = f.Get(ctx)
	assert.NotErrorIs(t, err, ErrNotRun)
}

func TestTwoPoolsThatWaitForEachOther(t *testing.T) {
	ctx := context.Background()
	q := openPool(t, 1) // whose test for leaks comes after the end of p
	p, err := NewPool(1)
	require.NoError(t, err)
	defer p.Close()
	v, err := Apply[[]int](ctx, p, Delayed(func(ctx context.Context) ([]int, error) {
		return MapAsync(ctx, q, []int{1, 2}, func(ctx context.Context, i int) (int, error) {
			return Apply[int](ctx, p, Delayed(square, i))
		}).Get(ctx)
	}))
	require.NoError(t, err)
	assert.Equal(t, []int{2, 5}, v)
}

func TestAContextThatIsAskedForLate(t *testing.T) {
	ctx := context.Background()
	p := openPool(t, 1)
	returned, done := make(chan struct{}), make(chan error)
	_, err := Apply[any](ctx, p, Delayed(func(ctx context.Context) {
		go func() {
			<-returned
			<-ctx.Done()
			done <- ctx.Err()
		}()
	}))
	require.NoError(t, err)
	close(returned)
	assert.ErrorIs(t, <-done, context.Canceled)
}

func TestNothingIsBegunForAContextThatHasEnded(t *testing.T) {
	p := openPool(t, 2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var began atomic.Int64
	for range 2000 {
		_, err := ApplyAsync[any](ctx, p, Delayed(func() { began.Add(1) })).Get(context.Background())
		require.ErrorIs(t, err, ErrNotRun)
		require.ErrorIs(t, err, context.Canceled)
	}
	assert.Zero(t, began.Load())
}

func TestACallIsCancelledBetweenTwoAttempts(t *testing.T) {
	ctx := context.Background()
	failed := make(chan struct{}, 1)
	p := openPool(t, 1, RetryIf(func(error, int) (time.Duration, bool) { failed <- struct{}{}; return time.Hour, true }))
	f := ApplyAsync[int](ctx, p, deedOf("error", 1))
	<-failed
	var err error
	for f.Cancel(); err == nil; f.Cancel() { // the policy was asked, the wait may not have begun
		soon, stop := context.WithTimeout(ctx, time.Millisecond)
		if _, err = f.Get(soon); errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		stop()
	}
	assert.ErrorIs(t, err, errBoom, "what went wrong is not forgotten")
	assert.ErrorIs(t, err, context.Canceled)
}

func TestWhatAFinishedCallbackHeldIsFree(t *testing.T) {
	ctx := context.Background()
	p := openPool(t, 1)
	var freed atomic.Int64
	blocked, last := make(chan struct{}), make(chan struct{})
	for range 10 {
		ApplyAsync[*[1 << 16]byte](ctx, p, Delayed(func() *[1 << 16]byte {
			b := new([1 << 16]byte)
			runtime.AddCleanup(b, func(int) { freed.Add(1) }, 0)
			return b
		})).OnDone(func(*[1 << 16]byte, error) {})
	}
	ApplyAsync[int](ctx, p, Delayed(square, 1)).OnDone(func(int, error) { close(last); <-blocked })
	<-last
	for freed.Load() < 9 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	close(blocked)
}

func TestAnIdlePoolWhoseContextEnds(t *testing.T) {
	testkit.Clean(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	p, err := NewPool(1, Context(ctx))
	require.NoError(t, err)
	cancel(errBoom)
	for err = nil; err == nil; {
		_, err = Apply[int](context.Background(), p, Delayed(square, 1))
	}
	assert.ErrorIs(t, err, errBoom)
	assert.ErrorIs(t, err, ErrClosed)
	assert.ErrorIs(t, p.Close(), errBoom)
}
