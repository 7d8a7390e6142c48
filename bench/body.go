package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// body is what the tasks of one column do: fn, for every element of in, on so many workers. Its results differ from
// element to element, so that one in the wrong place shows.
type body struct {
	name    string
	workers int
	in      []int
	fn      task
	bare    bool // no work to speak of: shown is what a task costs, not the share of the ideal
	sleeps  bool // its tasks need no CPU
}

// task is an alias: a func type of its own would send Delayed to reflection.
type task = func(context.Context, int) (int, error)

// bodies are the columns for n workers. But for the first they last some 20 ms: long beside the start of a run, short
// enough to find quiet moments on a busy machine.
func bodies(n int) []body {
	us := unitsPerMicrosecond()
	// spinning is 1 µs of work, and 100 µs for the elements in [lo, hi).
	spinning := func(lo, hi int) task {
		return func(_ context.Context, x int) (int, error) {
			if lo <= x && x < hi {
				return spin(x, 100*us), nil
			}
			return spin(x, us), nil
		}
	}
	return []body{
		{name: "x³", workers: n, in: ints(100_000), fn: cube, bare: true},
		{name: "1 µs", workers: n, in: ints(20_000 * n), fn: spinning(0, 0)},
		{name: "100 µs", workers: n, in: ints(200 * n), fn: spinning(0, 200*n)},
		{name: "heavy first", workers: n, in: ints(10_000 * n), fn: spinning(0, 100*n)},
		{name: "heavy last", workers: n, in: ints(10_000 * n), fn: spinning(9_900*n, 10_000*n)},
		{name: "1 ms sleep, n = 64", workers: 64, in: ints(640), fn: sleep, sleeps: true},
	}
}

// ideal is how many times as fast as the plain loop the workers can be.
func (b body) ideal() int {
	if b.sleeps {
		return b.workers
	}
	return min(b.workers, runtime.GOMAXPROCS(0))
}

func (b body) heads() []string {
	if b.bare {
		return []string{b.name + ", ns", "allocs"}
	}
	return []string{b.name}
}

// cells shows s per task, or as the share of the ideal.
func (b body) cells(s, plain sample) []string {
	if b.bare {
		n := float64(len(b.in))
		return []string{fmt.Sprintf("%.1f", float64(s.time.Nanoseconds())/n), fmt.Sprintf("%.1f", float64(s.allocs)/n)}
	}
	if s.time == 0 {
		return []string{"–"}
	}
	return []string{fmt.Sprintf("%.0f %%", 100*float64(plain.time)/float64(b.ideal())/float64(s.time))}
}

func ints(n int) []int {
	xs := make([]int, n)
	for i := range xs {
		xs[i] = i
	}
	return xs
}

func cube(_ context.Context, x int) (int, error) { return x * x * x, nil }

func sleep(_ context.Context, x int) (int, error) {
	time.Sleep(time.Millisecond)
	return x, nil
}

// spin is a chain of units multiplications, each waiting for the last. It maps no two x to the same result.
func spin(x, units int) int {
	for range units {
		x = x*6364136223846793005 + 1442695040888963407
	}
	return x
}

// unitsPerMicrosecond measures how many units of spin last a microsecond.
func unitsPerMicrosecond() int {
	const units = 1 << 20
	best := time.Hour
	for range 15 {
		start := time.Now()
		runtime.KeepAlive(spin(1, units))
		best = min(best, time.Since(start))
	}
	return int(units * time.Microsecond / best)
}
