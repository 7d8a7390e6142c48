package backendtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/dispatch"
)

// runCases drive the backend as users do: through whole runs.
var runCases = []testCase{
	{
		"results are in order",
		"Each result is found in the place of its call, however many workers there are and however calls are batched.",
		func(t *testing.T, b backend.Backend) {
			for _, workers := range []int{1, 4} {
				for _, batch := range []int{0, 1, 7} {
					w := newCalls(squaring(500))
					if err := dispatch.Do(spec(t, b, func(s *dispatch.Spec) { s.N, s.Batch = workers, batch }), w, 500); err != nil {
						t.Fatalf("%d workers, batches of %d: %v", workers, batch, err)
					}
					w.verify(t)
				}
			}
		},
	},
	{
		"an error is one call's", "A call that returns an error fails alone.",
		one(act{Do: errs}, func(err error) bool {
			return errors.Is(err, errPlanned) && strings.HasSuffix(err.Error(), "call 7: planned")
		}),
	},
	{
		"a panic is one call's", "A call that panics fails alone, with the value and the stack of its panic.",
		one(act{Do: panics}, func(err error) bool {
			p, ok := errors.AsType[*backend.PanicError](err)
			return ok && p.Value == "call 7" && strings.Contains(string(p.Stack), "perform")
		}),
	},
	{
		"a Goexit is one call's", "A call that ends its goroutine fails alone, and its worker goes on.",
		one(act{Do: exits}, func(err error) bool { return errors.Is(err, backend.ErrGoexit) }),
	},
	{
		"a timeout is one call's", "A call that runs longer than its Timeout fails alone.",
		one(act{Do: waits}, timedOut, timeout),
	},
	{
		"a deaf call is one call's", "A call that ignores the end of its context fails alone, and the run does not wait for it.",
		one(act{Do: deafens}, timedOut, timeout),
	},
	{
		"a failure stops the run", "Without KeepGoing the first failure starts no further call, ends the contexts of those that run, and the error Is ErrNotRun.",
		func(t *testing.T, b backend.Backend) {
			acts := make([]act, 100)
			for i := range acts {
				acts[i].Do = waits
			}
			acts[0].Do = errs
			w := newCalls(acts)
			err := dispatch.Do(spec(t, b, func(s *dispatch.Spec) { s.N, s.KeepGoing = 2, false }), w, len(acts))
			if err == nil || !errors.Is(err, backend.ErrNotRun) {
				t.Fatalf("the error is %v, want one that Is ErrNotRun", err)
			}
			if len(err.Failed) != 1 || err.Failed[0].Index != 0 || !errors.Is(err, errPlanned) {
				t.Errorf("the error is %v, want the failure of call 0 and no other", err)
			}
			// Each of the two workers can have begun one call by the time the failure is known, and one of a batch
			// that was on its way.
			if err.NotRun < 95 {
				t.Errorf("%d calls were not run, want 95 at least", err.NotRun)
			}
		},
	},
	{
		"a cancelled context starts nothing", "A run whose context has ended starts no call.",
		func(t *testing.T, b backend.Backend) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			w := newCalls(squaring(10))
			err := dispatch.Do(spec(t, b, func(s *dispatch.Spec) { s.Context = ctx }), w, 10)
			if err == nil || err.NotRun != 10 || !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v, want 10 calls not run and context.Canceled", err)
			}
		},
	},
	{
		"a cancel stops the run", "When the run's context ends, so do the contexts of its calls, and the error Is its cause.",
		func(t *testing.T, b backend.Backend) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			acts := make([]act, 100)
			for i := range acts {
				acts[i].Do = waits
			}
			w := newCalls(acts)
			err := dispatch.Do(spec(t, b, func(s *dispatch.Spec) {
				s.Context, s.N = ctx, 2
				s.Listeners = []dispatch.Listener{onStart(func() { cancel(errPlanned) })}
			}), w, len(acts))
			if err == nil || len(err.Failed) > 0 || !errors.Is(err, context.Canceled) || !errors.Is(err, errPlanned) {
				t.Fatalf("the error is %v, want context.Canceled and its cause, and no failure", err)
			}
			if err.NotRun < 96 { // as when a failure stops it
				t.Errorf("%d calls were not run, want 96 at least", err.NotRun)
			}
		},
	},
	{
		"one worker is one call at a time", "A worker makes its calls one after the other, in their order.",
		func(t *testing.T, b backend.Backend) {
			acts := make([]act, 200)
			for i := range acts {
				acts[i].Do = counts
			}
			w := newCalls(acts)
			if err := dispatch.Do(spec(t, b, func(s *dispatch.Spec) { s.N = 1 }), w, len(acts)); err != nil {
				t.Fatal(err)
			}
			for i, n := range w.out {
				if n != w.out[0]+i {
					t.Fatalf("call %d was made as number %d after the first", i, n-w.out[0])
				}
			}
		},
	},
	{
		"runs share a backend", "Any number of runs may use a backend at once.",
		func(t *testing.T, b backend.Backend) {
			var runs sync.WaitGroup
			for range 3 {
				runs.Go(func() {
					w := newCalls(squaring(300))
					if err := dispatch.Do(spec(t, b, nil), w, 300); err != nil {
						t.Errorf("one of three runs: %v", err)
						return
					}
					w.verify(t)
				})
			}
			runs.Wait()
		},
	},
	{
		"a failure is retried", "A failed call is made again as often as the policy says; its last failure stands.",
		func(t *testing.T, b backend.Backend) {
			acts := squaring(30)
			for i, do := range []deed{errs, panics, exits} {
				acts[4+i].Do, acts[4+i].Fails = do, 2
				acts[9+i].Do, acts[9+i].Fails = do, 3
			}
			w := newCalls(acts)
			err := dispatch.Do(spec(t, b, func(s *dispatch.Spec) {
				s.Retry = func(_ error, attempt int) (time.Duration, bool) { return 0, attempt < 3 }
			}), w, len(acts))
			w.verify(t, 9, 10, 11)
			if err == nil || len(err.Failed) != 3 {
				t.Fatalf("the error is %v, want the failures of calls 9, 10 and 11", err)
			}
			for i, failure := range err.Failed {
				if failure.Index != 9+i || failure.Attempts != 3 {
					t.Errorf("failure %d is of call %d after %d attempts, want call %d after 3", i, failure.Index, failure.Attempts, 9+i)
				}
			}
		},
	},
	{
		"a stream is in order", "An ordered stream hands out results in the order of its calls.",
		func(t *testing.T, b backend.Backend) {
			next := 0
			w := runStream(t, b, true, func(i int) bool {
				if i != next {
					t.Errorf("result %d came in place of %d", i, next)
				}
				next++
				return true
			})
			w.verify(t, 7)
			if next != len(w.acts) {
				t.Errorf("%d results came, want %d", next, len(w.acts))
			}
		},
	},
	{
		"an unordered stream is whole", "An unordered stream hands out every result once.",
		func(t *testing.T, b backend.Backend) {
			seen := map[int]bool{}
			w := runStream(t, b, false, func(i int) bool {
				if seen[i] {
					t.Errorf("result %d came twice", i)
				}
				seen[i] = true
				return true
			})
			w.verify(t, 7)
			if len(seen) != len(w.acts) {
				t.Errorf("%d results came, want %d", len(seen), len(w.acts))
			}
		},
	},
	{
		"a stream can be left", "When a stream is left, no result is handed out any more and its calls have ended.",
		func(t *testing.T, b backend.Backend) {
			left := 5
			runStream(t, b, true, func(int) bool {
				if left == 0 {
					t.Error("a result came after the stream was left")
				}
				left--
				return left > 0
			})
		},
	},
	{
		"nothing is left running", "What a run starts has ended when it returns, or ends at once.",
		func(t *testing.T, b backend.Backend) {
			run := func() {
				if err := dispatch.Do(spec(t, b, nil), newCalls(squaring(50)), 50); err != nil {
					t.Fatal(err)
				}
			}
			run() // what a backend keeps for all runs is there from now on
			before := settledGoroutines(0)
			for range 10 {
				run()
			}
			if after := settledGoroutines(before); after > before {
				t.Errorf("%d goroutines are left, %d were before ten more runs", after, before)
			}
		},
	},
}

// settledGoroutines returns the number of goroutines once it is at most want, or once it has not changed for a while.
func settledGoroutines(want int) int {
	n := runtime.NumGoroutine()
	for same := 0; n > want && same < 50; same++ {
		time.Sleep(time.Millisecond)
		if now := runtime.NumGoroutine(); now != n {
			n, same = now, 0
		}
	}
	return n
}

// spec is a run of four workers that keeps going, but for what change says.
func spec(t *testing.T, b backend.Backend, change func(*dispatch.Spec)) dispatch.Spec {
	s := dispatch.Spec{Context: t.Context(), Backend: b, N: 4, KeepGoing: true}
	if change != nil {
		change(&s)
	}
	return s
}

func timeout(s *dispatch.Spec) { s.Timeout = 300 * time.Millisecond }

func timedOut(err error) bool {
	return errors.Is(err, backend.ErrTimeout) && errors.Is(err, context.DeadlineExceeded)
}

// one checks that among calls that succeed, a's failure is its own, and as is says.
func one(a act, is func(error) bool, change ...func(*dispatch.Spec)) func(*testing.T, backend.Backend) {
	return func(t *testing.T, b backend.Backend) {
		gate, open := newGate()
		defer open()
		a.X, a.Gate = 7, gate
		for _, workers := range []int{1, 3} {
			acts := squaring(20)
			acts[7] = a
			w := newCalls(acts)
			err := dispatch.Do(spec(t, b, func(s *dispatch.Spec) {
				s.N = workers
				for _, c := range change {
					c(s)
				}
			}), w, len(acts))
			w.verify(t, 7)
			switch {
			case err == nil || len(err.Failed) != 1:
				t.Fatalf("%d workers: the error is %v, want one failure", workers, err)
			case err.Failed[0].Index != 7 || err.Failed[0].Attempts != 1 || !is(err.Failed[0].Err):
				t.Errorf("%d workers: the failure is %v (%T), after %d attempts", workers, err.Failed[0], err.Failed[0].Err, err.Failed[0].Attempts)
			case err.NotRun > 0 || err.Cause != nil:
				t.Errorf("%d workers: %d calls were not run, by cause of %v", workers, err.NotRun, err.Cause)
			}
		}
	}
}

// verify checks that all calls have squared, but for those named, which have not.
func (w *calls) verify(t *testing.T, but ...int) {
	t.Helper()
	failed := make([]bool, len(w.acts))
	for _, i := range but {
		failed[i] = true
	}
	for i, a := range w.acts {
		switch {
		case failed[i] && (w.done[i] || w.failed[i] == nil):
			t.Errorf("call %d has not failed", i)
		case !failed[i] && (!w.done[i] || w.failed[i] != nil):
			t.Errorf("call %d has no result: %v", i, w.failed[i])
		case !failed[i] && w.out[i] != a.X*a.X:
			t.Errorf("the result of call %d is %d, want %d", i, w.out[i], a.X*a.X)
		}
	}
}

// runStream streams 300 calls, of which the eighth panics, and checks that no more are drawn than may be.
func runStream(t *testing.T, b backend.Backend, ordered bool, yield func(int) bool) *calls {
	t.Helper()
	const window = 9
	acts := squaring(300)
	acts[7].Do = panics
	w := newCalls(acts)
	w.stream = true
	var mu sync.Mutex
	consumed, tooMany := 0, ""
	err := dispatch.Stream(dispatch.StreamSpec{Spec: spec(t, b, nil), Window: window, Ordered: ordered}, w, func(src *dispatch.Source) {
		for range acts {
			mu.Lock()
			if drawn := src.Next() + 1; drawn > consumed+window {
				tooMany = fmt.Sprintf("%d calls were drawn when %d results had been taken", drawn, consumed)
			}
			mu.Unlock()
			if !src.Put() {
				return
			}
		}
	}, func(i int) bool {
		more := yield(i)
		mu.Lock()
		consumed++
		mu.Unlock()
		return more
	})
	if err != nil {
		t.Errorf("the stream's own error is %v", err)
	}
	if tooMany != "" {
		t.Errorf("%s, with room for %d", tooMany, window)
	}
	return w
}

// onStart is called when a call has been started.
type onStart func()

func (onStart) Begin(dispatch.Work, int, time.Time) error { return nil }
func (f onStart) Tell(events []dispatch.Event) error {
	if slices.ContainsFunc(events, func(e dispatch.Event) bool { return e.Kind == dispatch.Started }) {
		f()
	}
	return nil
}
func (onStart) End(time.Duration, dispatch.Counts, *backend.RunError) error { return nil }
