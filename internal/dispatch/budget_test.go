package dispatch

import (
	"context"
	"sync"
	"testing"

	"github.com/gojoblib/parallel/backend/threads"
	"github.com/stretchr/testify/assert"
)

// within asks from a call's goroutine, frames deeper than its own.
type deep struct {
	Work
	frames int
	mu     sync.Mutex
	nested bool
}

func (d *deep) Run(_ *Thread, _, hi int) int {
	nested := ask(d.frames)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nested = nested
	return hi
}

//go:noinline
func ask(frames int) bool {
	if frames == 0 {
		return slots.within()
	}
	return ask(frames - 1)
}

func TestGoroutineOfACallIsKnownAtAnyDepth(t *testing.T) {
	assert.False(t, slots.within())
	for frames := range 200 {
		d := &deep{frames: frames}
		err := Do(Spec{Context: context.Background(), Backend: threads.Backend{}, N: 1}, d, 1)
		assert.Nil(t, err)
		assert.True(t, d.nested, "%d frames deep", frames)
	}
}

// Whatever the tests before it have done, no slot is in use when no run is under way.
func TestBudgetAddsUp(t *testing.T) {
	t.Cleanup(func() {
		assert.Zero(t, slots.used.Load())
		assert.Zero(t, slots.owned.Load())
	})
	nested := func(ctx context.Context) {
		for n := range 20 {
			assert.Nil(t, Do(Spec{Context: ctx, Backend: threads.Backend{}, N: 1 + n%5}, &deep{}, 1+n%7))
		}
	}
	outer := &each{call: nested}
	for range 20 {
		assert.Nil(t, Do(Spec{Context: context.Background(), Backend: threads.Backend{}, N: 4}, outer, 9))
	}
}

// each is calls that start runs of their own.
type each struct {
	Work
	call func(context.Context)
}

func (e *each) Run(t *Thread, lo, hi int) int {
	for i := lo; i < hi; i++ {
		t.Index = i
		e.call(t.Context())
	}
	return hi
}
