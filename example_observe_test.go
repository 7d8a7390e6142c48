package parallel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel"
)

// On a terminal it is a bar; here, in a buffer, the line of the end.
func ExampleProgress() {
	var b bytes.Buffer // os.Stderr, as a rule
	_, err := parallel.Map(context.Background(), []int{1, 2, 3}, cube, parallel.Progress(&b))
	line, _, _ := strings.Cut(b.String(), " in ") // how long, how fast
	fmt.Println(line, err)
	// Output:
	// Map(parallel_test.cube): 3/3 (100%) <nil>
}

// A metric for every outcome: what an adapter for Prometheus does.
func ExampleObserve() {
	var finished, failed atomic.Int64
	count := parallel.ObserverFunc(func(_ context.Context, run *parallel.RunInfo, e parallel.Event) {
		switch e.Kind {
		case parallel.RunBegan:
			fmt.Printf("%s of %d tasks on %s\n", run.Caller, run.Total, run.Backend)
		case parallel.TaskFinished:
			finished.Add(1)
		case parallel.TaskFailed:
			failed.Add(1)
			fmt.Printf("task %d (%s): %v\n", e.Index, e.Name, e.Err)
		case parallel.RunEnded:
			fmt.Printf("%d done\n", e.Summary.Done)
		}
	})
	root := func(x float64) (float64, error) {
		if x < 0 {
			return 0, fmt.Errorf("the root of %v", x)
		}
		return x / 2, nil // roughly
	}
	_, _ = parallel.Parallel(1, parallel.KeepGoing(), parallel.Observe(count))(
		parallel.Delayed(root, 4.), parallel.Delayed(root, -1.).Named("odd one"), parallel.Delayed(root, 9.))
	fmt.Println(finished.Load(), failed.Load())
	// Output:
	// Parallel of 3 tasks on threads
	// task 1 (odd one): the root of -1
	// 3 done
	// 2 1
}

func ExampleSlogObserver() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "took" || a.Key == "run" {
			return slog.Attr{} // differ from run to run
		}
		return a
	}}))
	ctx := parallel.With(context.Background(), parallel.Observe(parallel.SlogObserver(log))) // for all runs under ctx
	_, _ = parallel.Map(ctx, []int{1, 2, 3}, cube, parallel.NJobs(2))
	// Output:
	// level=INFO msg="run began" caller=Map fn=github.com/gojoblib/parallel_test.cube backend=threads workers=2 total=3
	// level=INFO msg="run ended" caller=Map fn=github.com/gojoblib/parallel_test.cube done=3 failed=0 cached=0 retried=0 cut=0 notRun=0
}

// The trace, as a file, is for https://ui.perfetto.dev or chrome://tracing.
func ExampleTrace() {
	var b bytes.Buffer // f, err := os.Create("trace.json")
	_, err := parallel.Map(context.Background(), []int{1, 2, 3}, cube, parallel.Trace(&b))
	var events []struct {
		Cat string // "task" is an attempt
	}
	if err == nil {
		err = json.Unmarshal(b.Bytes(), &events)
	}
	attempts := 0
	for _, e := range events {
		if e.Cat == "task" {
			attempts++
		}
	}
	fmt.Println(attempts, err)
	// Output:
	// 3 <nil>
}

func ExampleExplain() {
	wait := func(_ context.Context, d time.Duration) (int, error) { time.Sleep(d); return 0, nil }
	in := make([]time.Duration, 20)
	for i := range in {
		in[i] = time.Millisecond
	}
	in[19] = 200 * time.Millisecond
	_, err := parallel.Map(context.Background(), in, wait, parallel.NJobs(2), parallel.Explain(func(x parallel.Explanation) {
		fmt.Println(x.Verdict, x.LongestIndex) // or all of it: log.Print(x)
	}))
	fmt.Println(err)
	// Output:
	// one task was long 19
	// <nil>
}
