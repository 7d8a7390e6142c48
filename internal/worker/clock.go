package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gojoblib/parallel/backend"
)

// until is a context that knows when it will end. The near end ends it: it watches the run's deadline, and takes back what
// was not begun then.
type until struct {
	context.Context
	deadline time.Time
}

func (u until) Deadline() (time.Time, bool) { return u.deadline, true }

// clock is the context of a call that has a deadline of its own. Most calls never ask for it, and pay for no timer.
type clock struct {
	context.Context // the batch's
	deadline        time.Time

	mu     sync.Mutex
	real   context.Context
	cancel context.CancelFunc
}

// errLate is the cause of a context whose call has used up its time.
var errLate = fmt.Errorf("%w", backend.ErrTimeout)

func (c *clock) Deadline() (time.Time, bool) {
	if d, ok := c.Context.Deadline(); ok && d.Before(c.deadline) {
		return d, true
	}
	return c.deadline, true
}

func (c *clock) Done() <-chan struct{} { return c.wound().Done() }
func (c *clock) Err() error            { return c.wound().Err() }

// Value lets package context find the real one, whose cause it asks for.
func (c *clock) Value(key any) any { return c.wound().Value(key) }

// wound sets the timer, when it is first needed.
func (c *clock) wound() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		c.real, c.cancel = context.WithDeadlineCause(c.Context, c.deadline, errLate)
	}
	return c.real
}

// stop ends the call's context with the call.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		c.real, c.cancel = context.WithCancel(c.Context)
	}
	c.cancel()
}
