// The program that TestARebuiltProgramNeverAnswersWithOldValues builds again and again. It is told a folder, and a version
// or none, and prints what it got of compute, by Func and in a run, and of double, and the hits on disk and misses.
package main

import (
	"context"
	"fmt"
	"os"

	"example.com/rebuilt/lib"
	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/memo"
)

const factor = 10

type shape interface{ Area() int }

type square struct{ side int }

func (s square) Area() int { return s.side * s.side }

var offset = initially()

func initially() int { return 100 }

func compute(_ context.Context, x int) (int, error) {
	var s shape = square{x}
	return (lib.Add(s.Area(), offset)) * factor, nil
}

func double(_ context.Context, x int) (lib.Pair, error) { return lib.Pair{Once: x, Twice: 2 * x}, nil }

func try[T any](v T, err error) T {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	return v
}

func main() {
	parallel.Main()
	ctx := context.Background()
	m := try(memo.New(memo.Options{Dir: os.Args[1]}))
	var opts []memo.Option
	if len(os.Args) > 2 {
		opts = append(opts, memo.Version(os.Args[2]))
	}
	if err := m.Declare(compute, opts...); err != nil {
		fmt.Println("error:", err)
	}
	f, g := memo.Func(m, compute, opts...), memo.Func(m, double, opts...)
	in := []int{1, 2, 3, 4, 5}
	for _, x := range in[:3] {
		fmt.Print(try(f.Call(ctx, x)), " ")
	}
	fmt.Println(try(parallel.Map(ctx, in, compute, parallel.Memo(m))))
	fmt.Println(try(g.Call(ctx, 7)).Twice)
	s := m.Stats()
	fmt.Println(s.DiskHits, s.Misses)
	if err := m.Close(); err != nil {
		fmt.Println("error:", err)
	}
}
