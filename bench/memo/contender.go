package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// contender is one way to remember calls, to hash values, or both.
type contender struct {
	name  string
	skips []kind // what it cannot do
	most  int    // the most calls of a run, where all would take too long; 0: any number
	open  func(ctx context.Context, dir string) (session, error)
}

// session is a contender for as long as a row lasts.
type session interface {
	run(j job) (sample, error) // an error also when results are wrong
	close() error
}

// cache is what a contender written in Go is made of: the functions of work.go, remembered. One that is nil it cannot do.
type cache struct {
	square, nap     func(int) (int, error)
	describe, share func(int) (Record, error)
	page            func(int) (string, error)
	inMap, inRun    func([]int) ([]int, error)
	fromDisk        func() uint64 // how many calls have found their results there
	close           func() error
}

// goSession runs jobs. Where results shall be in RAM it keeps its cache, otherwise each job has one of its own; what is
// kept in the folder stays.
type goSession struct {
	dir   string
	start func(dir string) (*cache, error)
	hash  hasher
	c     *cache // nil: not started
	fresh int    // the next number that was not asked for so far
	known map[kind][]digest
}

func inGo(start func(dir string) (*cache, error), hash hasher) func(context.Context, string) (session, error) {
	return func(_ context.Context, dir string) (session, error) {
		return &goSession{dir: dir, start: start, hash: hash, fresh: 1000, known: map[kind][]digest{}}, nil
	}
}

func (s *goSession) close() error {
	if s.c == nil {
		return nil
	}
	c := s.c
	s.c = nil
	return c.close()
}

func (s *goSession) open() (err error) {
	if s.c == nil {
		s.c, err = s.start(s.dir)
	}
	return err
}

func (s *goSession) reopen() error { return errors.Join(s.close(), s.open()) }

// unknown is the next n numbers.
func (s *goSession) unknown(n int) []int {
	xs := make([]int, n)
	for i := range xs {
		xs[i] = s.fresh
		s.fresh++
	}
	return xs
}

func (s *goSession) run(j job) (sample, error) {
	if j.Kind.isHash() {
		return s.digests(j)
	}
	if err := s.open(); err != nil {
		return sample{}, err
	}
	switch j.Kind {
	case kindHit:
		return hits(j, s.c.square, squareOf, same)
	case kindCopy:
		return hits(j, s.c.describe, recordOf, sameRecord)
	case kindShare:
		return hits(j, s.c.share, recordOf, sameRecord)
	case kindMap:
		return runHits(j, s.c.inMap)
	case kindRun:
		return runHits(j, s.c.inRun)
	case kindDisk:
		return s.diskHits(j)
	}
	if err := s.reopen(); err != nil {
		return sample{}, err
	}
	runtime.GC()
	switch in := s.unknown(j.N); j.Kind {
	case kindMiss:
		return each(in, make([]int, len(in)), s.c.square, squareOf, same)
	case kindTogether:
		return together(in, s.c.square)
	case kindSlow:
		return together(in, s.c.nap)
	}
	return sample{}, errors.New("unknown kind of job: " + string(j.Kind))
}

// hits asks for every number, and then for the same numbers again and again.
func hits[R any](j job, f func(int) (R, error), want func(int) R, equal func(R, R) bool) (all sample, err error) {
	in := cycle(j.Keys, j.Keys)
	out := make([]R, len(in))
	if _, err := each(in, out, f, want, equal); err != nil {
		return all, err
	}
	runtime.GC()
	for done := 0; done < j.N; done += j.Keys {
		part, err := each(in[:min(j.N-done, j.Keys)], out, f, want, equal)
		if err != nil {
			return all, err
		}
		all.add(part)
	}
	return all, nil
}

// runHits is hits by runs that go round the numbers.
func runHits(j job, run func([]int) ([]int, error)) (sample, error) {
	if _, err := run(cycle(j.Keys, j.Keys)); err != nil {
		return sample{}, err
	}
	runtime.GC()
	in := cycle(j.N, j.Keys)
	return timed(in, func() ([]int, error) { return run(in) }, squareOf, same)
}

// diskHits asks for every number, and then for the same numbers of a cache that was opened anew, once of each.
func (s *goSession) diskHits(j job) (all sample, err error) {
	in := cycle(j.Keys, j.Keys)
	out := make([]string, len(in))
	if _, err := each(in, out, s.c.page, pageOf, same); err != nil {
		return all, err
	}
	for done := 0; done < j.N; done += j.Keys {
		if err := s.reopen(); err != nil {
			return all, err
		}
		runtime.GC()
		in := in[:min(j.N-done, j.Keys)]
		part, err := each(in, out, s.c.page, pageOf, same)
		if err != nil {
			return all, err
		}
		if n := s.c.fromDisk(); n != uint64(len(in)) {
			return all, fmt.Errorf("%d of %d results came from disk", n, len(in))
		}
		all.add(part)
	}
	return all, nil
}

// together measures how long all callers take, each of which wants all results, in the same order.
func together(in []int, f func(int) (int, error)) (sample, error) {
	want := mapped(in, squareOf)
	return timed(make([]struct{}, callers), func() ([][]int, error) {
		out := make([][]int, callers)
		errs := make([]error, callers)
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for i := range callers {
			out[i] = make([]int, len(in))
			wg.Go(func() {
				<-begin
				errs[i] = call(in, out[i], f)
			})
		}
		close(begin)
		wg.Wait()
		return out, errors.Join(errs...)
	}, func(struct{}) []int { return want }, slices.Equal[[]int])
}

func call[R any](in []int, out []R, f func(int) (R, error)) error {
	for i, x := range in {
		r, err := f(x)
		if err != nil {
			return err
		}
		out[i] = r
	}
	return nil
}

// each measures one call after the other. out is there for the results, so that keeping them costs next to nothing.
func each[R any](in []int, out []R, f func(int) (R, error), want func(int) R, equal func(R, R) bool) (sample, error) {
	out = out[:len(in)]
	clear(out)
	return timed(in, func() ([]R, error) { return out, call(in, out, f) }, want, equal)
}

// timed measures f and compares what it returns for in with what is wanted.
func timed[A, R any](in []A, f func() ([]R, error), want func(A) R, equal func(R, R) bool) (sample, error) {
	made.Store(0)
	start := time.Now()
	got, err := f()
	s := sample{time.Since(start), int(made.Load())}
	if err != nil {
		return s, err
	}
	if len(got) != len(in) {
		return s, fmt.Errorf("%d results of %d", len(got), len(in))
	}
	for i, x := range in {
		if !equal(got[i], want(x)) {
			return s, fmt.Errorf("wrong result of call %d", i)
		}
	}
	return s, nil
}

func same[T comparable](a, b T) bool { return a == b }

func sameRecord(a, b Record) bool {
	return a.Name == b.Name && a.Score == b.Score && slices.Equal(a.Tags, b.Tags)
}

func mapped[A, R any](in []A, f func(A) R) []R {
	out := make([]R, len(in))
	for i, x := range in {
		out[i] = f(x)
	}
	return out
}
