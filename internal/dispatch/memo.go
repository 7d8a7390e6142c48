package dispatch

import "time"

// Memo knows results of calls that need not be made. It may be asked by several workers at once, and while the run's
// lock is held: it calls again on a goroutine of its own.
type Memo interface {
	// Find is asked before call i is made. Make: nobody has its result, and the run, which makes the call, owes the Memo
	// one Made. Wait: somebody else makes it; again is called once, when Find is worth asking again, unless stop was called.
	// An error is the call's: it is not made.
	Find(i int, again func()) (what Found, stop func(), err error)
	// Made tells how a call that was to be made has ended: its result lies in its place, or there is none. took is 0 if the
	// call was not begun. The error is a fault of the Memo.
	Made(i int, ok bool, took time.Duration) error
}

// Found is what a Memo says of a call.
type Found uint8

const (
	Make Found = iota // make it
	Hit               // its result lies in its place
	Wait              // somebody else makes it
)

// nap is a call that waits, without a worker, for somebody else's result.
type nap struct {
	stop func()
	over bool // it is worth asking again
}

// find asks the memo, if there is one, for call i. After a Hit the caller counts it as settled, whether there is a result
// or an error in its place; one that waits comes back.
func (r *run) find(i, attempt, worker int) Found {
	if r.Memo == nil {
		return Make
	}
	n, name := &nap{}, ""
	if r.teller != nil {
		name = r.work.Name(i) // of a Hit, an open run knows nothing any more
	}
	what, stop, err := r.Memo.Find(i, func() { r.wake(i, attempt, n) })
	if err != nil {
		r.fail(i, attempt, worker, 0, misuse(err), false)
		return Hit
	}
	switch what {
	case Hit:
		r.recovered(i, attempt)
		r.counted.cached.Add(1)
		if r.teller != nil {
			r.tell(Event{Kind: Cached, Index: i, Worker: worker, Name: name})
		}
	case Wait:
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case n.over:
			r.giveBackLocked(span{i, i + 1, attempt})
		case r.stopped.Load():
			stop()
			r.unrun = append(r.unrun, span{lo: i, hi: i + 1})
		default:
			if r.naps == nil {
				r.naps = map[int]*nap{}
			}
			n.stop = stop
			r.naps[i] = n
		}
	}
	return what
}

// wake puts a call that waits up for claiming again.
func (r *run) wake(i, attempt int, n *nap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n.over = true
	if r.naps[i] == n {
		delete(r.naps, i)
		r.giveBackLocked(span{i, i + 1, attempt})
	}
}

// riseLocked ends all waiting: the run was stopped.
func (r *run) riseLocked() {
	for i, n := range r.naps {
		n.stop()
		r.unrun = append(r.unrun, span{lo: i, hi: i + 1})
	}
	r.naps = nil
}

// made tells the memo, if there is one, how a call has ended.
func (r *run) made(i int, ok bool, took time.Duration) {
	if r.Memo != nil {
		r.fault(r.Memo.Made(i, ok, took))
	}
}
