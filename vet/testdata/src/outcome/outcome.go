package outcome

import (
	"context"
	"iter"
	"slices"

	. "github.com/gojoblib/parallel"
	joblib "github.com/gojoblib/parallel"
)

type app struct{ run Runner }

func cube(n int) int { return n * n * n }

func fetch(ctx context.Context, n int) (string, error) { return "", nil }

func add(ctx context.Context, a, b int) (int, error) { return a + b, nil }

func start() Runner { return nil }

func runs(ctx context.Context, tasks []Task, ns []int, a app) {
	run := Parallel(4)
	Parallel(4)(tasks...)                              // want `the error of this run is dropped: it alone tells what failed or never ran; take it: results, err := ...`
	joblib.Parallel(joblib.NJobs(4))(tasks...)         // want `the error of this run is dropped`
	run(tasks...)                                      // want `the error of this run is dropped`
	(run)(tasks...)                                    // want `the error of this run is dropped`
	a.run(tasks...)                                    // want `the error of this run is dropped`
	start()(tasks...)                                  // want `the error of this run is dropped`
	Map(ctx, ns, fetch)                                // want `the error of Map is dropped`
	joblib.Map[int, string](ctx, ns, fetch)            // want `the error of Map is dropped`
	Starmap(ctx, Zip(ns, ns), add)                     // want `the error of Starmap is dropped`
	Collect[int](run(tasks...))                        // want `the error of Collect is dropped`
	go run(tasks...)                                   // want `the error of this run is dropped`
	defer Map(ctx, ns, fetch)                          // want `the error of Map is dropped`
	_, _ = run(tasks...)                               // want `the error of this run is dropped: it alone tells what failed or never ran; give it a name`
	results, _ := Map(ctx, ns, fetch)                  // want `the error of Map is dropped`
	sums, _ := (Starmap(ctx, Zip(ns, ns), add))        // want `the error of Starmap is dropped`
	var cubes, _ = Collect[int](Parallel(4)(tasks...)) // want `the error of Collect is dropped`
	if results, _ := run(tasks...); len(results) > 0 { // want `the error of this run is dropped`
	}
	_, _, _ = results, sums, cubes
}

var all, _ = Parallel(4)(Each(cube, []int{1})...) // want `the error of this run is dropped`

func streams(ctx context.Context, tasks iter.Seq[Task], in iter.Seq[int]) {
	for r := range Stream(4)(tasks) { // want `the errors of Stream are dropped: a failed item looks like a zero value; take them: for r, err := range ...`
		_ = r
	}
	for r, _ := range joblib.Stream(4)(tasks) { // want `the errors of Stream are dropped`
		_ = r
	}
	for range Imap(ctx, in, fetch) { // want `the errors of Imap are dropped`
	}
	for s := range ImapUnordered(ctx, in, fetch) { // want `the errors of ImapUnordered are dropped`
		_ = s
	}
	for _, _ = range Imap(ctx, slices.Values([]int{1}), fetch) { // want `the errors of Imap are dropped`
	}
}

func tasks() {
	Delayed(cube, 1)              // want `Delayed only declares: no run is given what it returns; pass it on: parallel.Parallel\(n\)\(...\)`
	Delayed(cube, 1).Named("one") // want `Delayed only declares`
	joblib.Delayed(cube, 1)       // want `joblib.Delayed only declares`
	(Delayed(cube, 1))            // want `Delayed only declares`
	Each(cube, []int{1})          // want `Each only declares`
	go Delayed(cube, 1)           // want `Delayed only declares`
	defer Each(cube, []int{1})    // want `Each only declares`
}

func inert(ctx context.Context, tasks iter.Seq[Task], in iter.Seq[int]) {
	Parallel(4)                      // want `Parallel runs nothing by itself; give it tasks: parallel.Parallel\(n\)\(tasks...\)`
	joblib.Stream(4)                 // want `joblib.Stream runs nothing by itself; give it tasks and range over them`
	Stream(4)(tasks)                 // want `Stream\(4\) runs nothing by itself; range over it: for r, err := range ...`
	Imap(ctx, in, fetch)             // want `Imap runs nothing by itself; range over it`
	go ImapUnordered(ctx, in, fetch) // want `ImapUnordered runs nothing by itself; range over it`
	With(ctx, KeepGoing())           // want `With runs nothing by itself; use the context that it returns`
	ctx = With(ctx, KeepGoing())
	runner, stream := Parallel(4), Stream(4)
	_, _ = runner, stream(tasks)
}
