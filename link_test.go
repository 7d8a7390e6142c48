package parallel_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/require"
)

// tapped is a Remote with something in between.
type tapped struct {
	testkit.Remote
	starting  func()
	sending   func()
	receiving func()
}

func (b *tapped) Start(ctx context.Context) (backend.Worker, error) {
	if b.starting != nil {
		b.starting()
	}
	w, err := b.Remote.Start(ctx)
	if err != nil {
		return nil, err
	}
	return tappedCarrier{w.(backend.Carrier), b}, nil
}

type tappedCarrier struct {
	backend.Carrier
	tap *tapped
}

func (c tappedCarrier) Send(b backend.Batch) error {
	if c.tap.sending != nil {
		c.tap.sending()
	}
	return c.Carrier.Send(b)
}

func (c tappedCarrier) Recv() (backend.Report, error) {
	if c.tap.receiving != nil {
		defer c.tap.receiving()
	}
	return c.Carrier.Recv()
}

func TestNewsIsTakenInWhileABatchWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken, sent, stuck := make(chan struct{}), 0, false
		b := &tapped{
			sending: func() {
				if sent++; sent == 1 {
					return // there is room for one batch, and for the next when news of the first has been taken in
				}
				select {
				case <-taken:
				case <-time.After(time.Minute):
					stuck = true
				}
			},
			receiving: sync.OnceFunc(func() { close(taken) }),
		}
		_, err := Parallel(1, Backend(b), BatchSize(1))(Each(cubeOf, ints(10))...)
		require.NoError(t, err)
		require.False(t, stuck)
	})
}

func TestABatchThatWaitedForRoomWhileTheRunWasStoppedIsNotRun(t *testing.T) {
	l := newLedger(10)
	require.NoError(t, bubble(t, l, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 25*time.Millisecond)
		defer cancel()
		deeds := l.deeds(10)
		for i := range deeds {
			deeds[i].Takes = 10 * time.Millisecond
		}
		b := &tapped{sending: func() { time.Sleep(50 * time.Millisecond) }}
		_, err := Parallel(1, Backend(b), Context(ctx), BatchSize(10))(Each(do, deeds)...)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return nil
	}))
	require.LessOrEqual(t, l.ended.Load(), int64(1))
}

func TestACancelWhileAWorkerStartsIsNoFaultOfTheBackend(t *testing.T) {
	testkit.Clean(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	_, err := Parallel(1, Backend(&tapped{starting: func() { cancel(errBoom) }}), Context(ctx))(Delayed(cubeOf, 1))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errBoom)
	require.ErrorIs(t, err, ErrNotRun)
}
