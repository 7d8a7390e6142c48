package parallel_test

import (
	"context"
	"testing"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What nobody has made answers with an error, and at once.
func TestZeroValues(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	for _, p := range []*Pool{nil, {}} {
		for _, f := range []func() error{p.Close, p.Terminate, p.Join} {
			assert.ErrorContains(t, f(), "the Pool is nil, or was not made by NewPool")
		}
		_, err := Apply[int](ctx, p, Delayed(cubeOf, 1))
		assert.ErrorContains(t, err, "the Pool is nil, or was not made by NewPool")
		_, err = Map(ctx, ints(3), cube, On(p))
		assert.ErrorContains(t, err, "On was given a Pool that is nil, or was not made by NewPool")
	}
	for name, ask := range map[string]func(f *Future[int]){
		"Get":    func(f *Future[int]) {},
		"Done":   func(f *Future[int]) { <-f.Done() },
		"Cancel": func(f *Future[int]) { assert.False(t, f.Cancel()) },
		"OnDone": func(f *Future[int]) {
			told := make(chan error)
			f.OnDone(func(_ int, err error) { told <- err })
			assert.ErrorContains(t, <-told, "was not made by ApplyAsync")
		},
		"AsCompleted": func(f *Future[int]) {
			n := 0
			for range AsCompleted(f) {
				n++
			}
			assert.Equal(t, 1, n)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var f Future[int]
			ask(&f)
			_, err := f.Get(ctx)
			assert.ErrorContains(t, err, "the Future was not made by ApplyAsync")
		})
	}
	for _, p := range []*Process{nil, {}} {
		_, err := p.Wait(ctx)
		assert.ErrorContains(t, err, "the Process is nil, or was not made by Spawn")
	}
}

func TestAFuturePrintsWhatHasBecomeOfIt(t *testing.T) {
	testkit.Clean(t)
	ctx := context.Background()
	p, err := NewPool(1)
	require.NoError(t, err)
	defer p.Close()
	begun := make(chan bool)
	end := make(chan bool)
	running := ApplyAsync[int](ctx, p, Delayed(func() int { close(begun); <-end; return 1 }))
	waiting := ApplyAsync[int](ctx, p, Delayed(cubeOf, 3))
	<-begun
	assert.Equal(t, "Future[int], running", running.String())
	assert.Equal(t, "Future[int], pending", waiting.String())
	close(end)
	_, err = waiting.Get(ctx)
	require.NoError(t, err)
	assert.Equal(t, "Future[int], done", waiting.String())
	_, err = Apply[string](ctx, p, Delayed(cubeOf, 3))
	assert.ErrorContains(t, err, "was asked for a result of type string, and the task has returned type int; ask for that")
}

// A pool is closed at once, however many workers it could have had; its options hold for runs, too.
func TestAPoolOfMany(t *testing.T) {
	testkit.Clean(t)
	p, err := NewPool(1_000_000_000, KeepGoing(), PreDispatch(4), Unordered())
	require.NoError(t, err)
	v, err := Apply[int](context.Background(), p, Delayed(cubeOf, 3))
	require.NoError(t, err)
	assert.Equal(t, 27, v)
	_, err = Map(context.Background(), ints(3), func(context.Context, int) (int, error) { return 0, errBoom }, On(p))
	assert.Len(t, Failures(err), 3)
	require.NoError(t, p.Close())
}
