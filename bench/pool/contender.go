package main

import (
	"context"
	"errors"

	"github.com/alitto/pond/v2"
	"github.com/gojoblib/parallel"
	concpool "github.com/sourcegraph/conc/pool"
	"golang.org/x/sync/errgroup"
)

// twice is the call.
func twice(x int) int { return 2 * x }

// pool is one that is open.
type pool struct {
	submit func(x int) (wait func() (int, error))
	// nest makes a call that makes a call of the pool and waits for it, and so on, and returns how many there were. Where
	// that hangs, it is nil.
	nest func(ctx context.Context, more int) (int, error)
}

var errNotPossible = errors.New("not possible")

// contender opens pools. Those of conc and errgroup cannot be used again once they were waited for, and hand out no
// results one by one: channels do that.
type contender struct {
	name string
	open func(workers int) (pool, func(), error)
}

var contenders = []contender{
	{"goroutine, channel", func(int) (pool, func(), error) {
		var nest func(int) int
		nest = func(more int) int {
			c := make(chan int, 1)
			go func() {
				if more == 0 {
					c <- 1
					return
				}
				c <- nest(more-1) + 1
			}()
			return <-c
		}
		return pool{submit: func(x int) func() (int, error) {
			c := make(chan int, 1)
			go func() { c <- twice(x) }()
			return func() (int, error) { return <-c, nil }
		}, nest: func(_ context.Context, more int) (int, error) { return nest(more), nil }}, func() {}, nil
	}},
	{"workers, channels", func(workers int) (pool, func(), error) {
		type job struct {
			x      int
			result chan int
		}
		jobs := make(chan job, inFlight)
		for range workers {
			go func() {
				for j := range jobs {
					j.result <- twice(j.x)
				}
			}()
		}
		return pool{submit: func(x int) func() (int, error) {
			j := job{x, make(chan int, 1)}
			jobs <- j
			return func() (int, error) { return <-j.result, nil }
		}}, func() { close(jobs) }, nil
	}},
	{"**Pool**", func(workers int) (pool, func(), error) {
		p, err := parallel.NewPool(workers)
		if err != nil {
			return pool{}, nil, err
		}
		ctx := context.Background()
		var nest func(context.Context, int) (int, error)
		nest = func(ctx context.Context, more int) (int, error) {
			return parallel.Apply[int](ctx, p, parallel.Delayed(func(ctx context.Context, more int) (int, error) {
				if more == 0 {
					return 1, nil
				}
				v, err := nest(ctx, more-1)
				return v + 1, err
			}, more))
		}
		return pool{submit: func(x int) func() (int, error) {
			f := parallel.ApplyAsync[int](ctx, p, parallel.Delayed(twice, x))
			return func() (int, error) { return f.Get(ctx) }
		}, nest: nest}, func() { _ = p.Close() }, nil
	}},
	{"pond", func(workers int) (pool, func(), error) {
		p := pond.NewResultPool[int](workers)
		return pool{submit: func(x int) func() (int, error) {
			return p.Submit(func() int { return twice(x) }).Wait
		}}, p.StopAndWait, nil
	}},
	{"conc pool, channel", func(workers int) (pool, func(), error) {
		p := concpool.New().WithMaxGoroutines(workers)
		return pool{submit: func(x int) func() (int, error) {
			c := make(chan int, 1)
			p.Go(func() { c <- twice(x) })
			return func() (int, error) { return <-c, nil }
		}}, p.Wait, nil
	}},
	{"errgroup, channel", func(workers int) (pool, func(), error) {
		g := &errgroup.Group{}
		g.SetLimit(workers)
		return pool{submit: func(x int) func() (int, error) {
			c := make(chan int, 1)
			g.Go(func() error { c <- twice(x); return nil })
			return func() (int, error) { return <-c, nil }
		}}, func() { _ = g.Wait() }, nil
	}},
}
