package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/memo"
	"github.com/maypok86/otter/v2"
)

// inRAM and inFolder are this project.
func inRAM(string) (*cache, error) { return remembered(memo.Options{}) }

func inFolder(dir string) (*cache, error) { return remembered(memo.Options{Dir: dir}) }

func remembered(o memo.Options) (*cache, error) {
	m, err := memo.New(o)
	if err != nil {
		return nil, err
	}
	return &cache{
		square:   called(memo.Func(m, square)),
		nap:      called(memo.Func(m, nap)),
		describe: called(memo.Func(m, describe)),
		share:    called(memo.Func(m, describe, memo.Version("shared"), memo.Share())), // a version, for keys of its own
		page:     called(memo.Func(m, page)),
		inMap: func(in []int) ([]int, error) {
			return parallel.Map(context.Background(), in, square, parallel.NJobs(workers), parallel.Memo(m))
		},
		inRun: func(in []int) ([]int, error) {
			return parallel.Collect[int](parallel.Parallel(workers, parallel.Memo(m))(parallel.Each(square, in)...))
		},
		fromDisk: func() uint64 { return m.Stats().DiskHits },
		close:    m.Close,
	}, nil
}

func called[R any](c *memo.Cached[int, R]) func(int) (R, error) {
	return func(x int) (R, error) { return c.Call(context.Background(), x) }
}

// inOtter is a cache for each function, whose keys are the arguments themselves. Who has more than one argument makes a
// struct of them.
func inOtter(string) (*cache, error) {
	squares, err1 := loading(square)
	naps, err2 := loading(nap)
	records, err3 := loading(describe)
	return &cache{square: squares, nap: naps, describe: cloned(records), share: records, close: func() error { return nil }}, errors.Join(err1, err2, err3)
}

func loading[R any](fn func(context.Context, int) (R, error)) (func(int) (R, error), error) {
	c, err := otter.New(&otter.Options[int, R]{MaximumSize: 1 << 20})
	if err != nil {
		return nil, err
	}
	loader := otter.LoaderFunc[int, R](fn)
	return func(x int) (R, error) {
		if r, ok := c.GetIfPresent(x); ok {
			return r, nil
		}
		return c.Get(context.Background(), x, loader)
	}, nil
}

// inMap is what one writes first: unlimited, and of equal calls at once each is made.
func inMap(string) (*cache, error) {
	records := mapping(describe)
	return &cache{square: mapping(square), nap: mapping(nap), describe: cloned(records), share: records, close: func() error { return nil }}, nil
}

func mapping[R any](fn func(context.Context, int) (R, error)) func(int) (R, error) {
	var mu sync.RWMutex
	known := map[int]R{}
	return func(x int) (R, error) {
		mu.RLock()
		r, ok := known[x]
		mu.RUnlock()
		if ok {
			return r, nil
		}
		r, err := fn(context.Background(), x)
		if err == nil {
			mu.Lock()
			known[x] = r
			mu.Unlock()
		}
		return r, err
	}
}

// cloned makes the copy that these caches do not.
func cloned(f func(int) (Record, error)) func(int) (Record, error) {
	return func(x int) (Record, error) {
		r, err := f(x)
		r.Tags = slices.Clone(r.Tags)
		return r, err
	}
}
