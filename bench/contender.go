package main

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/alitto/pond/v2"
	"github.com/gojoblib/parallel"
	"github.com/panjf2000/ants/v2"
	lop "github.com/samber/lo/parallel"
	conciter "github.com/sourcegraph/conc/iter"
	concpool "github.com/sourcegraph/conc/pool"
	"golang.org/x/sync/errgroup"
)

// contender is one way to call fn for every element of in on so many workers. All do the same job, as far as they can:
// they start from nothing, pools included, return the results in the order of in, or the error of a call that
// failed, and leave nothing running.
type contender struct {
	name      string
	unordered bool // results come as they complete
	unlimited bool // it cannot be told how many workers
	run       func(ctx context.Context, workers int, in []int, fn task) ([]int, error)
}

// fits reports whether c can be compared on b: without a limit of its own only where the CPUs are the limit.
func (c contender) fits(b body) bool {
	return !c.unlimited || !b.sleeps && b.workers >= runtime.GOMAXPROCS(0)
}

// plain is the yardstick: one loop, one goroutine.
var plain = contender{name: "plain loop", run: func(ctx context.Context, _ int, in []int, fn task) ([]int, error) {
	out := make([]int, len(in))
	for i, x := range in {
		r, err := fn(ctx, x)
		if err != nil {
			return out, err
		}
		out[i] = r
	}
	return out, nil
}}

var contenders = []contender{
	{name: "by hand, 1 chunk per worker", run: byHand(1)},
	{name: "by hand, 64 chunks per worker", run: byHand(64)},
	{name: "**Map**", run: func(ctx context.Context, workers int, in []int, fn task) ([]int, error) {
		return parallel.Map(ctx, in, fn, parallel.NJobs(workers))
	}},
	{name: "**Parallel, Each**", run: func(ctx context.Context, workers int, in []int, fn task) ([]int, error) {
		return parallel.Collect[int](parallel.Parallel(workers, parallel.Context(ctx))(parallel.Each(fn, in)...))
	}},
	{name: "**Parallel, Delayed**", run: func(ctx context.Context, workers int, in []int, fn task) ([]int, error) {
		tasks := make([]parallel.Task, 0, len(in))
		for _, x := range in {
			tasks = append(tasks, parallel.Delayed(fn, x))
		}
		return parallel.Collect[int](parallel.Parallel(workers, parallel.Context(ctx))(tasks...))
	}},
	{name: "**Imap**", run: stream(parallel.Imap[int, int])},
	{name: "**ImapUnordered**", unordered: true, run: stream(parallel.ImapUnordered[int, int])},
	{name: "conc iter.Mapper", run: func(ctx context.Context, workers int, in []int, fn task) ([]int, error) {
		m := conciter.Mapper[int, int]{MaxGoroutines: workers}
		return m.MapErr(in, func(x *int) (int, error) { return fn(ctx, *x) })
	}},
	// conc's own result pool returns results as they complete, so they are put in their places here.
	{name: "conc pool", run: func(ctx context.Context, workers int, in []int, fn task) ([]int, error) {
		out := make([]int, len(in))
		p := concpool.New().WithMaxGoroutines(workers).WithContext(ctx).WithCancelOnError().WithFirstError()
		for i, x := range in {
			p.Go(func(ctx context.Context) (err error) {
				out[i], err = fn(ctx, x)
				return err
			})
		}
		return out, p.Wait()
	}},
	{name: "errgroup", run: func(ctx context.Context, workers int, in []int, fn task) ([]int, error) {
		out := make([]int, len(in))
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(workers)
		for i, x := range in {
			g.Go(func() (err error) {
				out[i], err = fn(ctx, x)
				return err
			})
		}
		return out, g.Wait()
	}},
	{name: "pond result group", run: func(ctx context.Context, workers int, in []int, fn task) ([]int, error) {
		pool := pond.NewResultPool[int](workers)
		defer pool.StopAndWait()
		group := pool.NewGroupContext(ctx)
		for _, x := range in {
			group.SubmitErr(func() (int, error) { return fn(ctx, x) })
		}
		return group.Wait()
	}},
	// ants knows no results and no errors, and swallows panics.
	{name: "ants", run: func(ctx context.Context, workers int, in []int, fn task) ([]int, error) {
		pool, err := ants.NewPool(workers)
		if err != nil {
			return nil, err
		}
		defer pool.Release()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		out := make([]int, len(in))
		var wg sync.WaitGroup
		for i, x := range in {
			wg.Add(1)
			err := pool.Submit(func() {
				defer wg.Done()
				r, err := fn(ctx, x)
				if err != nil {
					cancel(err)
				}
				out[i] = r
			})
			if err != nil {
				wg.Done()
				cancel(err)
				break
			}
		}
		wg.Wait()
		return out, context.Cause(ctx)
	}},
	// lo knows no errors and no limit: it starts a goroutine for every element at once, however many workers are
	// asked for.
	{name: "lo/parallel", unlimited: true, run: func(ctx context.Context, _ int, in []int, fn task) ([]int, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		out := lop.Map(in, func(x, _ int) int {
			r, err := fn(ctx, x)
			if err != nil {
				cancel(err)
			}
			return r
		})
		return out, context.Cause(ctx)
	}},
}

// byHand is the loop of a careful engineer: workers claim chunks from a counter and stop at the first error. One chunk
// per worker costs least and suits equal tasks only; 64 end evenly.
func byHand(chunks int) func(context.Context, int, []int, task) ([]int, error) {
	return func(ctx context.Context, workers int, in []int, fn task) ([]int, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		out := make([]int, len(in))
		size := (len(in) + workers*chunks - 1) / (workers * chunks)
		var claimed atomic.Int64
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					hi := int(claimed.Add(int64(size)))
					lo := hi - size
					if lo >= len(in) {
						return
					}
					for i := lo; i < min(hi, len(in)); i++ {
						r, err := fn(ctx, in[i])
						if err != nil {
							cancel(err)
							return
						}
						out[i] = r
					}
				}
			})
		}
		wg.Wait()
		return out, context.Cause(ctx)
	}
}

type streamFunc func(context.Context, iter.Seq[int], task, ...parallel.Option) iter.Seq2[int, error]

// stream draws from an iterator and gathers what comes out.
func stream(imap streamFunc) func(context.Context, int, []int, task) ([]int, error) {
	return func(ctx context.Context, workers int, in []int, fn task) ([]int, error) {
		out := make([]int, 0, len(in))
		for r, err := range imap(ctx, slices.Values(in), fn, parallel.NJobs(workers)) {
			if err != nil {
				return out, err
			}
			out = append(out, r)
		}
		return out, nil
	}
}
