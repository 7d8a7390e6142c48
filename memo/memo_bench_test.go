package memo_test

import (
	"context"
	"strings"
	"testing"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/memo"
)

func plus(_ context.Context, x int) (int, error) { return x + 1, nil }

func thousand(_ context.Context, x int) (string, error) { return strings.Repeat("x", 1000), nil }

// BenchmarkHit asks for one value again and again.
func BenchmarkHit(b *testing.B) {
	b.Run("RAM, int", func(b *testing.B) {
		f := memo.Func(open(b, memo.Options{}), plus)
		b.ReportAllocs()
		for b.Loop() {
			if v, err := f.Call(context.Background(), 1); v != 2 || err != nil {
				b.Fatal(v, err)
			}
		}
	})
	b.Run("disk, 1 kB", func(b *testing.B) {
		f := memo.Func(open(b, memo.Options{Dir: b.TempDir(), RAM: 1}), thousand)
		b.ReportAllocs()
		for b.Loop() {
			if v, err := f.Call(context.Background(), 1); len(v) != 1000 || err != nil {
				b.Fatal(v, err)
			}
		}
	})
	b.Run("Parallel, per task", func(b *testing.B) {
		m := open(b, memo.Options{})
		xs := make([]int, 10_000)
		for i := range xs {
			xs[i] = i
		}
		tasks := parallel.Each(plus, xs)
		run := parallel.Parallel(2, parallel.Memo(m))
		if _, err := run(tasks...); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := run(tasks...); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(xs)), "ns/task")
	})
}

// BenchmarkMiss makes a call that does nothing, and keeps its result.
func BenchmarkMiss(b *testing.B) {
	f := memo.Func(open(b, memo.Options{}), plus)
	i := 0
	for b.Loop() {
		i++
		if v, err := f.Call(context.Background(), i); v != i+1 || err != nil {
			b.Fatal(v, err)
		}
	}
}
