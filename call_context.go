package parallel

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/internal/scope"
)

// callContext is the context of a single call: the submitter's, and it ends with the call's future. Most calls never ask
// for what costs something.
type callContext struct {
	context.Context // the submitter's; or, where attempts have a Timeout, the attempt's

	inner  atomic.Pointer[endable] // made when first asked for
	over   atomic.Bool             // its call has returned
	values context.Context         // nil: the Context's
	call   *promise                // nil: it is no call's own
}

// endable is a context that can be ended.
type endable struct {
	context.Context
	end context.CancelCauseFunc
}

// Scope is asked for by the call: most do not.
func (c *callContext) Scope() *scope.Scope { return c.call.where() }

func (c *callContext) make() *endable {
	if e := c.inner.Load(); e != nil {
		return e
	}
	ctx, cancel := context.WithCancelCause(c.Context)
	e := &endable{ctx, cancel}
	if !c.inner.CompareAndSwap(nil, e) { // somebody else was faster
		cancel(nil)
		e = c.inner.Load()
	}
	if c.over.Load() { // release may have come before the two
		e.end(errReturned)
	}
	return e
}

func (c *callContext) made() context.Context {
	if e := c.inner.Load(); e != nil {
		return e
	}
	if c.over.Load() {
		return ended0
	}
	return c.Context
}

// ended0 is a context that has ended.
var ended0 = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errReturned)
	return ctx
}()

func (c *callContext) Done() <-chan struct{} { return c.make().Done() }
func (c *callContext) Err() error            { return c.made().Err() }

func (c *callContext) Value(key any) any {
	if c.call != nil && scope.Asked(key) {
		return c
	}
	from := c.Context
	if e := c.inner.Load(); e != nil {
		from = e
	}
	v := from.Value(key)
	if v == nil && c.values != nil {
		v = c.values.Value(key)
	}
	return v
}

// end ends it.
func (c *callContext) end(why error) { c.make().end(why) }

// release frees what it holds; its call has returned.
func (c *callContext) release() {
	c.over.Store(true)
	if e := c.inner.Load(); e != nil {
		e.end(errReturned)
	}
}

// Deadline returns the earlier of the two.
func (c *callContext) Deadline() (time.Time, bool) {
	at, ok := c.Context.Deadline()
	if c.values != nil {
		if other, has := c.values.Deadline(); has && (!ok || other.Before(at)) {
			return other, true
		}
	}
	return at, ok
}

// errReturned is why a context ends whose call has.
var errReturned = fmt.Errorf("the call has returned: %w", context.Canceled)
