package parallel_test

import (
	"context"
	"iter"
	"slices"
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

// chunked is the loop that a careful engineer writes by hand: a chunk for each worker, the error checked, the result
// made.
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

// beside runs two ways of doing the same n things in turn, three times each so that each pays for its own garbage, and
// reports the median of the rounds per thing, their ratio, and what ours allocates.
func beside(b *testing.B, n int, hand, ours func()) {
	b.Helper()
	var rounds [2][]float64
	for b.Loop() {
		for i, f := range []func(){hand, ours} {
			start := time.Now()
			for range 3 {
				f()
			}
			rounds[i] = append(rounds[i], float64(time.Since(start))/3/float64(n))
		}
	}
	median := func(xs []float64) float64 {
		slices.Sort(xs)
		return xs[len(xs)/2]
	}
	h, o := median(rounds[0]), median(rounds[1])
	b.ReportMetric(h, "ns/hand")
	b.ReportMetric(o, "ns/task")
	b.ReportMetric(o/h, "x-hand")
	b.ReportMetric(testing.AllocsPerRun(2, ours)/float64(n), "allocs/task")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkMap(b *testing.B) {
	ctx, xs, fn := context.Background(), ints(100_000), cube
	beside(b, len(xs),
		func() { _, sunk = chunked(ctx, 2, xs, fn) },
		func() { _, sunk = Map(ctx, xs, fn, NJobs(2)) })
}

var sunk error

func BenchmarkDelayed(b *testing.B) {
	const n = 100_000
	xs := ints(n)
	hand := func() {
		var tasks []func() int
		for _, x := range xs {
			tasks = append(tasks, func() int { return cubeOf(x) })
		}
		_, sunk = chunked(context.Background(), 2, tasks, func(_ context.Context, f func() int) (int, error) { return f(), nil })
	}
	b.Run("Delayed", func(b *testing.B) {
		beside(b, n, hand, func() {
			var tasks []Task
			for _, x := range xs {
				tasks = append(tasks, Delayed(cubeOf, x))
			}
			_, sunk = Parallel(2)(tasks...)
		})
	})
	b.Run("Each", func(b *testing.B) {
		beside(b, n, hand, func() { _, sunk = Parallel(2)(Each(cubeOf, xs)...) })
	})
	b.Run("reflect", func(b *testing.B) {
		type odd int
		f := func(x odd) odd { return x * x * x }
		beside(b, n, hand, func() {
			var tasks []Task
			for _, x := range xs {
				tasks = append(tasks, Delayed(f, odd(x)))
			}
			_, sunk = Parallel(2)(tasks...)
		})
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

// BenchmarkBodies prints which share of the ideal, half the time of one plain loop, two workers reach: alternating
// with that loop, the best of each.
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
					out[i], sunk = fn(nil, units)
				}
				loop = min(loop, time.Since(start))
				start = time.Now()
				_, sunk = Map(context.Background(), body.in, fn, NJobs(2))
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
		_, sunk = Map(context.Background(), in, func(_ context.Context, d time.Duration) (int, error) { time.Sleep(d); return 0, nil }, NJobs(64))
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
	loop := func() {
		for x := range count(n) {
			_, sunk = cube(context.Background(), x)
		}
	}
	drain := func(results iter.Seq2[int, error]) func() {
		return func() {
			for _, err := range results {
				sunk = err
			}
		}
	}
	b.Run("ordered", func(b *testing.B) {
		beside(b, n, loop, drain(Imap(context.Background(), count(n), cube, NJobs(2))))
	})
	b.Run("unordered", func(b *testing.B) {
		beside(b, n, loop, drain(ImapUnordered(context.Background(), count(n), cube, NJobs(2))))
	})
}

func BenchmarkOneTask(b *testing.B) {
	hand := func() {
		for range 1000 {
			var wg sync.WaitGroup
			wg.Go(func() { _, sunk = cube(context.Background(), 3) })
			wg.Wait()
		}
	}
	xs := []int{3}
	b.Run("Map", func(b *testing.B) {
		beside(b, 1000, hand, func() {
			for range 1000 {
				_, sunk = Map(context.Background(), xs, cube)
			}
		})
	})
	b.Run("Parallel", func(b *testing.B) {
		beside(b, 1000, hand, func() {
			for range 1000 {
				_, sunk = Parallel(2)(Delayed(cubeOf, 3))
			}
		})
	})
}
