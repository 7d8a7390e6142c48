// Package backend is the contract between a run and the workers that carry it out, and the errors that all layers
// share. It decides nothing: claiming, order, retries and what a lost worker costs are the dispatcher's.
//
// A [Backend] is a recipe for workers. A [Worker] is one of two things: an [InPlacer] lends a thread of execution in
// this process and its memory; a [Carrier] is the near end of a link to somewhere else, and bytes go over it. The
// far end of a carrier's link is served by parallel.Serve, so that a backend of one's own moves bytes and knows
// neither functions nor codecs: the example of parallel.Serve is a whole one, over a connection.
//
// # One batch, pictured
//
//	dispatcher                     carrier                      far end
//	    | Send(Batch 7, 5 calls)      |                            |
//	    |---------------------------->|------- 7: 0 1 2 3 4 ------>| Next: the batch
//	    |              Recv           |<------ 7: Done [0,2) ------| Report
//	    |<----------------------------|                            |
//	    | Trim(7, 4)                  |------- 7: trim to 4 ------>| Next: a Trim
//	    |              Recv           |<------ 7: Trimmed at 4 ----| Report: call 4 was not and will not be started
//	    |<----------------------------|<------ 7: Done [2,4) ------| Report
//	    |                             X  the link breaks           |
//	    |         Recv: *Lost{7: began 4}              |
//
// News may come late, twice and in any order: the dispatcher counts each call once.
package backend

import (
	"context"
	"fmt"
	"time"
)

// Backend makes workers. Whoever starts a worker owns it and closes it. Its methods may be called concurrently.
type Backend interface {
	// Start returns a new worker, an InPlacer or a Carrier. ctx bounds the start, not the worker's life.
	Start(ctx context.Context) (Worker, error)
	// Traits says what the dispatcher needs to know about all of this backend's workers.
	Traits() Traits
}

// Owner is a Backend that keeps workers from one run to the next. A Pool asks it for some of its own.
type Owner interface {
	Backend
	// Own returns a backend that shares no workers with others and keeps no more than n, and a function that ends those, and
	// waits for them.
	Own(n int) (own Backend, free func())
}

// Traits are the numbers a backend's workers have in common; zero values are sensible.
type Traits struct {
	Name     string        // for errors and traces
	InFlight int           // batches to keep in a carrier's hands; 0 means 2
	Batch    time.Duration // work worth one batch to a carrier: about 30 times what sending one costs; 0 means 2 ms
	MaxBatch int           // calls that fit into one batch; 0: any number
	Grace    time.Duration // how long a call whose context has ended may take to return before its worker is killed; 0 means 100 ms
	Segments bool          // batches and reports may have Segments
}

type workersKey struct{}

// WithWorkers returns the context of a Start for a run that wants n workers in all; the dispatcher calls it.
func WithWorkers(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, workersKey{}, n)
}

// Workers returns how many workers the run wants that Start was called for, so that they can share the CPUs; 1 when
// that is not known.
func Workers(ctx context.Context) int {
	if n, ok := ctx.Value(workersKey{}).(int); ok && n > 1 {
		return n
	}
	return 1
}

// Worker is an InPlacer or a Carrier.
type Worker interface {
	// Close ends the worker and frees what it holds. It is called once, after the last call has been answered, or
	// after Kill. Recv returns io.EOF from then on.
	Close() error
}

// InPlacer runs calls in this process: values are not copied, and nothing can be killed.
type InPlacer interface {
	Worker
	// Go runs loop on the worker's thread of execution and returns at once. It is called once at first, and again
	// whenever loop did not return because a task ended its goroutine (runtime.Goexit) or never gave it back
	// (a timeout).
	Go(loop func())
}

// Carrier is the near end of a link to a worker that shares no memory with the run. The dispatcher sends from one
// goroutine and receives on another; all methods may overlap one another.
type Carrier interface {
	Worker
	// Send hands a batch over. It may wait for room on the link, never for a call to end, and keeps neither Body nor
	// Segments, which are the caller's again when it returns. An error means that the batch was not handed over and that the worker is lost; Recv then says so too.
	Send(Batch) error
	// Recv returns the next news, waiting for it. io.EOF: the worker was closed. *Lost: it is gone. A report's Body is
	// good until the next Recv, its Segments are the caller's to keep.
	Recv() (Report, error)
	// Trim asks that no call at or after from be started in the batch; a Trimmed report answers, unless the
	// batch has ended. Like Cancel and Kill it may come at any time, after Close, too, and then does nothing.
	Trim(batch uint64, from int)
	// Cancel ends the contexts of a batch's calls, those to come included.
	Cancel(batch uint64)
	// Kill ends the worker now, whatever it does. Recv then returns a *Lost with this cause.
	Kill(cause error)
}

// Batch is some calls for one worker, numbered from 0 within the batch.
type Batch struct {
	ID       uint64        // unique among all batches of this process
	N        int           // how many calls
	Timeout  time.Duration // each call's context ends so long after its start; 0: never
	Deadline time.Time     // when the contexts of all calls end, as the run's does; zero: never
	Started  bool          // report the starts of calls, but for those whose ends can be reported as soon (the run watches the clock or someone listens)
	Body     []byte        // the calls, encoded
	Segments [][]byte      // and what is large in them, where Traits.Segments; each begins where any value may
}

// Kind says what a Report is about.
type Kind uint8

const (
	Started Kind = iota + 1 // call Lo has been started
	Done                    // the calls [Lo,Hi) have returned; Body holds their results
	Failed                  // call Lo has failed; Body holds its error
	Trimmed                 // no call at or after Lo was or will be started; Lo is at most the number of calls
)

func (k Kind) String() string {
	switch k {
	case Started:
		return "started"
	case Done:
		return "done"
	case Failed:
		return "failed"
	case Trimmed:
		return "trimmed"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Report is news of one batch.
type Report struct {
	Batch  uint64
	Kind   Kind
	Lo, Hi int
	Took   time.Duration // Done, Failed: how long these calls took, in all
	Body   []byte        // encoded results or error

	Segments [][]byte // Done, where Traits.Segments: what is large in the results; each begins where any value may
}

// Lost is the error of Recv when the worker is gone; whatever news had reached the near end was received before it.
// It lists the batches that were in the worker's hands; one that it does not list counts as begun.
type Lost struct {
	Cause   error // a *CrashError, or what Kill was given
	Batches []Fate
	Final   bool // another worker would not even start: the run stops
}

// Fate is what became of a batch's calls that were not answered: below Began they may have been started, from Began
// on they surely were not. What the link cannot know for sure counts as begun, and fails as crashed.
//
// A link that always sets Started in the batches that it passes on can know it: parallel.Serve reports a call as started
// before it starts it, and starts it only when Report has returned. Began is then one more than the last call reported.
type Fate struct {
	Batch uint64
	Began int
}

func (e *Lost) Error() string { return "worker lost: " + e.Cause.Error() }
func (e *Lost) Unwrap() error { return e.Cause }

// Link is the far end of a Carrier: where the calls run. parallel.Serve drives it.
type Link interface {
	// Next returns the next order, waiting for it; io.EOF: there will be none, end.
	Next() (Order, error)
	// Report sends news to the near end. It is called from one goroutine at a time and may keep Body.
	Report(Report) error
}

// Order is a batch to run, or a word on one that was sent before.
type Order struct {
	Batch  Batch // a new batch, when Trim and Cancel are nil
	Trim   *Trim
	Cancel *Cancel
}

// Trim asks to start no call at or after From.
type Trim struct {
	Batch uint64
	From  int
}

// Cancel ends the contexts of a batch's calls.
type Cancel struct{ Batch uint64 }
