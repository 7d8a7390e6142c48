package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/memo"
)

// n_jobs=-1 is all CPUs, and -2 all but one.
func ExampleNJobs_Workers() {
	all := parallel.NJobs(-1).Workers() // effective_n_jobs(-1)
	butOne := parallel.NJobs(-2).Workers()
	fmt.Println(parallel.NJobs(3).Workers(), butOne == max(1, all-1))
	// Output: 3 true
}

// Results in the order in which they come.
func ExampleImapUnordered() {
	var squares []int
	for square, err := range parallel.ImapUnordered(context.Background(), slices.Values([]int{1, 2, 3}), slowSquare) {
		if err != nil {
			log.Print(err)
			continue
		}
		squares = append(squares, square)
	}
	sort.Ints(squares)
	fmt.Println(squares)
	// Output: [1 4 9]
}

// return_as="generator_unordered": Index says which task a result is of.
func ExampleUnordered() {
	squares := make([]any, 3)
	for r, err := range parallel.Stream(2, parallel.Unordered())(slices.Values(parallel.Each(slowSquare, []int{1, 2, 3}))) {
		if err != nil {
			log.Print(err)
			continue
		}
		squares[r.Index] = r.Value
	}
	fmt.Println(squares)
	// Output: [1 4 9]
}

// An endless input, of which no more than eight are drawn ahead.
func ExamplePreDispatch() {
	drawn := 0
	naturals := func(yield func(int) bool) {
		for ; yield(drawn); drawn++ {
		}
	}
	for square, err := range parallel.Imap(context.Background(), naturals, slowSquare, parallel.PreDispatch(8)) {
		if err != nil || square >= 16 {
			break
		}
	}
	fmt.Println(drawn <= 4+8)
	// Output: true
}

// Tasks too small to be handed out one by one.
func ExampleBatchSize() {
	cubes, err := parallel.Collect[int](parallel.Parallel(2, parallel.BatchSize(64))(parallel.Each(cubeOf, []int{1, 2, 3})...))
	fmt.Println(cubes, err)
	// Output: [1 8 27] <nil>
}

// The calls run in copies of the program, which may crash. Their functions are given to parallel.Main, the first line of
// main and of TestMain.
func ExamplePrefer() {
	for _, where := range []parallel.Hint{parallel.Threads, parallel.Processes} {
		cubes, err := parallel.Collect[int](parallel.Parallel(2, parallel.Prefer(where))(parallel.Each(cubeOf, []int{1, 2, 3})...))
		fmt.Println(cubes, err)
	}
	parallel.CloseIdleWorkers()
	// Output:
	// [1 8 27] <nil>
	// [1 8 27] <nil>
}

func ExampleRetry() {
	flaky := func(ctx context.Context, x int) (int, error) {
		if info, _ := parallel.TaskFrom(ctx); info.Attempt < 3 {
			return 0, errors.New("not yet")
		}
		return x, nil
	}
	fmt.Println(parallel.Map(context.Background(), []int{1, 2, 3}, flaky, parallel.Retry(2)))
	// Output: [1 2 3] <nil>
}

// Worker processes that are renewed after every task: maxtasksperchild=1.
func ExampleBackend_processes() {
	fresh := processes.New(processes.Options{MaxTasks: 1})
	cubes, err := parallel.Collect[int](parallel.Parallel(2, parallel.Backend(fresh))(parallel.Each(cubeOf, []int{1, 2, 3})...))
	fmt.Println(cubes, err)
	parallel.CloseIdleWorkers()
	// Output: [1 8 27] <nil>
}

// Random numbers that are the same in every run, wherever the task runs.
func ExampleTaskFrom() {
	dice := func(ctx context.Context, sides int) (int, error) {
		info, _ := parallel.TaskFrom(ctx)
		return rand.New(rand.NewPCG(info.Seed, 0)).IntN(sides), nil
	}
	once, _ := parallel.Map(context.Background(), []int{6, 6, 6, 6}, dice, parallel.Seed(42), parallel.NJobs(4))
	again, _ := parallel.Map(context.Background(), []int{6, 6, 6, 6}, dice, parallel.Seed(42), parallel.NJobs(1))
	fmt.Println(slices.Equal(once, again))
	// Output: true
}

// half is given to parallel.Main, too, or registered.
func half(x int) (int, error) {
	if x%2 != 0 {
		return 0, fmt.Errorf("%d is odd", x)
	}
	return x / 2, nil
}

func init() { parallel.Register(half) }

// A failed call, kept with its arguments: PARALLEL_REPLAY=file ./program makes it again, under a debugger if one likes.
func ExampleCapsules() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	_, err = parallel.Parallel(1, parallel.Capsules(dir))(parallel.Delayed(half, 7))
	for _, f := range parallel.Failures(err) {
		fmt.Println(f.Err, filepath.Ext(f.Capsule))
	}
	// Output: 7 is odd .capsule
}

// memory = Memory(); memory.cache(square): the second run computes nothing.
func ExampleMemo() {
	m, err := memo.New(memo.Options{}) // in RAM; with a Dir, in files, too
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	for range 2 {
		squares, err := parallel.Map(context.Background(), []int{1, 2, 3}, slowSquare, parallel.Memo(m))
		fmt.Println(squares, err, m.Stats().Misses)
	}
	// Output:
	// [1 4 9] <nil> 3
	// [1 4 9] <nil> 3
}

// pool.apply(cube, (3,)): one call, now.
func ExampleApply() {
	p, err := parallel.NewPool(2)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	fmt.Println(parallel.Apply[int](context.Background(), p, parallel.Delayed(cubeOf, 3)))
	// Output: 27 <nil>
}

// r = pool.map_async(square, xs); ...; r.get()
func ExampleMapAsync() {
	ctx := context.Background()
	p, err := parallel.NewPool(2)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	f := parallel.MapAsync(ctx, p, []int{1, 2, 3}, slowSquare)
	// ... something else, meanwhile
	fmt.Println(f.Get(ctx))
	// Output: [1 4 9] <nil>
}

// future.cancel(): true, the call is never made; false, it runs, and its context has ended.
func ExampleFuture_Cancel() {
	ctx := context.Background()
	p, err := parallel.NewPool(1)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	begun := make(chan bool)
	running := parallel.ApplyAsync[any](ctx, p, parallel.Delayed(func(ctx context.Context) error { close(begun); <-ctx.Done(); return ctx.Err() }))
	waiting := parallel.ApplyAsync[int](ctx, p, parallel.Delayed(cubeOf, 3))
	<-begun
	fmt.Println(running.Cancel(), waiting.Cancel())
	_, err = running.Get(ctx)
	fmt.Println(err)
	_, err = waiting.Get(ctx)
	fmt.Println(err)
	// Output:
	// false true
	// parallel: task 0 (github.com/gojoblib/parallel_test.ExampleFuture_Cancel.func1): context canceled
	// parallel: task 1 (github.com/gojoblib/parallel_test.cubeOf(3)): not run: context canceled
}

// The end of a pool: what has not begun does not begin, and what runs is cancelled.
func ExamplePool_Terminate() {
	ctx := context.Background()
	p, err := parallel.NewPool(1)
	if err != nil {
		log.Fatal(err)
	}
	for range 1000 {
		parallel.ApplyAsync[any](ctx, p, parallel.Delayed(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }))
	}
	fmt.Println(p.Terminate(), p.Join()) // Join has nothing to wait for any more
	_, err = parallel.Apply[int](ctx, p, parallel.Delayed(cubeOf, 3))
	fmt.Println(err)
	// Output:
	// <nil> <nil>
	// parallel: a call (github.com/gojoblib/parallel_test.cubeOf(3)): not run: the pool was terminated
}
