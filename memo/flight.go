package memo

import (
	"context"
	"errors"
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

// begin looks a call up and decides who makes it: nobody, as it was found and read, or else f, which the caller leads, or
// waits for.
func (m *Memory) begin(s *subject, k cache.Key, read func(cache.Record) error) (hit, leads bool, f *flight) {
	if m.find(s, k, read) {
		return true, false, nil
	}
	m.mu.Lock()
	f = m.flights[k]
	if f != nil {
		m.mu.Unlock()
		return false, false, f
	}
	f = &flight{}
	m.flights[k] = f
	m.mu.Unlock()
	if m.disk != nil {
		release, ok, err := m.disk.TryLease(k)
		switch {
		case err != nil:
			m.folderFails(err)
		case !ok:
			m.await(k, f)
			return false, false, f
		}
		f.release = release
	}
	// Whoever had the lease, or led until now, may have left the value.
	if m.find(s, k, read) {
		m.end(k, f)
		return true, false, nil
	}
	m.tellRebuilt(s)
	return false, true, f
}

// await waits, beside those who wait for f, for the process that has the lease.
func (m *Memory) await(k cache.Key, f *flight) {
	ctx, stop := context.WithCancel(m.ctx)
	m.mu.Lock()
	f.stop = stop
	m.mu.Unlock()
	if !m.background(func() {
		defer stop()
		release, err := m.disk.Lease(ctx, k)
		if err != nil && ctx.Err() == nil {
			m.folderFails(err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		f.release = release // and free at once: whoever comes first finds the value, or makes the call
		m.endLocked(k, f)
	}) {
		stop()
		m.end(k, f)
	}
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
	if m == nil || m.store == nil {
		return nil, false, nil, nil, errNil
	}
	s := m.subject(fn)
	k, err := s.key(args)
	if err != nil || m.closed() {
		return nil, false, nil, nil, err
	}
	hit, leads, f := m.begin(s, k, func(rec cache.Record) (err error) {
		value, err = m.read(s, k, rec)
		return err
	})
	switch {
	case hit:
		return value, true, nil, nil, nil
	case leads:
		return nil, false, func(v any, took time.Duration, ok bool) { m.made(s, k, f, v, took, ok) }, nil, nil
	}
	return nil, false, nil, func(again func()) func() { return m.join(k, f, again) }, nil
}

var errNil = errors.New("memo: the Memory is nil, or was not made by New")

// read returns the value of a record.
func (m *Memory) read(s *subject, k cache.Key, rec cache.Record) (any, error) {
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
	value := v.Interface()
	m.share(s, k, rec, value)
	return value, nil
}

// share lets the next ones who find the record have the same value, if they may.
func (m *Memory) share(s *subject, k cache.Key, rec cache.Record, value any) {
	if s.share && value != nil {
		m.ram.Attach(k, rec, value, int64(len(rec.Value)))
	}
}

// made ends the flight that the caller led, with a value if it has one. A call that took no time was not begun.
func (m *Memory) made(s *subject, k cache.Key, f *flight, value any, took time.Duration, ok bool) {
	defer m.end(k, f)
	if took > 0 {
		m.count.misses.Add(1)
	}
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
			m.fault("encoding a value of "+s.name, err)
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
