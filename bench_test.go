package parallel_test

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
)

func cube(_ context.Context, x int) (int, error) { return x * x * x, nil }

func cubeOf(x int) int { return x * x * x }

func ints(n int) []int {
	xs := make([]int, n)
	for i := range xs {
		xs[i] = i
	}
	return xs
}

// chunked is the loop that a careful engineer writes by hand: a chunk for each worker, the error checked, the result made.
func chunked[A, R any](ctx context.Context, workers int, in []A, fn func(context.Context, A) (R, error)) ([]R, error) {
	out := make([]R, len(in))
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		lo, hi := w*len(in)/workers, (w+1)*len(in)/workers
		wg.Go(func() {
			for i := lo; i < hi; i++ {
				r, err := fn(ctx, in[i])
				if err != nil {
					errs[w] = err
					return
				}
				out[i] = r
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

func perTask(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/task")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkMap(b *testing.B) {
	ctx, xs, fn := context.Background(), ints(100_000), cube
	b.Run("hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = chunked(ctx, 2, xs, fn)
		}
		perTask(b, len(xs))
	})
	b.Run("Map", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Map(ctx, xs, fn, NJobs(2))
		}
		perTask(b, len(xs))
	})
}

func BenchmarkDelayed(b *testing.B) {
	const n = 100_000
	b.Run("hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var tasks []func() int
			for x := range n {
				tasks = append(tasks, func() int { return cubeOf(x) })
			}
			_, _ = chunked(context.Background(), 2, tasks, func(_ context.Context, f func() int) (int, error) { return f(), nil })
		}
		perTask(b, n)
	})
	b.Run("Delayed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var tasks []Task
			for x := range n {
				tasks = append(tasks, Delayed(cubeOf, x))
			}
			_, _ = Parallel(2)(tasks...)
		}
		perTask(b, n)
	})
	b.Run("Each", func(b *testing.B) {
		xs := ints(n)
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Parallel(2)(Each(cubeOf, xs)...)
		}
		perTask(b, n)
	})
	b.Run("reflect", func(b *testing.B) {
		type odd int
		f := func(x odd) odd { return x * x * x }
		b.ReportAllocs()
		for b.Loop() {
			var tasks []Task
			for x := range n {
				tasks = append(tasks, Delayed(f, odd(x)))
			}
			_, _ = Parallel(2)(tasks...)
		}
		perTask(b, n)
	})
}

var sink atomic.Int64

// spin works for about d.
func spin(units int) {
	x := uint64(units)
	for range units {
		x = x*6364136223846793005 + 1442695040888963407
	}
	if x == 42 {
		sink.Add(1)
	}
}

// perMicro is how many units of spin last a microsecond, measured once.
var perMicro = sync.OnceValue(func() int {
	const units = 1 << 20
	best := time.Hour
	for range 15 {
		start := time.Now()
		spin(units)
		best = min(best, time.Since(start))
	}
	return int(units * time.Microsecond / best)
})

// BenchmarkBodies prints which share of the ideal, half the time of one plain loop, two workers reach: alternating with that loop, the best of each.
func BenchmarkBodies(b *testing.B) {
	us := perMicro()
	flat := func(n, units int) []int {
		xs := make([]int, n)
		for i := range xs {
			xs[i] = units
		}
		return xs
	}
	skewed := func(front bool) []int {
		xs := flat(50_000, us)
		for i := range 500 {
			if front {
				xs[i] *= 100
			} else {
				xs[len(xs)-1-i] *= 100
			}
		}
		return xs
	}
	for _, body := range []struct {
		name string
		in   []int
	}{
		{"1us", flat(100_000, us)}, {"100us", flat(2_000, 100*us)}, {"front", skewed(true)}, {"end", skewed(false)},
	} {
		b.Run(body.name, func(b *testing.B) {
			fn := func(_ context.Context, units int) (int, error) { spin(units); return units, nil }
			loop, run := time.Hour, time.Hour
			for b.Loop() {
				start := time.Now()
				out := make([]int, len(body.in))
				for i, units := range body.in {
					out[i], _ = fn(nil, units)
				}
				loop = min(loop, time.Since(start))
				start = time.Now()
				_, _ = Map(context.Background(), body.in, fn, NJobs(2))
				run = min(run, time.Since(start))
			}
			b.ReportMetric(100*float64(loop)/2/float64(run), "%ideal")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func BenchmarkSleepers(b *testing.B) {
	in := make([]time.Duration, 640)
	for i := range in {
		in[i] = 20 * time.Millisecond
	}
	best := time.Hour
	for b.Loop() {
		start := time.Now()
		_, _ = Map(context.Background(), in, func(_ context.Context, d time.Duration) (int, error) { time.Sleep(d); return 0, nil }, NJobs(64))
		best = min(best, time.Since(start))
	}
	b.ReportMetric(float64(best)/float64(10*20*time.Millisecond), "x-ideal")
	b.ReportMetric(0, "ns/op")
}

func count(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func BenchmarkImap(b *testing.B) {
	const n = 1_000_000
	for name, f := range map[string]func(context.Context, iter.Seq[int], func(context.Context, int) (int, error), ...Option) iter.Seq2[int, error]{
		"ordered": Imap[int, int], "unordered": ImapUnordered[int, int],
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range f(context.Background(), count(n), cube, NJobs(2)) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			perTask(b, n)
		})
	}
}

func BenchmarkOneTask(b *testing.B) {
	b.Run("Map", func(b *testing.B) {
		b.ReportAllocs()
		xs := []int{3}
		for b.Loop() {
			_, _ = Map(context.Background(), xs, cube)
		}
	})
	b.Run("Parallel", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Parallel(2)(Delayed(cubeOf, 3))
		}
	})
	b.Run("go", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var wg sync.WaitGroup
			var out int
			wg.Go(func() { out = cubeOf(3) })
			wg.Wait()
			_ = out
		}
	})
}

var _ = fmt.Sprint
