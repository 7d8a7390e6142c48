package dispatch

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/backend"
)

// Counts is how far a run has come. It is made of what the run keeps anyway, so that asking is all it costs.
type Counts struct {
	Total   int  // calls there are; -1 of a stream whose input has not ended
	Done    int  // calls that have ended for good, Failed and Cached ones included; counted chunk by chunk
	Failed  int  // calls that have failed for good
	Cut     int  // calls that the stop ended
	Cached  int  // results that came from a cache
	Retried int  // attempts that were followed by another
	NotRun  int  // calls that were never started; of a stream, of those drawn: while it goes on, those that wait
	Running int  // workers at work
	Stopped bool // no further call is started, and that makes a difference
	Over    bool // the last worker has left
}

// counts says how far the run has come.
func (r *run) counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	settled, avail := int(r.settled.Load()), int(r.avail.Load())
	skipped := int(r.counted.skipped.Load())
	c := Counts{ // while a run is being stopped, calls are cut a moment before they are settled
		Total: avail, Done: max(0, settled-r.cut-skipped), Cut: r.cut, NotRun: avail - settled + skipped,
		Failed: int(r.counted.failed.Load()), Cached: int(r.counted.cached.Load()), Retried: int(r.counted.retried.Load()),
		Stopped: r.stopped.Load() && (r.stream != nil || r.early != nil || settled-r.cut < avail), Over: r.ended,
	}
	if s := r.stream; s != nil && (!s.closed || s.short) || r.endless {
		c.Total = -1
	}
	if !c.Over {
		c.Running = max(0, min(int(r.workers.Load()-r.nidle.Load()), int(r.next.Load())-settled))
	}
	return c
}

// Tally is where the time of a run went, as far as its events do not tell. It is counted per batch and per wait, never
// per call.
type Tally struct {
	spent    [stages]atomic.Int64
	bytes    atomic.Int64
	received atomic.Int64
	hired    atomic.Int64

	mu       sync.Mutex
	awaiting int       // calls that wait for results that somebody else makes,
	since    time.Time // when that has last changed
}

// Stage is what a run spends time on besides its calls.
type Stage int

const (
	Hiring     Stage = iota // starting workers
	Sleeping                // workers that have nothing to do
	Encoding                // calls into bytes
	Sending                 // batches; a full link waits
	Decoding                // results from bytes
	Feeding                 // the input of a stream: from its first item to its last,
	Holding                 // of that, waiting until another item may be drawn
	Consuming               // a stream's results: from the first to the last,
	Harvesting              // of that, waiting for results
	Recalling               // looking results up
	Awaiting                // results that somebody else makes, while at least one call does: not by worker
	stages
)

// Spent is how long the run was at s, all workers together.
func (t *Tally) Spent(s Stage) time.Duration { return time.Duration(t.spent[s].Load()) }

// Bytes is how much was sent to workers, encoded.
func (t *Tally) Bytes() int64 { return t.bytes.Load() }

// Received is how much came back as results, encoded.
func (t *Tally) Received() int64 { return t.received.Load() }

// Hired is how many workers were started.
func (t *Tally) Hired() int { return int(t.hired.Load()) }

// hire counts a worker.
func (t *Tally) hire() {
	if t != nil {
		t.hired.Add(1)
	}
}

// start begins to count; a run without a Tally counts nothing.
func (t *Tally) start() (from time.Time) {
	if t != nil {
		from = time.Now()
	}
	return from
}

func (t *Tally) stop(s Stage, from time.Time) {
	if t != nil {
		t.spent[s].Add(int64(time.Since(from)))
	}
}

func (t *Tally) sent(n int) {
	if t != nil {
		t.bytes.Add(int64(n))
	}
}

func (t *Tally) receive(n *backend.Report) {
	if t == nil {
		return
	}
	size := len(n.Body)
	for _, s := range n.Segments {
		size += len(s)
	}
	t.received.Add(int64(size))
}

// await counts calls that begin to wait for somebody else's result, or have ended to.
func (t *Tally) await(calls int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.awaiting > 0 {
		t.spent[Awaiting].Add(int64(now.Sub(t.since)))
	}
	t.awaiting, t.since = t.awaiting+calls, now
}

// clocked is a Memo whose time a Tally counts.
type clocked struct {
	Memo
	tally *Tally
}

func (c *clocked) Find(i int, again func()) (Found, func(), error) {
	var state atomic.Int32 // 0, 1: it waits, 2: it does not any more, perhaps before Find has returned
	over := func() {
		if state.Swap(2) == 1 {
			c.tally.await(-1)
		}
	}
	from := c.tally.start()
	what, stop, err := c.Memo.Find(i, func() {
		over()
		again()
	})
	c.tally.stop(Recalling, from)
	if what != Wait || err != nil {
		return what, stop, err
	}
	if state.CompareAndSwap(0, 1) {
		c.tally.await(1)
	}
	return what, func() {
		over()
		stop()
	}, nil
}
