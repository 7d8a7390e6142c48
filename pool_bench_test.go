package parallel_test

import (
	"context"
	"testing"

	. "github.com/gojoblib/parallel"
)

// BenchmarkApply submits one call and waits for it, beside a goroutine and a channel.
func BenchmarkApply(b *testing.B) {
	task := Delayed(square, 7)
	b.Run("goroutine and channel", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c := make(chan int, 1)
			go func() { c <- square(7) }()
			if <-c != 50 {
				b.Fatal()
			}
		}
	})
	b.Run("Apply", func(b *testing.B) {
		p, _ := NewPool(-1)
		defer p.Close()
		b.ReportAllocs()
		for b.Loop() {
			if v, err := Apply[int](context.Background(), p, task); v != 50 || err != nil {
				b.Fatal(v, err)
			}
		}
	})
}

// BenchmarkInFlight has 1,000 calls in flight.
func BenchmarkInFlight(b *testing.B) {
	const n = 1000
	tasks := make([]Task, n)
	for i := range tasks {
		tasks[i] = Delayed(square, i)
	}
	b.Run("goroutines and channels", func(b *testing.B) {
		cs := make([]chan int, n)
		for b.Loop() {
			for i := range cs {
				cs[i] = make(chan int, 1)
				go func() { cs[i] <- square(i) }()
			}
			for i, c := range cs {
				if <-c != i*i+1 {
					b.Fatal()
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/task")
	})
	b.Run("ApplyAsync", func(b *testing.B) {
		p, _ := NewPool(-1)
		defer p.Close()
		fs := make([]*Future[int], n)
		b.ReportAllocs()
		for b.Loop() {
			for i, t := range tasks {
				fs[i] = ApplyAsync[int](context.Background(), p, t)
			}
			for i, f := range fs {
				if v, err := f.Get(context.Background()); v != i*i+1 || err != nil {
					b.Fatal(v, err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/task")
	})
}

// BenchmarkNested waits 10 levels deep inside a pool of one.
func BenchmarkNested(b *testing.B) {
	p, _ := NewPool(1)
	defer p.Close()
	f := depth(p)
	for b.Loop() {
		if v, err := Apply[int](context.Background(), p, Delayed(f, 10)); v != 10 || err != nil {
			b.Fatal(v, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/11, "ns/level")
}
