package cache

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// RAM is a Store in this process's memory. What is used often stays; what is too large to be kept is no error.
//
// It is ristretto, without its surprises: its Set is visible some time later, and is lost when its buffer is full or
// when the policy prefers what is there. Here Put waits until the entry is visible, and a refused one stays in a small
// window until others are refused. Keys are compared in full.
type RAM struct {
	c       *ristretto.Cache[uint64, *entry]
	max     int64
	refused window
	seed    maphash.Seed
	lanes   [lanes]lane
	hits    atomic.Uint64
	misses  atomic.Uint64
	stores  atomic.Uint64
}

// lane is what the keys of one residue have in common.
type lane struct {
	open   sync.RWMutex // held by whoever is inside of ristretto, which must not be closed then
	closed bool
	put    sync.Mutex // writes of one key come one after the other
	_      [24]byte
}

const lanes = 32

type entry struct {
	key     Key
	rec     Record
	cost    int64
	used    atomic.Int64 // sinceStart, at most finest ago
	touched atomic.Int64 // Tiered's: when the record on disk was last marked as used
}

const (
	// overhead is what an entry takes beside its value: ristretto's maps, the entry itself. BenchmarkRAMEntry measures it.
	overhead = 288
	// typical is the size of an entry that the frequency counters are laid out for: ten for each, 3 bytes and more.
	typical = 4 << 10
)

// NewRAM returns a cache of so many bytes: of values, their objects as Record.Size says, and what entries cost beside
// them. The counters of use take up to 3 % on top.
func NewRAM(bytes int64) (*RAM, error) {
	if bytes <= 0 {
		return nil, fmt.Errorf("cache: %d bytes of RAM; give a positive number", bytes)
	}
	spare := bytes / 16
	r := &RAM{max: bytes - spare, seed: maphash.MakeSeed()}
	r.refused.max = spare
	var err error
	r.c, err = ristretto.NewCache(&ristretto.Config[uint64, *entry]{
		NumCounters:        10 * min(max(bytes/typical, 1<<10), 1<<20),
		MaxCost:            r.max,
		BufferItems:        64,
		IgnoreInternalCost: true, // it is part of overhead
		// No conflict word: of two keys with one hash the later Put would be dropped. This way it replaces the earlier one,
		// and entries know their keys.
		KeyToHash: func(h uint64) (uint64, uint64) { return h, 0 },
	})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return r, nil
}

func (r *RAM) hash(k *Key) (h uint64, l *lane) {
	h = maphash.Bytes(r.seed, k.Sum[:])
	if k.Group != "" {
		h ^= maphash.String(r.seed, k.Group) * 0x9e3779b97f4a7c15
	}
	return h, &r.lanes[h%lanes]
}

// Get returns the record, as it was put: its memory is shared.
func (r *RAM) Get(k Key) (Record, bool) {
	e := r.entry(&k)
	if e == nil {
		return Record{}, false
	}
	return e.rec, true
}

// entry returns what is kept under k, or nil.
func (r *RAM) entry(k *Key) *entry {
	h, l := r.hash(k)
	l.open.RLock()
	var e *entry
	if !l.closed {
		e = r.find(h, k)
	}
	l.open.RUnlock()
	if e == nil {
		r.misses.Add(1)
		return nil
	}
	r.hits.Add(1)
	if at := sinceStart(); at-e.used.Load() > int64(finest) {
		e.used.Store(at)
	}
	return e
}

func (r *RAM) find(h uint64, k *Key) *entry {
	if e, ok := r.c.Get(h); ok && e.key == *k {
		return e
	}
	return r.refused.get(k)
}

// Put keeps the record unless it is larger than the cache. It waits for ristretto, which takes microseconds, and
// milliseconds when thousands of goroutines do so at once.
func (r *RAM) Put(k Key, rec Record) error {
	if rec.Stored.IsZero() {
		rec.Stored = now()
	}
	h, l := r.hash(&k)
	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed {
		return os.ErrClosed
	}
	l.put.Lock()
	defer l.put.Unlock()
	r.stores.Add(1)
	r.replace(h, k, rec)
	return nil
}

// Attach adds an Object, of so many bytes, to the record that Get has returned as rec, unless another one has come since.
func (r *RAM) Attach(k Key, rec Record, object any, size int64) {
	h, l := r.hash(&k)
	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed || len(rec.Value) == 0 {
		return
	}
	l.put.Lock()
	defer l.put.Unlock()
	if e := r.find(h, &k); e != nil && len(e.rec.Value) > 0 && &e.rec.Value[0] == &rec.Value[0] {
		rec.Object, rec.Size = object, size
		r.replace(h, k, rec)
	}
}

// replace puts a record in place of the key's last one. The caller holds the key's locks.
func (r *RAM) replace(h uint64, k Key, rec Record) {
	r.refused.remove(&k)
	e := &entry{key: k, rec: rec, cost: int64(cap(rec.Value)) + max(rec.Size, 0) + int64(len(k.Group)) + overhead}
	e.used.Store(sinceStart())
	e.touched.Store(e.used.Load())
	if prev, ok := r.c.Get(h); ok && (prev.cost < e.cost || e.cost > r.max) {
		r.c.Del(h) // ristretto makes room for new entries, not for ones that have grown
	}
	if e.cost > r.max {
		r.c.Wait()
		return
	}
	r.c.Set(h, e, e.cost)
	r.c.Wait()
	if now, ok := r.c.Get(h); !ok || now != e {
		r.refused.add(e)
	}
}

// Delete forgets the record.
func (r *RAM) Delete(k Key) error {
	h, l := r.hash(&k)
	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed {
		return os.ErrClosed
	}
	l.put.Lock()
	defer l.put.Unlock()
	r.c.Del(h)
	r.refused.remove(&k)
	return nil
}

// Clear forgets all records.
func (r *RAM) Clear() error {
	defer r.lock()()
	if r.lanes[0].closed {
		return os.ErrClosed
	}
	r.c.Clear()
	r.refused.clear()
	return nil
}

// ClearGroup forgets the records of a group.
func (r *RAM) ClearGroup(group string) error {
	entries, err := r.entries()
	if err != nil {
		return err
	}
	r.drop(slices.DeleteFunc(entries, func(e *entry) bool { return e.key.Group != group }))
	return nil
}

// Reduce forgets records until all limits hold, those used least recently first; times of use are known to 10 ms. Bytes
// are those of Stats.
func (r *RAM) Reduce(l Limits) error {
	if err := l.check(); err != nil {
		return err
	}
	entries, err := r.entries()
	if err != nil {
		return err
	}
	bytes, at := int64(0), sinceStart()
	for _, e := range entries {
		bytes += e.cost
	}
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
	n := 0
	for _, e := range entries {
		tooMany := l.Items > 0 && len(entries)-n > l.Items
		tooLarge := l.Bytes > 0 && bytes > l.Bytes
		if !tooMany && !tooLarge && (l.Age == 0 || at-e.used.Load() <= int64(l.Age)) {
			break
		}
		bytes -= e.cost
		n++
	}
	r.drop(entries[:n])
	return nil
}

// entries returns what is kept now, in no order.
func (r *RAM) entries() ([]*entry, error) {
	l := &r.lanes[0] // any of them keeps Clear and Close away
	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed {
		return nil, os.ErrClosed
	}
	all := r.refused.all()
	r.c.IterValues(func(e *entry) bool {
		all = append(all, e)
		return false
	})
	return all, nil
}

// drop forgets entries, unless others have come in their places.
func (r *RAM) drop(entries []*entry) {
	for _, e := range entries {
		r.dropOne(e)
	}
	l := &r.lanes[0]
	l.open.RLock()
	defer l.open.RUnlock()
	if !l.closed {
		r.c.Wait() // until they are not counted any more
	}
}

func (r *RAM) dropOne(e *entry) {
	h, l := r.hash(&e.key)
	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed {
		return
	}
	l.put.Lock()
	defer l.put.Unlock()
	if r.find(h, &e.key) == e {
		r.c.Del(h)
		r.refused.remove(&e.key)
	}
}

// lock keeps everybody out of ristretto, whose Clear and Close must be alone.
func (r *RAM) lock() (unlock func()) {
	for i := range r.lanes {
		r.lanes[i].open.Lock()
	}
	return func() {
		for i := range r.lanes {
			r.lanes[i].open.Unlock()
		}
	}
}

// RAMStats counts since NewRAM.
type RAMStats struct {
	Hits, Misses, Stores uint64
	Bytes                int64 // now, as NewRAM counts them
}

// Stats may be called at any time.
func (r *RAM) Stats() RAMStats {
	s := RAMStats{Hits: r.hits.Load(), Misses: r.misses.Load(), Stores: r.stores.Load()}
	if l := &r.lanes[0]; l.open.TryRLock() {
		if !l.closed {
			s.Bytes = r.max - r.c.RemainingCost() + r.refused.size()
		}
		l.open.RUnlock()
	}
	return s
}

// Close ends ristretto's goroutines and forgets all records.
func (r *RAM) Close() error {
	defer r.lock()()
	if r.lanes[0].closed {
		return nil
	}
	for i := range r.lanes {
		r.lanes[i].closed = true
	}
	r.c.Close()
	r.refused.clear()
	return nil
}

// window holds the entries refused last, first in, first out: whoever has just put a value finds it.
type window struct {
	max   int64
	n     atomic.Int64 // entries
	mu    sync.RWMutex
	bytes int64
	byKey map[Key]*entry
	queue []*entry // in order of arrival; those replaced since are not in byKey
}

func (w *window) get(k *Key) *entry {
	if w.n.Load() == 0 {
		return nil
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.byKey[*k]
}

func (w *window) add(e *entry) {
	if e.cost > w.max {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byKey == nil {
		w.byKey = map[Key]*entry{}
	}
	w.byKey[e.key] = e
	w.queue = append(w.queue, e)
	w.bytes += e.cost
	for w.bytes > w.max {
		oldest := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		w.bytes -= oldest.cost
		if w.byKey[oldest.key] == oldest {
			delete(w.byKey, oldest.key)
		}
	}
	w.n.Store(int64(len(w.byKey)))
}

// remove forgets a key. Its entry's bytes count until its turn comes.
func (w *window) remove(k *Key) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.byKey, *k)
	w.n.Store(int64(len(w.byKey)))
}

func (w *window) all() []*entry {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return slices.Collect(maps.Values(w.byKey))
}

func (w *window) size() int64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.bytes
}

func (w *window) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byKey, w.queue, w.bytes = nil, nil, 0
	w.n.Store(0)
}
