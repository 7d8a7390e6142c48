package main

import (
	"context"
	"fmt"
	"time"
)

// What the tasks do. peers.py has the same functions, and the same inputs, line by line.

func cube(_ context.Context, x int) (int, error) { return x * x * x, nil }

// Record is what describe returns. It is exported because net/rpc wants it so.
type Record struct {
	Name  string
	Score float64
	Tags  []string
}

func describe(_ context.Context, s string) (Record, error) {
	return Record{s, float64(s[len(s)-1]) / 2, []string{s[:1], s[1:]}}, nil
}

// spin keeps a CPU busy until the clock has advanced by x>>20 µs and returns the other bits of x. The clock, not a
// number of steps, so that Python and Go do the same; whoever is interrupted meanwhile has that time for nothing.
func spin(_ context.Context, x int) (int, error) {
	start, d := time.Now(), time.Duration(x>>20)*time.Microsecond
	for time.Since(start) < d {
	}
	return x & (1<<20 - 1), nil
}

// sum reads one number of every page: enough to have the array, too little to be what is measured.
func sum(_ context.Context, xs []float64) (float64, error) {
	total := 0.0
	for i := 0; i < len(xs); i += 512 {
		total += xs[i]
	}
	return total, nil
}

// double leaves its argument alone, as numpy does.
func double(_ context.Context, xs []float64) ([]float64, error) {
	out := make([]float64, len(xs))
	for i, x := range xs {
		out[i] = 2 * x
	}
	return out, nil
}

func numbers(n int) []int {
	xs := make([]int, n)
	for i := range xs {
		xs[i] = i
	}
	return xs
}

func words(n int) []string {
	xs := make([]string, n)
	for i := range xs {
		xs[i] = fmt.Sprintf("item-%d", i)
	}
	return xs
}

// spins is the input of spin: the tasks of every group, numbered throughout.
func spins(groups []group) []int {
	var xs []int
	for _, g := range groups {
		for range g.Tasks {
			xs = append(xs, g.Micros<<20|len(xs))
		}
	}
	return xs
}

// arrays are as many as there are workers, each of n numbers that use all their bits, for gob sends others in fewer bytes.
// Those of another serial are others, so that an old copy shows.
func arrays(n, serial int) [][]float64 {
	xs := make([][]float64, workers)
	for w := range xs {
		xs[w] = make([]float64, n)
		for i := range xs[w] {
			xs[w][i] = float64(i)*0.1 + float64(workers*serial+w)
		}
	}
	return xs
}

// plainly is the yardstick for results: fn of every element, one after the other.
func plainly[A, R any](in []A, fn func(context.Context, A) (R, error)) []R {
	out := make([]R, len(in))
	for i, x := range in {
		out[i], _ = fn(context.Background(), x) // these functions have no errors
	}
	return out
}
