package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/gojoblib/parallel"
)

// slowSquare is the function of many a tutorial.
func slowSquare(ctx context.Context, x int) (int, error) {
	select {
	case <-time.After(time.Millisecond):
		return x * x, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Pool's eight functions, and what they are here.
func ExamplePool() {
	ctx := context.Background()
	p, err := parallel.NewPool(4) // with Pool(4) as p:
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	in := []int{1, 2, 3}
	add := func(_ context.Context, a, b int) (int, error) { return a + b, nil }
	on := parallel.On(p)

	apply, _ := parallel.Apply[int](ctx, p, parallel.Delayed(slowSquare, 4))                // p.apply(square, (4,))
	async := parallel.ApplyAsync[int](ctx, p, parallel.Delayed(slowSquare, 5))              // p.apply_async(square, (5,))
	mapped, _ := parallel.Map(ctx, in, slowSquare, on)                                      // p.map(square, in)
	mapAsync := parallel.MapAsync(ctx, p, in, slowSquare)                                   // p.map_async(square, in)
	starmap, _ := parallel.Starmap(ctx, parallel.Zip(in, in), add, on)                      // p.starmap(add, zip(in, in))
	starmapAsync := parallel.StarmapAsync(ctx, p, parallel.Zip(in, []int{10, 20, 30}), add) // p.starmap_async(...)
	fmt.Println(apply, mapped, starmap)
	for v := range parallel.Imap(ctx, slices.Values(in), slowSquare, on) { // p.imap(square, in)
		fmt.Print(v, " ")
	}
	sum := 0
	for v := range parallel.ImapUnordered(ctx, slices.Values(in), slowSquare, on) { // p.imap_unordered(square, in)
		sum += v
	}
	fmt.Println(sum)
	a, _ := async.Get(ctx) // r.get()
	b, _ := mapAsync.Get(ctx)
	c, _ := starmapAsync.Get(ctx)
	fmt.Println(a, b, c)
	// Output:
	// 16 [1 4 9] [2 4 6]
	// 1 4 9 14
	// 25 [1 4 9] [11 22 33]
}

func ExampleAsCompleted() {
	ctx := context.Background()
	p, err := parallel.NewPool(2)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	var fs []*parallel.Future[int]
	for _, x := range []int{1, 2, 3, 4} {
		fs = append(fs, parallel.ApplyAsync[int](ctx, p, parallel.Delayed(slowSquare, x)))
	}
	var squares []int
	for f := range parallel.AsCompleted(fs...) { // for f in as_completed(fs):
		square, err := f.Get(ctx)
		if err != nil {
			log.Print(err)
			continue
		}
		squares = append(squares, square)
	}
	slices.Sort(squares) // they came as they were ready
	fmt.Println(squares)
	// Output: [1 4 9 16]
}

// Callbacks come one after the other: what they write to needs no lock.
func ExampleFuture_OnDone() {
	ctx := context.Background()
	p, err := parallel.NewPool(3)
	if err != nil {
		log.Fatal(err)
	}
	cubeOf := func(x int) (int, error) {
		if x == 13 {
			return 0, errors.New("no thirteen")
		}
		return x * x * x, nil
	}
	sum, failed := 0, 0
	for x := 1; x < 1000; x++ {
		parallel.ApplyAsync[int](ctx, p, parallel.Delayed(cubeOf, x)).OnDone(func(cube int, err error) {
			if err != nil {
				failed++ // error_callback
				return
			}
			sum += cube // callback
		})
	}
	if err := p.Close(); err != nil { // p.close(); p.join()
		log.Fatal(err)
	}
	fmt.Println(sum, failed)
	// Output: 249500247803 1
}

// A call that is not wanted any more, or not in time.
func ExampleFuture_Get() {
	p, err := parallel.NewPool(1)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	wait := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	running := parallel.ApplyAsync[any](context.Background(), p, parallel.Delayed(wait))
	pending := parallel.ApplyAsync[any](context.Background(), p, parallel.Delayed(wait))

	soon, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err = running.Get(soon) // r.get(timeout=0.001)
	fmt.Println(err)

	fmt.Println(pending.Cancel())
	_, err = pending.Get(context.Background())
	fmt.Println(errors.Is(err, parallel.ErrNotRun))

	running.Cancel()
	_, err = running.Get(context.Background())
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// context deadline exceeded
	// true
	// true
	// true
}
