package main

import (
	"context"

	"github.com/gojoblib/parallel"
)

// registered is what this project's workers can be asked for; the first line of main and TestMain gives it to Main.
var registered = []any{cube, describe, spin, sum, double}

// ours is this project. Its pool starts by itself, with the first run.
func ours() (*pool, error) {
	processes := parallel.Prefer(parallel.Processes)
	return &pool{
		cubes: mapped(cube, processes),
		dynamic: func(xs []int) ([]int, error) {
			tasks := make([]parallel.Task, len(xs))
			for i, x := range xs {
				tasks[i] = parallel.Delayed(cube, x)
			}
			return parallel.Collect[int](parallel.Parallel(workers, processes)(tasks...))
		},
		spins:   mapped(spin, processes),
		records: mapped(describe, processes),
		sums:    mapped(sum, processes),
		doubles: mapped(double, processes),
		close: func() error {
			parallel.CloseIdleWorkers() // the next run is a cold one
			return nil
		},
	}, nil
}

func mapped[A, R any](fn func(context.Context, A) (R, error), where parallel.Option) func([]A) ([]R, error) {
	return func(in []A) ([]R, error) {
		return parallel.Map(context.Background(), in, fn, parallel.NJobs(workers), where)
	}
}
