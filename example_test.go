package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend"
)

func Example() {
	tasks := parallel.Each(cubeOf, []int{1, 2, 3})
	cubes, err := parallel.Collect[int](parallel.Parallel(4)(tasks...))
	fmt.Println(cubes, err)
	// Output: [1 8 27] <nil>
}

func ExampleParallel() {
	// Any functions, in one run.
	results, err := parallel.Parallel(2)(
		parallel.Delayed(math.Sqrt, 2.0),
		parallel.Delayed(strings.Repeat, "ab", 3),
		parallel.Delayed(strconv.Atoi, "42"),
	)
	fmt.Println(results, err)
	// Output: [1.4142135623730951 ababab 42] <nil>
}

func ExampleParallel_keepGoing() {
	results, err := parallel.Parallel(2, parallel.KeepGoing())(parallel.Each(strconv.Atoi, []string{"1", "two", "3"})...)
	fmt.Println(results)
	for _, f := range parallel.Failures(err) {
		fmt.Println(f.Index, f.Args, errors.Is(f, strconv.ErrSyntax))
	}
	// Output:
	// [1 <nil> 3]
	// 1 "two" true
}

func ExampleParallel_failFast() {
	results, err := parallel.Parallel(1)(parallel.Each(strconv.Atoi, []string{"1", "two", "3"})...)
	fmt.Println(results)
	fmt.Println(err)
	fmt.Println(errors.Is(err, parallel.ErrNotRun))
	// Output:
	// [1 <nil> <nil>]
	// parallel: task 1 (strconv.Atoi("two")): strconv.Atoi: parsing "two": invalid syntax; 1 task was not run
	// true
}

func ExampleDelayed_misuse() {
	_, err := parallel.Parallel(2)(parallel.Delayed(math.Sqrt, 2)) // 2 is an int
	fmt.Println(parallel.Failures(err)[0].Err)
	// Output: argument 0 is of type int, want float64: write float64(2)
}

func ExampleTask_Named() {
	_, err := parallel.Parallel(2)(parallel.Delayed(strconv.Atoi, "x").Named("parse the answer"))
	fmt.Println(err)
	// Output: parallel: task 0 (parse the answer("x")): strconv.Atoi: parsing "x": invalid syntax
}

func ExampleMap() {
	lengths, err := parallel.Map(context.Background(), []string{"a", "bb", "ccc"}, func(_ context.Context, s string) (int, error) {
		return len(s), nil
	})
	fmt.Println(lengths, err)
	// Output: [1 2 3] <nil>
}

func ExampleStarmap() {
	powers, err := parallel.Starmap(context.Background(), parallel.Zip([]float64{2, 3, 4}, []float64{10, 3, 0.5}),
		func(_ context.Context, x, y float64) (float64, error) { return math.Pow(x, y), nil })
	fmt.Println(powers, err)
	// Output: [1024 27 2] <nil>
}

func ExampleImap() {
	naturals := func(yield func(int) bool) {
		for x := 0; yield(x); x++ {
		}
	}
	square := func(_ context.Context, x int) (int, error) { return x * x, nil }
	for s, err := range parallel.Imap(context.Background(), naturals, square) {
		if err != nil || s > 20 {
			break // ends the run, and the endless input
		}
		fmt.Print(s, " ")
	}
	// Output: 0 1 4 9 16
}

func ExampleStream() {
	var tasks iter.Seq[parallel.Task] = func(yield func(parallel.Task) bool) {
		for _, s := range []string{"1", "two", "3"} {
			if !yield(parallel.Delayed(strconv.Atoi, s)) {
				return
			}
		}
	}
	for r, err := range parallel.Stream(2)(tasks) {
		fmt.Println(r.Index, r.Value, err != nil)
	}
	// Output:
	// 0 1 false
	// 1 <nil> true
	// 2 3 false
}

func ExamplePanicError() {
	_, err := parallel.Parallel(2)(parallel.Delayed(func(xs []int) int { return xs[3] }, []int{1}))
	var p *parallel.PanicError
	if errors.As(err, &p) {
		fmt.Println(p, len(p.Stack) > 0)
	}
	// Output: panic: runtime error: index out of range [3] with length 1 true
}

func ExampleTimeout() {
	slow := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	_, err := parallel.Parallel(2, parallel.Timeout(10*time.Millisecond), parallel.KeepGoing())(
		parallel.Delayed(slow).Named("slow"), parallel.Delayed(cubeOf, 3))
	fmt.Println(err, errors.Is(err, parallel.ErrTimeout))
	// Output: parallel: task 0 (slow): timed out after 10ms true
}

func ExampleRetryIf() {
	flaky := func(ctx context.Context) (int, error) {
		if info, _ := parallel.TaskFrom(ctx); info.Attempt < 3 {
			return 0, errors.New("not yet")
		}
		return 42, nil
	}
	backoff := func(_ error, attempt int) (time.Duration, bool) { return time.Millisecond << attempt, attempt < 5 }
	fmt.Println(parallel.Parallel(2, parallel.RetryIf(backoff))(parallel.Delayed(flaky)))
	// Output: [42] <nil>
}

func ExampleWith() {
	ctx := parallel.With(context.Background(), parallel.NJobs(2), parallel.KeepGoing())
	_, err := parallel.Map(ctx, []int{1, 2, 3}, func(_ context.Context, x int) (int, error) {
		if x < 3 {
			return 0, errors.New("too small")
		}
		return x, nil
	})
	fmt.Println(len(parallel.Failures(err)))
	// Output: 2
}

// counter stands for a library that only one goroutine may use at a time.
type counter struct{ n int }

var counters = parallel.PerWorker(
	func() (*counter, error) { return &counter{}, nil },
	func(*counter) error { return nil },
)

func ExamplePerWorker() {
	counted, err := parallel.Map(context.Background(), make([]struct{}, 5), func(ctx context.Context, _ struct{}) (int, error) {
		c, err := counters.Get(ctx)
		if err != nil {
			return 0, err
		}
		c.n++
		return c.n, nil
	}, parallel.NJobs(1))
	fmt.Println(counted, err)
	// Output: [1 2 3 4 5] <nil>
}

// locked is a backend of one's own: workers that keep to one thread of the operating system, as OpenGL contexts want it.
type locked struct{}

func (locked) Start(context.Context) (backend.Worker, error) { return thread{}, nil }
func (locked) Traits() backend.Traits                        { return backend.Traits{Name: "locked"} }

type thread struct{}

func (thread) Go(loop func()) {
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		loop()
	}()
}

func (thread) Close() error { return nil }

func ExampleBackend() {
	fmt.Println(parallel.Parallel(2, parallel.Backend(locked{}))(parallel.Each(cubeOf, []int{1, 2, 3})...))
	// Output: [1 8 27] <nil>
}
