package memo

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/gojoblib/parallel/cache"
	"github.com/gojoblib/parallel/internal/wire"
)

// flight is a computation under way: somebody in this process makes the call, or waits for the process that does, and
// the others wait for the flight's end. Then all of them ask again.
type flight struct {
	release func() // the key's lease, which keeps other processes from making the same call
	waiting map[*waiter]bool
	stop    context.CancelFunc // ends the wait for another process; nil: this one makes the call
}

// waiter is told when it is worth asking again.
type waiter struct{ again func() }

// begin looks a call up and decides who makes it: with what is found, or else f, which the caller leads, or waits for.
func (m *Memory) begin(s *subject, k cache.Key) (rec cache.Record, hit, leads bool, f *flight) {
	if rec, hit = m.find(s, k); hit {
		return rec, true, false, nil
	}
	m.mu.Lock()
	f = m.flights[k]
	if f != nil {
		m.mu.Unlock()
		return rec, false, false, f
	}
	f = &flight{}
	m.flights[k] = f
	m.mu.Unlock()
	if m.disk != nil {
		release, ok, err := m.disk.TryLease(k)
		switch {
		case err != nil:
			m.fault("taking turns with other processes", err)
		case !ok:
			m.await(k, f)
			return rec, false, false, f
		}
		f.release = release
	}
	// Whoever had the lease, or led until now, may have left the value.
	if rec, hit = m.find(s, k); hit {
		m.end(k, f)
		return rec, true, false, nil
	}
	m.count.misses.Add(1)
	m.tellRebuilt(s)
	return rec, false, true, f
}

// await waits, beside those who wait for f, for the process that has the lease.
func (m *Memory) await(k cache.Key, f *flight) {
	ctx, stop := context.WithCancel(m.ctx)
	m.mu.Lock()
	f.stop = stop
	m.mu.Unlock()
	m.idle.Go(func() {
		defer stop()
		release, err := m.disk.Lease(ctx, k)
		if err != nil && ctx.Err() == nil {
			m.fault("taking turns with other processes", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		f.release = release // and free at once: whoever comes first finds the value, or makes the call
		m.endLocked(k, f)
	})
}

// wake tells all who wait. The caller holds the lock.
func (f *flight) wake() {
	for w := range f.waiting {
		go w.again()
	}
	f.waiting = nil
}

// end ends a flight.
func (m *Memory) end(k cache.Key, f *flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endLocked(k, f)
}

func (m *Memory) endLocked(k cache.Key, f *flight) {
	if m.flights[k] == f {
		delete(m.flights, k)
	}
	if f.release != nil {
		f.release()
		f.release = nil
	}
	f.wake()
}

// join has again called when it is worth asking for f's key again.
func (m *Memory) join(k cache.Key, f *flight, again func()) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flights[k] != f {
		go again()
		return func() {}
	}
	w := &waiter{again}
	if f.waiting == nil {
		f.waiting = map[*waiter]bool{}
	}
	f.waiting[w] = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if delete(f.waiting, w); len(f.waiting) == 0 && f.stop != nil {
			f.stop()
		}
	}
}

// Lookup is what runs with parallel.Memo ask; see parallel.Memoizer.
func (m *Memory) Lookup(fn any, args []any) (value any, hit bool, made func(any, time.Duration, bool), wait func(func()) func(), err error) {
	s := m.subject(fn)
	k, err := s.key(args)
	if err != nil {
		return nil, false, nil, nil, err
	}
	if m.closed() {
		return nil, false, nil, nil, nil
	}
	rec, hit, leads, f := m.begin(s, k)
	if hit {
		if value, err = s.read(rec); err == nil {
			return value, true, nil, nil, nil
		}
		m.damaged(s, k, err)
		_, hit, leads, f = m.begin(s, k)
	}
	switch {
	case hit: // another one, as damaged
		return nil, false, nil, nil, nil
	case leads:
		return nil, false, func(v any, took time.Duration, ok bool) { m.made(s, k, f, v, took, ok) }, nil, nil
	}
	return nil, false, nil, func(again func()) func() { return m.join(k, f, again) }, nil
}

// read returns the value of a record.
func (s *subject) read(rec cache.Record) (any, error) {
	switch {
	case s.out == nil:
		return nil, nil
	case s.share && rec.Object != nil:
		return rec.Object, nil
	}
	v, rest, err := wire.ReadValue(rec.Value, s.out)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	if err != nil {
		return nil, err
	}
	return v.Interface(), nil
}

// damaged forgets a value that cannot be read.
func (m *Memory) damaged(s *subject, k cache.Key, err error) {
	m.fault("reading values of "+s.name, err)
	_ = m.store.Delete(k)
}

// made ends the flight that the caller led, with a value if it has one.
func (m *Memory) made(s *subject, k cache.Key, f *flight, value any, took time.Duration, ok bool) {
	defer m.end(k, f)
	if !ok {
		return
	}
	rec := cache.Record{Took: took}
	if s.out != nil {
		v := reflect.New(s.out).Elem()
		if value != nil {
			v.Set(reflect.ValueOf(value))
		}
		b, err := encode(v)
		if err != nil {
			m.fault("encoding values of "+s.name, err)
			return
		}
		rec.Value = b
		if s.share {
			rec.Object, rec.Size = value, int64(len(b))
		}
	}
	m.keep(s, k, rec)
}

// encode contains what a value's own method may panic with.
func encode(v reflect.Value) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return wire.AppendValue(nil, v)
}
