// Quickstart is the cube program of joblib's tutorials, in all its forms.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"time"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/memo"
)

// cube is slow enough that two workers show: real ones decode images, fit models or parse files.
func cube(x int) int {
	time.Sleep(2 * time.Millisecond)
	return x * x * x
}

// cubeChecked is cube for Map and its like, which pass a context and take an error.
func cubeChecked(ctx context.Context, x int) (int, error) {
	if x < 0 {
		return 0, fmt.Errorf("%d: negative", x)
	}
	return cube(x), ctx.Err()
}

func power(_ context.Context, x, n int) (int, error) {
	p := 1
	for range n {
		p *= x
	}
	return p, nil
}

func main() {
	parallel.Main(cube, cubeChecked, power) // first of all: copies of the program become workers here

	// Ctrl-C ends the context, the context ends the run, and what was computed is kept.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer) error {
	var xs []int
	for x := range 200 {
		xs = append(xs, x)
	}

	// The plain loop, to compare with.
	start := time.Now()
	for _, x := range xs {
		cube(x)
	}
	fmt.Fprintf(w, "%-36s %8v\n", "a loop", time.Since(start).Round(time.Millisecond))

	m, err := memo.New(memo.Options{}) // in RAM; with a Dir, for the next start of the program, too
	if err != nil {
		return err
	}
	defer m.Close()

	forms := []struct {
		name string
		cube func() ([]int, error)
	}{
		// Parallel(n_jobs=4)(delayed(cube)(x) for x in xs)
		{"Parallel(4)(Delayed(cube, x)...)", func() ([]int, error) {
			var tasks []parallel.Task
			for _, x := range xs {
				tasks = append(tasks, parallel.Delayed(cube, x))
			}
			return parallel.Collect[int](parallel.Parallel(4, parallel.Context(ctx))(tasks...))
		}},
		// The same, shorter.
		{"Parallel(4)(Each(cube, xs)...)", func() ([]int, error) {
			return parallel.Collect[int](parallel.Parallel(4, parallel.Context(ctx))(parallel.Each(cube, xs)...))
		}},
		// Parallel(n_jobs=4, prefer="processes"): in copies of this program, which may crash or be killed.
		{"Parallel(4, Prefer(Processes))(...)", func() ([]int, error) {
			run := parallel.Parallel(4, parallel.Context(ctx), parallel.Prefer(parallel.Processes))
			return parallel.Collect[int](run(parallel.Each(cube, xs)...))
		}},
		// Pool(4).map(cube, xs), checked by the compiler.
		{"Map(ctx, xs, cube)", func() ([]int, error) {
			return parallel.Map(ctx, xs, cubeChecked, parallel.NJobs(4))
		}},
		// Pool(4).starmap(power, zip(xs, threes))
		{"Starmap(ctx, Zip(xs, threes), pow)", func() ([]int, error) {
			threes := make([]int, len(xs))
			for i := range threes {
				threes[i] = 3
			}
			return parallel.Starmap(ctx, parallel.Zip(xs, threes), power, parallel.NJobs(4))
		}},
		// Parallel(n_jobs=4, return_as="generator")(...): lazy in, lazy out.
		{"Stream(4)(tasks)", func() ([]int, error) {
			var cubes []int
			for r, err := range parallel.Stream(4, parallel.Context(ctx))(tasks(xs)) {
				if err != nil {
					return cubes, err // leaving the loop stops the run
				}
				cubes = append(cubes, r.Value.(int))
			}
			return cubes, nil
		}},
		// Pool(4).imap(cube, count()): the input may be endless.
		{"Imap(ctx, naturals, cube)", func() ([]int, error) {
			var cubes []int
			for c, err := range parallel.Imap(ctx, naturals, cubeChecked, parallel.NJobs(4)) {
				if err != nil {
					return cubes, err
				}
				if cubes = append(cubes, c); len(cubes) == len(xs) {
					break
				}
			}
			return cubes, nil
		}},
		// memory.cache(cube): the second time nothing is computed.
		{"Map(ctx, xs, cube, Memo(m))", func() ([]int, error) {
			return parallel.Map(ctx, xs, cubeChecked, parallel.NJobs(4), parallel.Memo(m))
		}},
		{"... again", func() ([]int, error) {
			return parallel.Map(ctx, xs, cubeChecked, parallel.NJobs(4), parallel.Memo(m))
		}},
	}
	for _, f := range forms {
		start := time.Now()
		cubes, err := f.cube()
		elapsed := time.Since(start).Round(time.Millisecond)
		if err != nil {
			fmt.Fprintf(w, "%-36s %8v  stopped with %d results: %v\n", f.name, elapsed, len(cubes), err)
			return err
		}
		fmt.Fprintf(w, "%-36s %8v  ... %v\n", f.name, elapsed, cubes[len(cubes)-3:])
	}

	// What goes wrong is told, and costs nothing else: every other result is there.
	xs[3], xs[5] = -3, -5
	cubes, err := parallel.Map(ctx, xs, cubeChecked, parallel.NJobs(4), parallel.KeepGoing())
	fmt.Fprintf(w, "\n%d cubes, the last one %d\n", len(cubes), cubes[len(cubes)-1])
	for _, f := range parallel.Failures(err) {
		fmt.Fprintf(w, "element %d failed: %v\n", f.Index, f.Err)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func tasks(xs []int) iter.Seq[parallel.Task] {
	return func(yield func(parallel.Task) bool) {
		for _, x := range xs {
			if !yield(parallel.Delayed(cube, x)) {
				return
			}
		}
	}
}

func naturals(yield func(int) bool) {
	for x := 0; yield(x); x++ {
	}
}
