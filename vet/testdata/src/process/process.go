package process

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/gojoblib/parallel"
)

type scaler struct{ by int }

func (s scaler) scale(n int) int                               { return n * s.by }
func (s scaler) fetch(ctx context.Context, n int) (int, error) { return n, nil }

type fetcher func(context.Context, int) (int, error)

func cube(n int) int                                  { return n * n * n }
func named(ctx context.Context, n int) (int, error)   { return n, nil }
func add(ctx context.Context, a, b int) (int, error)  { return a + b, nil }
func identity[T any](v T) T                           { return v }
func pass[T any](ctx context.Context, v T) (T, error) { return v, nil }
func pair[A, B any](a A, b B) A                       { return a }

var local = func(n int) int { return n }

func delayed(s scaler, ns []int) (err error) {
	processes := parallel.Prefer(parallel.Processes)
	tasks := []parallel.Task{parallel.Delayed(func() {})}

	_, err = parallel.Parallel(4, parallel.Prefer(parallel.Processes))(
		parallel.Delayed(cube, 1),
		parallel.Delayed(local, 1),
		parallel.Delayed(scaler.scale, s, 1),
		parallel.Delayed(strings.ToUpper, "x"),
		parallel.Delayed(func() {}),                  // want `the function literal is a closure, which has no name in a worker process: the run would refuse it; use a package-level function given to Main or Register, or Prefer\(Threads\)`
		parallel.Delayed(func() {}).Named("nothing"), // want `the function literal is a closure`
		parallel.Delayed(any(func() {})),             // want `is a closure`
		parallel.Delayed(s.scale, 1),                 // want `s.scale is a method value`
		parallel.Delayed(scaler{}.scale, 1),          // want `scaler{}.scale is a method value`
		parallel.Delayed((identity[int]), 1),         // want `identity\[int\] is a generic function`
		parallel.Delayed(pair[int, string], 1, "x"),  // want `pair\[int, string\] is a generic function`
		parallel.Delayed(slices.Max[[]int], ns),      // want `slices.Max\[\[\]int\] is a generic function`
	)
	_, err = parallel.Parallel(4, parallel.KeepGoing(), (parallel.Prefer)((parallel.Processes)))(
		parallel.Each(s.scale, ns)...) // want `s.scale is a method value`
	_, err = parallel.Collect[int](parallel.Parallel(4, parallel.Prefer(parallel.Processes))(
		parallel.Each(func(n int) int { return n }, ns)...)) // want `is a closure`

	// known to the run only
	_, err = parallel.Parallel(4, processes)(parallel.Delayed(func() {}))
	_, err = parallel.Parallel(4, parallel.Prefer(parallel.Processes))(tasks...)
	fs := []func(){func() {}}
	_, err = parallel.Parallel(4, parallel.Prefer(parallel.Processes))(parallel.Delayed(fs[0]))
	run := parallel.Parallel(4, parallel.Prefer(parallel.Processes))
	_, err = run(parallel.Delayed(func() {}))

	// goroutines
	_, err = parallel.Parallel(4)(parallel.Delayed(func() {}), parallel.Delayed(s.scale, 1), parallel.Delayed(identity[int], 1))
	_, err = parallel.Parallel(4, parallel.Prefer(parallel.Threads))(parallel.Delayed(func() {}))
	return err
}

func typed(ctx context.Context, s scaler, ns []int, in iter.Seq[int], fn fetcher) (err error) {
	closure := func(ctx context.Context, n int) (int, error) { return n, nil }
	_, err = parallel.Map(ctx, ns, named, parallel.Prefer(parallel.Processes))
	_, err = parallel.Map(ctx, ns, fn, parallel.Prefer(parallel.Processes))
	_, err = parallel.Map(ctx, ns, closure, parallel.Prefer(parallel.Processes))
	_, err = parallel.Map(ctx, ns, s.fetch)
	_, err = parallel.Map(ctx, ns, s.fetch, parallel.Prefer(parallel.Threads))
	_, err = parallel.Map(ctx, ns, s.fetch, parallel.NJobs(4), parallel.Prefer(parallel.Processes))                                                               // want `s.fetch is a method value`
	_, err = parallel.Map(ctx, ns, pass, parallel.Prefer(parallel.Processes))                                                                                     // want `pass is a generic function`
	_, err = parallel.Map(ctx, ns, pass[int], parallel.Prefer(parallel.Processes))                                                                                // want `pass\[int\] is a generic function`
	_, err = parallel.Map(ctx, ns, fetcher(func(ctx context.Context, n int) (int, error) { return n, nil }), parallel.Prefer(parallel.Processes))                 // want `is a closure`
	_, err = parallel.Starmap(ctx, parallel.Zip(ns, ns), func(ctx context.Context, a, b int) (int, error) { return a, nil }, parallel.Prefer(parallel.Processes)) // want `the function literal is a closure`
	for _, err = range parallel.Imap(ctx, in, s.fetch, parallel.Prefer(parallel.Processes)) {                                                                     // want `s.fetch is a method value`
	}
	for _, err = range parallel.ImapUnordered(ctx, in, pass, parallel.Prefer(parallel.Processes)) { // want `pass is a generic function`
	}
	return err
}
