package processes

import (
	"errors"
	"fmt"
	"time"

	"github.com/gojoblib/parallel/backend"
)

// memory is what is known of a worker's, where there is a MemoryLimit. A worker that has come near to it is given no
// further calls, frees what it can, and is renewed if it has grown since the last time:
//
//	weigh ── near: heavy ── idle: tidy ──> Tidy ... Tidied ── tidied ──> grown: leaks, or on as before
//	  └──── over: killed
type memory struct {
	weighed time.Time // when it was looked at last
	base    int64     // what it was when it was found heavy for the first time; 0: it was not
	heavy   bool      // it is given no calls; guarded by process.mu
	asked   time.Time // when it was told to free some; zero: it was not, or has
	leaks   bool
}

const (
	weighEach  = 5 * time.Millisecond
	tidyWithin = 10 * time.Second
)

// near is how much a worker may use of most before it is found heavy.
func (m *memory) near(most int64) int64 {
	if m.base > 0 { // what it needs anyway, as a model that its tasks share
		return m.base + most/16
	}
	return most / 8 * 5
}

// weigh looks at how much memory the worker uses.
func (c *carrier) weigh() {
	most := c.pool.MemoryLimit
	if most == 0 || time.Since(c.memory.weighed) < weighEach {
		return
	}
	c.memory.weighed = time.Now()
	used := c.resident()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case used > most:
		c.killed(&backend.CrashError{
			PID: c.proc.Pid, ExitCode: -1, Signal: "killed", Err: backend.ErrMemory,
			Reason: fmt.Sprintf("killed: it used %s, its MemoryLimit is %s", size(used), size(most)),
		})
	case used > c.memory.near(most) && !c.memory.heavy && !c.closed:
		c.memory.heavy = true
		for i, f := range c.flights {
			if f != nil {
				c.trim(i, f, 0)
			}
		}
	}
}

func size(n int64) string {
	if n < 10<<20 {
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%d MB", n>>20)
}

// tidy returns until when the worker, which is idle, may take to free what it can, and whether it has yet to be told to.
// The caller holds the lock.
func (c *carrier) tidy() (until time.Time, ask bool) {
	if ask = c.memory.asked.IsZero(); ask {
		c.memory.asked = time.Now()
	}
	until = c.memory.asked.Add(tidyWithin)
	if time.Now().After(until) {
		c.killed(errors.New("it is near its MemoryLimit and does not answer"))
		return time.Time{}, false
	}
	return until, ask
}

// tidied decides what is to become of a worker that has freed what it can.
func (c *carrier) tidied() {
	used := c.resident()
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &c.memory
	if used > m.near(c.pool.MemoryLimit) {
		m.leaks = m.base > 0
		m.base = used
	}
	m.heavy, m.asked = false, time.Time{}
	c.room.Broadcast()
}
