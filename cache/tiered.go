package cache

import (
	"errors"
	"sync"
	"time"
)

// Tiered is a RAM in front of a Disk, which it owns.
type Tiered struct {
	ram    *RAM
	disk   *Disk
	stripe [64]stripe
}

// stripe counts the writes of the keys of one residue: a record that was read from disk before one does not go to RAM
// after it.
type stripe struct {
	mu sync.Mutex
	n  uint64
	_  [48]byte
}

// markEvery is how often a record that is found in RAM is marked as used on disk, so that it is not removed there.
const markEvery = time.Minute

// NewTiered returns a store that asks ram before disk and puts what disk has found into ram. What is put goes to both.
// A record with an Object only, and no Value, should be put into ram directly.
func NewTiered(ram *RAM, disk *Disk) *Tiered { return &Tiered{ram: ram, disk: disk} }

func (t *Tiered) of(k *Key) *stripe { return &t.stripe[k.Sum[0]%64] }

// Get returns the record, whose memory is shared when it was in RAM.
func (t *Tiered) Get(k Key) (Record, bool) {
	if e := t.ram.entry(&k); e != nil {
		if at, last := sinceStart(), e.touched.Load(); at-last > int64(markEvery) && e.touched.CompareAndSwap(last, at) {
			t.disk.mark(k)
		}
		return e.rec, true
	}
	s := t.of(&k)
	s.mu.Lock()
	n := s.n
	s.mu.Unlock()
	rec, ok := t.disk.Get(k)
	if ok {
		s.mu.Lock()
		if s.n == n {
			_ = t.ram.Put(k, rec) // closed: so be it
		}
		s.mu.Unlock()
	}
	return rec, ok
}

// Put keeps the record on disk and in RAM. After an error it is in RAM alone.
func (t *Tiered) Put(k Key, rec Record) error {
	if rec.Stored.IsZero() {
		rec.Stored = now()
	}
	err := t.disk.Put(k, rec)
	return errors.Join(err, t.replace(k, func() error { return t.ram.Put(k, rec) }))
}

// Delete forgets the record.
func (t *Tiered) Delete(k Key) error {
	err := t.disk.Delete(k)
	return errors.Join(err, t.replace(k, func() error { return t.ram.Delete(k) }))
}

func (t *Tiered) replace(k Key, f func() error) error {
	s := t.of(&k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return f()
}

// Clear removes all records.
func (t *Tiered) Clear() error { return t.cut(t.disk.Clear, t.ram.Clear) }

// ClearGroup removes the records of a group.
func (t *Tiered) ClearGroup(group string) error {
	return t.cut(func() error { return t.disk.ClearGroup(group) }, func() error { return t.ram.ClearGroup(group) })
}

// Reduce removes records from the folder, as Disk.Reduce does, and all that are in RAM, from where they would come back.
func (t *Tiered) Reduce(l Limits) error {
	return t.cut(func() error { return t.disk.Reduce(l) }, t.ram.Clear)
}

// cut removes records from disk and then from RAM, where nothing comes afterwards that was read before.
func (t *Tiered) cut(disk, ram func() error) error {
	err := disk()
	for i := range t.stripe {
		s := &t.stripe[i]
		s.mu.Lock()
		s.n++
		s.mu.Unlock()
	}
	return errors.Join(err, ram())
}

// Close closes both.
func (t *Tiered) Close() error { return errors.Join(t.ram.Close(), t.disk.Close()) }
