package dispatch

import "time"

// EventKind says what happened to a call.
type EventKind uint8

const (
	Started  EventKind = iota + 1 // a worker has begun an attempt
	Finished                      // it returned a value
	Failed                        // it failed for good
	Retried                       // it failed and will be tried again
	Lost                          // its worker is gone; Failed or Retried follows
	Cached                        // its value came from a cache: nothing was started
)

// Event is one moment of one call.
type Event struct {
	Kind    EventKind
	Index   int
	Attempt int
	Worker  int           // numbered from 0 within the run; -1 where none was involved
	At      time.Time     // when it happened
	Took    time.Duration // Finished, Failed, Retried: how long the attempt lasted
	Err     error         // Failed, Retried, Lost
}
