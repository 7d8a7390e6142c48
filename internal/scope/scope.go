// Package scope is what a call can learn, through its context, of the place it runs in: which call it is, and what its
// worker keeps for it. It starts nothing.
package scope

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/gojoblib/parallel/backend"
)

// Scope is the context of a call. On the fast lane one Scope serves all calls of a worker, one after the other, and
// only Index moves on: so it tells the truth to a call while it runs, and not to what outlives it.
type Scope struct {
	context.Context
	Index   int
	Attempt int
	Seed    uint64 // the run's
	Names   interface{ Name(index int) string }
	Locals  *Locals
	Tenure  any // the call's hold on a slot of a pool; nil: it runs on none
}

type key struct{}

// Value returns the Scope itself for From, and what the embedded context holds for everyone else.
func (s *Scope) Value(k any) any {
	if k == (key{}) {
		return s
	}
	return s.Context.Value(k)
}

// From returns the innermost Scope that ctx comes from; nil when ctx does not come from a call.
func From(ctx context.Context) *Scope {
	if ctx == nil {
		return nil
	}
	switch v := ctx.Value(key{}).(type) {
	case *Scope:
		return v
	case Maker:
		return v.Scope()
	}
	return nil
}

// Maker makes the Scope of a call when the call asks for it. Its context answers with it where Asked.
type Maker interface{ Scope() *Scope }

// Asked reports whether a context's Value is asked for the Scope.
func Asked(k any) bool { return k == (key{}) }

// Hide returns ctx without what it tells of the call that it comes from: for what that call does not wait for.
func Hide(ctx context.Context) context.Context { return hidden{ctx} }

type hidden struct{ context.Context }

func (h hidden) Value(k any) any {
	if k == (key{}) {
		return nil
	}
	return h.Context.Value(k)
}

// CallSeed mixes the run's seed with the call's index (SplitMix64), so that neighbours are strangers.
func (s *Scope) CallSeed() uint64 {
	z := s.Seed + 0x9e3779b97f4a7c15*(uint64(s.Index)+1)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Locals holds what a worker has opened for its calls. Its methods may be called concurrently; the zero value is empty.
type Locals struct {
	mu     sync.Mutex
	byKey  map[any]*local
	opened []*local
}

type local struct {
	mu    sync.Mutex
	key   any
	value any
	open  bool
	close func(any) error
}

// Get returns the value under key, and opens it first when it is not open. An error of open is returned and not
// kept: the next Get tries again.
func (l *Locals) Get(key any, open func() (any, error), close func(any) error) (any, error) {
	l.mu.Lock()
	v := l.byKey[key]
	if v == nil {
		if l.byKey == nil {
			l.byKey = map[any]*local{}
		}
		v = &local{key: key, close: close}
		l.byKey[key] = v
	}
	l.mu.Unlock()

	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open {
		return v.value, nil
	}
	value, err := open()
	if err != nil {
		return nil, err
	}
	v.value, v.open = value, true
	l.mu.Lock()
	l.opened = append(l.opened, v)
	l.mu.Unlock()
	return value, nil
}

// CloseLast closes the last value opened and tells fault what went wrong; false: there is none left. A panic goes no
// further; a Goexit does end the goroutine, whose worker asks again from another.
func (l *Locals) CloseLast(fault func(error)) (more bool) {
	l.mu.Lock()
	n := len(l.opened)
	if n == 0 {
		l.mu.Unlock()
		return false
	}
	close := l.take(n - 1)
	l.mu.Unlock()

	err := backend.ErrGoexit
	defer func() {
		if v := recover(); v != nil {
			err = &backend.PanicError{Value: v, Stack: debug.Stack()}
		}
		if err != nil {
			fault(fmt.Errorf("closing a PerWorker value: %w", err))
		}
		more = true
	}()
	err = close()
	return true
}

// Drop returns the function that closes the value under key, which is no longer kept; nil when it is not open.
func (l *Locals) Drop(key any) func() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.IndexFunc(l.opened, func(v *local) bool { return v.key == key })
	if at < 0 {
		return nil
	}
	return l.take(at)
}

func (l *Locals) take(at int) func() error {
	v := l.opened[at]
	l.opened = slices.Delete(l.opened, at, at+1)
	delete(l.byKey, v.key)
	return func() error { return v.close(v.value) }
}
