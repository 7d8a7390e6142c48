package parallel_test

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
)

// deafObserver is told everything and does nothing.
type deafObserver struct{}

func (deafObserver) Observe(context.Context, *RunInfo, []Event) {}

// apart is beside for what is added to a run: silent and heard in turn, and the median of what heard takes more.
func apart(b *testing.B, n int, silent, heard func()) {
	b.Helper()
	var rounds [2][]float64
	var more []float64
	for b.Loop() {
		var took [2]float64
		for i, f := range []func(){silent, heard} {
			start := time.Now()
			for range 3 {
				f()
			}
			took[i] = float64(time.Since(start)) / 3 / float64(n)
			rounds[i] = append(rounds[i], took[i])
		}
		more = append(more, took[1]-took[0])
	}
	median := func(xs []float64) float64 {
		slices.Sort(xs)
		return xs[len(xs)/2]
	}
	b.ReportMetric(median(rounds[0]), "ns/silent")
	b.ReportMetric(median(rounds[1]), "ns/heard")
	b.ReportMetric(median(more), "ns/more")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkListening prints what following a run costs per task, on two threads, with a function that does nothing:
// beside the same run that nobody follows.
func BenchmarkListening(b *testing.B) {
	const n = 100_000
	ctx, xs := context.Background(), ints(n)
	tasks := Each(cubeOf, xs)
	for _, how := range []struct {
		name string
		opt  func() Option
	}{
		{"Observe", func() Option { return Observe(deafObserver{}) }},
		{"Trace", func() Option { return Trace(io.Discard) }},
		{"Explain", func() Option { return Explain(func(Explanation) {}) }},
		{"Progress", func() Option { return Progress(io.Discard) }},
	} {
		b.Run("Map/"+how.name, func(b *testing.B) {
			apart(b, n,
				func() { _, sunk = Map(ctx, xs, cube, NJobs(2)) },
				func() { _, sunk = Map(ctx, xs, cube, NJobs(2), how.opt()) })
		})
		b.Run("Parallel/"+how.name, func(b *testing.B) {
			apart(b, n,
				func() { _, sunk = Parallel(2)(tasks...) },
				func() { _, sunk = Parallel(2, how.opt())(tasks...) })
		})
		b.Run("Imap/"+how.name, func(b *testing.B) {
			drain := func(opts ...Option) func() {
				return func() {
					for _, err := range Imap(ctx, count(n), cube, append(opts, NJobs(2))...) {
						sunk = err
					}
				}
			}
			apart(b, n, drain(), drain(how.opt()))
		})
	}
}

// BenchmarkListeningOne prints what following a run of one task costs.
func BenchmarkListeningOne(b *testing.B) {
	xs := []int{3}
	apart(b, 1,
		func() { _, sunk = Map(context.Background(), xs, cube) },
		func() { _, sunk = Map(context.Background(), xs, cube, Observe(deafObserver{})) })
}

// BenchmarkNobodyListens prints what a run costs that nobody follows, beside the loop by hand: as before there was
// anything to listen with.
func BenchmarkNobodyListens(b *testing.B) {
	ctx, xs, fn := context.Background(), ints(100_000), cube
	b.Run("Map", func(b *testing.B) {
		beside(b, len(xs),
			func() { _, sunk = chunked(ctx, 2, xs, fn) },
			func() { _, sunk = Map(ctx, xs, fn, NJobs(2)) })
	})
	b.Run("Progress", func(b *testing.B) { // it asks, eight times a second
		beside(b, len(xs),
			func() { _, sunk = chunked(ctx, 2, xs, fn) },
			func() { _, sunk = Map(ctx, xs, fn, NJobs(2), Progress(io.Discard)) })
	})
}
