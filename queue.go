package parallel

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// queue makes calls one after the other, in the order in which they come, on a goroutine that is there while there are
// some.
type queue struct {
	mu    sync.Mutex
	calls []func()
	busy  bool
	idle  sync.Cond
	fault func(error)
}

func (q *queue) add(call func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls = append(q.calls, call)
	if !q.busy {
		q.busy = true
		go q.work()
	}
}

func (q *queue) work() {
	for q.next() {
	}
}

// next makes one call, whatever becomes of it; false: there is none.
func (q *queue) next() (more bool) {
	q.mu.Lock()
	if len(q.calls) == 0 {
		q.busy = false
		if q.idle.L != nil {
			q.idle.Broadcast()
		}
		q.mu.Unlock()
		return false
	}
	call := q.calls[0]
	q.calls[0] = nil // what it holds can go
	q.calls = q.calls[1:]
	q.mu.Unlock()
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			q.fault(fmt.Errorf("a callback: %w", &PanicError{Value: v, Stack: debug.Stack()}))
			more = true
			return
		}
		q.fault(fmt.Errorf("a callback: %w", ErrGoexit))
		go q.work()
	}()
	call()
	returned = true
	return true
}

// wait returns when there is no call left.
func (q *queue) wait() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.idle.L = &q.mu
	for q.busy {
		q.idle.Wait()
	}
}
