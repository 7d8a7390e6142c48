// Pool is the programs of the articles on multiprocessing and concurrent.futures, each below its Python: square with a
// sleep, the cubes of 1 to 999 by all eight functions, callbacks with a bar, as_completed, and a Process.
//
//	go run ./pool               on goroutines
//	go run ./pool -processes    in copies of the program
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/gojoblib/parallel"
)

func main() {
	// First of all: copies of the program become workers here. The error is named so that it is itself in all of them.
	parallel.Main(square, cube, power, fetch, errNotFound)
	processes := flag.Bool("processes", false, "run in worker processes, not on goroutines")
	flag.Parse()
	hint := parallel.Threads
	if *processes {
		hint = parallel.Processes
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Stderr, hint)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run runs all programs; bars go to bar.
func run(ctx context.Context, w, bar io.Writer, hint parallel.Hint) error {
	where := parallel.Prefer(hint)
	return errors.Join(
		squares(ctx, w, where),
		cubes(ctx, w, where),
		callbacks(ctx, w, bar, where),
		completed(ctx, w, where),
		process(ctx, w),
	)
}

// square is slow, as in every tutorial.
func square(ctx context.Context, x int) (int, error) {
	select {
	case <-time.After(20 * time.Millisecond):
		return x * x, nil
	case <-ctx.Done(): // cancelled, or the pool was terminated
		return 0, context.Cause(ctx)
	}
}

func cube(_ context.Context, x int) (int, error) { return x * x * x, nil }

func power(_ context.Context, x, n int) (int, error) {
	p := 1
	for range n {
		p *= x
	}
	return p, nil
}

var errNotFound = errors.New("404 not found")

// fetch does as if it fetched a page: the later ones are there sooner.
func fetch(page int) (string, error) {
	time.Sleep(time.Duration(40-10*page) * time.Millisecond)
	if page == 2 {
		return "", errNotFound
	}
	return fmt.Sprintf("the text of page %d", page), nil
}

// squares takes the time of square over a range.
//
//	start = time.perf_counter()
//	with Pool(4) as pool:
//	    print(pool.map(square, range(8)), f"{time.perf_counter() - start:.2f} s")
func squares(ctx context.Context, w io.Writer, where parallel.Option) error {
	start := time.Now()
	pool, err := parallel.NewPool(4, where)
	if err != nil {
		return err
	}
	defer pool.Close()
	in := []int{0, 1, 2, 3, 4, 5, 6, 7}
	out, err := parallel.Map(ctx, in, square, parallel.On(pool))
	fmt.Fprintf(w, "squares: %v in %.2f s, one by one in 0.16\n", out, time.Since(start).Seconds())
	return err
}

// cubes adds the cubes of 1 to 999, by each of the eight functions of a Pool.
//
//	pool = Pool(4)
//	sum(pool.apply(cube, (x,)) for x in xs)
//	sum(r.get() for r in [pool.apply_async(cube, (x,)) for x in xs])
//	sum(pool.map(cube, xs, chunksize=50))
//	sum(pool.map_async(cube, xs).get())
//	sum(pool.imap(cube, xs))
//	sum(pool.imap_unordered(cube, xs))
//	sum(pool.starmap(power, zip(xs, threes)))
//	sum(pool.starmap_async(power, zip(xs, threes)).get())
//	pool.close(); pool.join()
func cubes(ctx context.Context, w io.Writer, where parallel.Option) (err error) {
	pool, err := parallel.NewPool(4, where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	on := parallel.On(pool)
	var xs, threes []int
	for x := 1; x < 1000; x++ {
		xs, threes = append(xs, x), append(threes, 3)
	}

	ways := []struct {
		name  string
		cubes func() ([]int, error)
	}{
		{"apply", func() (cubes []int, err error) {
			for _, x := range xs {
				c, err := parallel.Apply[int](ctx, pool, parallel.Delayed(cube, x))
				if err != nil {
					return cubes, err
				}
				cubes = append(cubes, c)
			}
			return cubes, nil
		}},
		{"apply_async", func() (cubes []int, err error) {
			var fs []*parallel.Future[int]
			for _, x := range xs {
				fs = append(fs, parallel.ApplyAsync[int](ctx, pool, parallel.Delayed(cube, x)))
			}
			for _, f := range fs {
				c, err := f.Get(ctx)
				if err != nil {
					return cubes, err
				}
				cubes = append(cubes, c)
			}
			return cubes, nil
		}},
		{"map", func() ([]int, error) { return parallel.Map(ctx, xs, cube, on, parallel.BatchSize(50)) }},
		{"map_async", func() ([]int, error) { return parallel.MapAsync(ctx, pool, xs, cube).Get(ctx) }},
		{"imap", func() ([]int, error) { return collect(parallel.Imap(ctx, slices.Values(xs), cube, on)) }},
		{"imap_unordered", func() ([]int, error) { return collect(parallel.ImapUnordered(ctx, slices.Values(xs), cube, on)) }},
		{"starmap", func() ([]int, error) { return parallel.Starmap(ctx, parallel.Zip(xs, threes), power, on) }},
		{"starmap_async", func() ([]int, error) {
			return parallel.StarmapAsync(ctx, pool, parallel.Zip(xs, threes), power).Get(ctx)
		}},
	}
	for _, way := range ways {
		cubes, err := way.cubes()
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		fmt.Fprintf(w, "cubes by %s: %d\n", way.name, sum(cubes))
	}
	return nil
}

// collect is what list(pool.imap(...)) is.
func collect(stream iter.Seq2[int, error]) (values []int, err error) {
	for v, err := range stream {
		if err != nil {
			return values, err // leaving the loop stops the run
		}
		values = append(values, v)
	}
	return values, nil
}

func sum(xs []int) (s int) {
	for _, x := range xs {
		s += x
	}
	return s
}

// callbacks shows a bar, and collects results as they come.
//
//	bar = tqdm(total=40)
//	def done(square):
//	    squares.append(square); bar.update()
//	for x in range(40):
//	    pool.apply_async(square, (x,), callback=done, error_callback=print)
//	pool.close(); pool.join()
func callbacks(ctx context.Context, w, bar io.Writer, where parallel.Option) error {
	pool, err := parallel.NewPool(4, where, parallel.Progress(bar))
	if err != nil {
		return err
	}
	var squares []int
	for x := range 40 {
		parallel.ApplyAsync[int](ctx, pool, parallel.Delayed(square, x)).OnDone(func(square int, err error) {
			if err != nil {
				fmt.Fprintln(w, err)
				return
			}
			squares = append(squares, square) // no lock: callbacks run one after the other
		})
	}
	err = pool.Close() // finishes the calls, and their callbacks
	fmt.Fprintf(w, "callbacks: %d squares, their sum is %d\n", len(squares), sum(squares))
	return err
}

// completed prints pages in the order in which they arrive.
//
//	with ThreadPoolExecutor(4) as pool:
//	    pages = {pool.submit(fetch, page): page for page in range(4)}
//	    for f in as_completed(pages):
//	        try:
//	            print(pages[f], f.result())
//	        except NotFound as e:
//	            print(pages[f], e)
func completed(ctx context.Context, w io.Writer, where parallel.Option) error {
	pool, err := parallel.NewPool(4, where)
	if err != nil {
		return err
	}
	defer pool.Close()
	var fs []*parallel.Future[string]
	pages := map[*parallel.Future[string]]int{}
	for page := range 4 {
		f := parallel.ApplyAsync[string](ctx, pool, parallel.Delayed(fetch, page))
		fs, pages[f] = append(fs, f), page
	}
	for f := range parallel.AsCompleted(fs...) {
		text, err := f.Get(ctx)
		switch {
		case errors.Is(err, errNotFound): // also from another process
			fmt.Fprintf(w, "as_completed: page %d is not there\n", pages[f])
		case err != nil:
			return err
		default:
			fmt.Fprintf(w, "as_completed: page %d: %s\n", pages[f], text)
		}
	}
	return nil
}

// process makes calls in processes of their own, and ends one that takes too long.
//
//	ps = [Process(target=square, args=(x,), name=f"square {x}") for x in (2, 3)]
//	for p in ps: p.start()
//	for p in ps: p.join(); print(p.name, p.exitcode)    # what square returned is lost
//	p = Process(target=fetch, args=(-1000,)); p.start()
//	p.join(0.05)
//	if p.is_alive(): p.terminate(); p.join(); print(p.exitcode)
func process(ctx context.Context, w io.Writer) error {
	var ps []*parallel.Process
	for _, x := range []int{2, 3} {
		p, err := parallel.Spawn(ctx, parallel.Delayed(square, x).Named(fmt.Sprint("square ", x)))
		if err != nil {
			return err
		}
		ps = append(ps, p)
	}
	for _, p := range ps {
		value, err := p.Wait(ctx)
		if err != nil {
			return err
		}
		code, _ := p.ExitCode()
		fmt.Fprintf(w, "process %s: %v, exit code %d\n", p.Name(), value, code)
	}

	p, err := parallel.Spawn(ctx, parallel.Delayed(fetch, -1000).Named("endless"))
	if err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := p.Wait(soon); errors.Is(err, context.DeadlineExceeded) {
		if err := p.Terminate(); err != nil {
			return err
		}
	}
	_, err = p.Wait(ctx)
	code, _ := p.ExitCode()
	fmt.Fprintf(w, "process %s: exit code %d\n", p.Name(), code)
	if crash := new(parallel.CrashError); !errors.As(err, &crash) {
		return fmt.Errorf("%s was to be terminated: %w", p.Name(), err)
	}
	return nil
}
