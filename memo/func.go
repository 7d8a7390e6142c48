package memo

import (
	"context"
	"time"

	"github.com/gojoblib/parallel/cache"
	"github.com/gojoblib/parallel/internal/wire"
)

// Cached is a function with a memory.
type Cached[A, R any] struct {
	m  *Memory
	s  *subject
	fn func(context.Context, A) (R, error)
}

// Func returns fn with a memory: joblib's @memory.cache. What cannot be remembered (a closure, an argument that has no key)
// is the error of every Call.
func Func[A, R any](m *Memory, fn func(context.Context, A) (R, error), opts ...Option) *Cached[A, R] {
	return &Cached[A, R]{m, newSubject(fn, opts), fn}
}

// Call returns fn(ctx, a), made now or before. It calls fn on the calling goroutine, or waits while another goroutine or process
// makes the same call; waiting ends with ctx. A hit in RAM takes about 300 ns, on disk some 10 to 30 µs.
func (c *Cached[A, R]) Call(ctx context.Context, a A) (R, error) {
	var r R
	k, err := c.key(&a)
	if err != nil {
		return r, err
	}
	for {
		rec, hit, leads, f := c.m.begin(c.s, k)
		if hit {
			if c.s.share && rec.Object != nil {
				return rec.Object.(R), nil
			}
			rest, err := wire.Read(rec.Value, &r)
			if err == nil && len(rest) == 0 {
				return r, nil
			}
			c.m.damaged(c.s, k, err)
			continue
		}
		if leads {
			return c.make(ctx, a, k, f)
		}
		ready := make(chan struct{})
		stop := c.m.join(k, f, func() { close(ready) })
		select {
		case <-ready:
		case <-ctx.Done():
			stop()
			return r, context.Cause(ctx)
		}
	}
}

// make makes the call for all who wait.
func (c *Cached[A, R]) make(ctx context.Context, a A, k cache.Key, f *flight) (r R, err error) {
	ok := false
	start := time.Now()
	defer func() { // also when fn panics, or ends the goroutine
		var v any
		if ok {
			v = r
		}
		c.m.made(c.s, k, f, v, time.Since(start), ok)
	}()
	r, err = c.fn(ctx, a)
	ok = err == nil
	return r, err
}

// Has reports whether Call would find the value. It changes nothing.
func (c *Cached[A, R]) Has(a A) bool {
	k, err := c.key(&a)
	if err != nil {
		return false
	}
	rec, ok := c.m.ram.Get(k)
	if !ok && c.m.disk != nil {
		rec, ok = c.m.disk.Get(k)
	}
	return ok && c.s.accepts(rec)
}

// Forget removes the value.
func (c *Cached[A, R]) Forget(a A) error {
	k, err := c.key(&a)
	if err != nil {
		return err
	}
	return c.m.store.Delete(k)
}

func (c *Cached[A, R]) key(a *A) (cache.Key, error) {
	if c.s.err != nil {
		return cache.Key{}, c.s.err
	}
	d, err := keyOf(c.s.keys, a)
	return cache.Key{Group: c.s.group, Sum: d}, err
}
