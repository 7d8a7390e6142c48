package dispatch

import (
	"slices"
	"time"
)

// What is told of calls elsewhere is hearsay: their starts are seldom heard of, their ends come many at a time, late,
// and from a bad link in any order. It is put down so that a call's start comes before its end, and on a worker whose
// news is in order one call after the other.

// heldStart is a start that was heard of. It is told when all that was to run before on the same worker has an end.
type heldStart struct {
	b     *batch
	k     int
	event Event
}

// nameOf returns a call's name, where somebody listens.
func (c *carrier) nameOf(i int) string {
	if c.log == nil {
		return ""
	}
	return c.run.work.Name(i)
}

// hold notes that call k is said to have been started. The caller holds the run's lock.
func (c *carrier) hold(b *batch, k int) {
	if c.log == nil || b.begun[k] {
		return
	}
	b.begun[k] = true
	i := b.number(k)
	c.held = append(c.held, heldStart{b, k, Event{Kind: Started, Index: i, Attempt: b.attempt, Worker: c.id, At: c.run.teller.now(), Name: c.run.work.Name(i)}})
}

// release tells the starts whose turn has come.
func (c *carrier) release() {
	if len(c.held) == 0 {
		return
	}
	c.run.mu.Lock()
	due := slices.IndexFunc(c.held, func(h heldStart) bool {
		first := slices.IndexFunc(c.flight, func(b *batch) bool { return b == h.b || b.open > 0 })
		return first >= 0 && c.flight[first] == h.b && h.b.open <= h.b.limit-h.k
	})
	c.run.mu.Unlock()
	if due >= 0 {
		c.log.add(c.held[due].event)
		c.held = slices.Delete(c.held, due, due+1)
	}
}

// noticed puts down that call k, which is call i of the run, has ended, and that it was started, if that has not been
// told.
func (c *carrier) noticed(b *batch, k, i int, name string, took time.Duration, finished bool) {
	if c.log == nil {
		return
	}
	c.log.hear(Event{Kind: Finished, Index: i, Attempt: b.attempt, Worker: c.id, Took: took, Name: name}, c.untold(b, k), finished)
}

// missed puts down that the worker was lost with call k. It counts as started, whether that was heard of or not.
func (c *carrier) missed(b *batch, k, i int, why error) {
	if c.log == nil {
		return
	}
	e := Event{Kind: Started, Index: i, Attempt: b.attempt, Worker: c.id, Name: c.run.work.Name(i)}
	if c.untold(b, k) {
		c.log.add(e)
	}
	e.Kind, e.At, e.Err = Lost, c.run.teller.now(), why
	c.log.add(e)
}

// untold reports whether the start of call k has still to be told, and counts it as told.
func (c *carrier) untold(b *batch, k int) bool {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	if !b.begun[k] {
		b.begun[k] = true
		return true
	}
	if at := slices.IndexFunc(c.held, func(h heldStart) bool { return h.b == b && h.k == k }); at >= 0 {
		c.held = slices.Delete(c.held, at, at+1)
		return true
	}
	return false
}
