package main

import (
	"errors"
	"runtime"
	"slices"
	"time"
)

// contender is one way to run tasks in worker processes.
type contender struct {
	name  string
	skips []kind // what it cannot do, or does as the contender before it
	most  int    // the most tasks of a row, where all would take too long; 0: any number
	open  func() (session, error)
}

// session is a contender for as long as a row lasts. Its pool is warm from its first run on, but for kindCold.
type session interface {
	run(j job) (time.Duration, error) // an error also when results are wrong
	close() error
}

// pool is what a contender written in Go is made of: for each function, all elements in, all results out, in order.
// One that is nil it cannot do.
type pool struct {
	cubes, dynamic, spins func([]int) ([]int, error)
	records               func([]string) ([]Record, error)
	sums                  func([][]float64) ([]float64, error)
	doubles               func([][]float64) ([][]float64, error)
	close                 func() error // ends its processes and waits for them
}

// goSession runs jobs in a pool.
type goSession struct {
	start func() (*pool, error)
	p     *pool // nil: not started
	fresh int   // how many jobs had arrays of their own
	again [][]float64
}

func inGo(start func() (*pool, error)) func() (session, error) {
	return func() (session, error) { return &goSession{start: start}, nil }
}

func (s *goSession) close() error {
	if s.p == nil {
		return nil
	}
	p := s.p
	s.p, s.again = nil, nil
	return p.close()
}

func (s *goSession) warm() (err error) {
	if s.p == nil {
		s.p, err = s.start()
	}
	return err
}

func (s *goSession) run(j job) (time.Duration, error) {
	if j.Kind == kindCold {
		if err := s.close(); err != nil {
			return 0, err
		}
		in := numbers(j.N)
		return timed(in, plainly(in, cube), same[int], func(in []int) ([]int, error) {
			if err := s.warm(); err != nil {
				return nil, err
			}
			return s.p.cubes(in)
		})
	}
	if err := s.warm(); err != nil {
		return 0, err
	}
	switch j.Kind {
	case kindMap:
		in := numbers(j.N)
		return timed(in, plainly(in, cube), same[int], s.p.cubes)
	case kindDynamic:
		in := numbers(j.N)
		return timed(in, plainly(in, cube), same[int], s.p.dynamic)
	case kindCall:
		in := numbers(j.N)
		return timed(in, plainly(in, cube), same[int], func(in []int) ([]int, error) {
			var out []int
			for i := range in {
				r, err := s.p.cubes(in[i : i+1])
				if err != nil {
					return out, err
				}
				out = append(out, r...)
			}
			return out, nil
		})
	case kindRecord:
		in := words(j.N)
		return timed(in, plainly(in, describe), func(a, b Record) bool {
			return a.Name == b.Name && a.Score == b.Score && slices.Equal(a.Tags, b.Tags)
		}, s.p.records)
	case kindSpin:
		in := spins(j.Groups)
		return timed(in, numbers(len(in)), same[int], s.p.spins)
	case kindSum:
		s.fresh++
		in := arrays(j.N, s.fresh)
		return timed(in, plainly(in, sum), same[float64], s.p.sums)
	case kindAgain:
		if len(s.again) == 0 || len(s.again[0]) != j.N {
			s.again = arrays(j.N, 0)
		}
		return timed(s.again, plainly(s.again, sum), same[float64], s.p.sums)
	case kindDouble:
		s.fresh++
		in := arrays(j.N, s.fresh)
		return timed(in, plainly(in, double), slices.Equal[[]float64], s.p.doubles)
	}
	return 0, errors.New("unknown kind of job: " + string(j.Kind))
}

func same[T comparable](a, b T) bool { return a == b }

// timed measures f on a heap that has just been collected, and compares what it returns with want.
func timed[A, R any](in []A, want []R, equal func(R, R) bool, f func([]A) ([]R, error)) (time.Duration, error) {
	runtime.GC()
	start := time.Now()
	got, err := f(in)
	took := time.Since(start)
	if err == nil && !slices.EqualFunc(got, want, equal) {
		err = errors.New("wrong results")
	}
	return took, err
}
