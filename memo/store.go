// Package memo makes repeated calls come from memory: from RAM, or from a folder that outlives the program and that any
// number of processes share. It is joblib's Memory.
//
//	m, err := memo.New(memo.Options{Dir: "cache"})
//	...
//	texts, err := parallel.Map(ctx, files, extract, parallel.Memo(m)) // in a run, on any backend
//	slow := memo.Func(m, extract)                                     // or call by call
//	text, err := slow.Call(ctx, file)
//
// # What makes calls equal
//
// The function's full name, its arguments (see [Hash]), and the build of the program: a value that another build has
// computed is never returned, as nothing smaller than the whole executable tells soundly whether a function does what
// it did. [Version] takes over: as long as it stays the same, so do the keys.
//
//	edited since                            without Version    with Version("2")
//	nothing, only rebuilt                   hit                hit
//	a comment at the end of a file          hit                hit
//	the function, a callee, a constant,     miss               hit: make it Version("3")
//	an interface's implementation, a global
//	the type of an argument                 miss               miss
//	anything else of the program            miss               hit
//
// A function that is renamed, or moved to another package, is another one, also with a Version. Old values stay beside
// new ones until the folder's limits remove them. Closures, method values and generic functions are refused: what they
// have captured is in no key. What a function reads besides its arguments is not in the key either: a file's path is,
// its content is not; give its digest or its time of modification as an argument.
//
// # What comes back
//
// A copy for every hit, so that callers may write to it; [Share] saves the copying. Errors are not kept. A damaged
// record is computed again and replaced. Of equal calls under way, in this process and in all that share the folder, one
// is made, and the others wait for it; if it fails, is cancelled or its process dies, the next one is made.
//
//	store.go    Memory: the stores, and what is counted
//	subject.go  a function, its settings and the keys of its calls
//	flight.go   one computation at a time for each key
//	func.go     Func: a typed function with a memory
//	hash.go     Hash: a digest of any value
package memo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/cache"
)

// Options say where a Memory keeps values, and how many.
type Options struct {
	Dir      string        // a folder, made if it is not there; "": RAM only
	RAM      int64         // bytes in RAM; 0: 128 MB
	Disk     int64         // bytes in Dir; 0: 10 GB. Least recently used values make room
	MaxAge   time.Duration // values older than that are computed again; 0: never
	Compress bool          // compress values in Dir
}

// Memory keeps results of functions and knows them again. Its methods may be called concurrently. It is a
// parallel.Memoizer.
type Memory struct {
	o     Options
	ram   *cache.RAM
	disk  *cache.Disk // nil: RAM only
	store store
	ctx   context.Context // ends with Close
	close context.CancelFunc
	idle  sync.WaitGroup

	subjects sync.Map // code pointer -> *subject

	mu      sync.Mutex
	flights map[cache.Key]*flight

	others  func() map[string]int // values of other builds, by function
	rebuilt sync.Once             // that there are some was said
	warned  sync.Map              // what was said once
	count   struct {
		hits, ramHits, diskHits, misses, stores, errors atomic.Uint64
		saved                                           atomic.Int64
	}
}

// store is where records are: in RAM, or there and on disk.
type store interface {
	cache.Store
	Clear() error
	ClearGroup(group string) error
	Reduce(l cache.Limits) error
}

// New returns a Memory. Several may use one Dir, in this process and in others; they should have the same limits. It is an
// error when Dir cannot be made, holds something else, or values of a newer version of this package.
func New(o Options) (*Memory, error) {
	if o.RAM < 0 || o.Disk < 0 || o.MaxAge < 0 {
		return nil, fmt.Errorf("memo: RAM is %d, Disk %d, MaxAge %v: limits are positive, 0 is the default", o.RAM, o.Disk, o.MaxAge)
	}
	if o.RAM == 0 {
		o.RAM = 128 << 20
	}
	if o.Disk == 0 {
		o.Disk = 10 << 30
	}
	ram, err := cache.NewRAM(o.RAM)
	if err != nil {
		return nil, err
	}
	m := &Memory{o: o, ram: ram, store: ram, flights: map[cache.Key]*flight{}}
	if o.Dir != "" {
		if m.disk, err = cache.OpenDisk(o.Dir, cache.DiskOptions{Bytes: o.Disk, Age: o.MaxAge, Compress: o.Compress}); err != nil {
			return nil, errors.Join(err, ram.Close())
		}
		m.store = cache.NewTiered(ram, m.disk)
	}
	m.ctx, m.close = context.WithCancel(context.Background())
	m.others = sync.OnceValue(m.ofOtherBuilds)
	return m, nil
}

// Close releases what the Memory holds; values in Dir stay. Calls go on and find nothing. Again: nil.
func (m *Memory) Close() error {
	m.mu.Lock()
	m.close() // nothing begins in the background from here on
	m.mu.Unlock()
	m.idle.Wait()
	return m.store.Close()
}

// background runs f beside the calls; Close waits for it. false: the Memory is closed.
func (m *Memory) background(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed() {
		return false
	}
	m.idle.Go(f)
	return true
}

func (m *Memory) closed() bool { return m.ctx.Err() != nil }

// Limits are bounds that Reduce cuts a Memory down to. Zero: no bound.
type Limits struct {
	Bytes int64
	Items int
	Age   time.Duration // since a value was last used
}

// Reduce removes the values that were used least recently, until what is left keeps within the limits: those in Dir, and then
// all that is in RAM, from where they would come back; without Dir, those in RAM. Bytes count as for Options.
func (m *Memory) Reduce(l Limits) error { return m.store.Reduce(cache.Limits(l)) }

// Clear forgets all values, those of other programs that use Dir, too; but what these have in RAM stays there.
func (m *Memory) Clear() error { return m.store.Clear() }

// Stats counts since New.
type Stats struct {
	Hits, RAMHits, DiskHits uint64
	Misses                  uint64        // calls that were made for lack of a value, whatever came of them
	Stores                  uint64        // values that were kept
	Errors                  uint64        // values that could not be read or kept
	Bytes                   int64         // in RAM, now
	Saved                   time.Duration // what computing the values of the hits has taken
}

// Stats may be called at any time.
func (m *Memory) Stats() Stats {
	c := &m.count
	s := Stats{
		Hits: c.hits.Load(), RAMHits: c.ramHits.Load(), DiskHits: c.diskHits.Load(), Misses: c.misses.Load(), Stores: c.stores.Load(),
		Errors: c.errors.Load(), Bytes: m.ram.Stats().Bytes, Saved: time.Duration(c.saved.Load()),
	}
	if m.disk != nil {
		s.Errors += m.disk.Stats().Damaged
	}
	return s
}

// find looks a key up and has what is found read, unless it is too old for its function.
func (m *Memory) find(s *subject, k cache.Key, read func(cache.Record) error) bool {
	rec, inRAM := m.ram.Get(k)
	found := inRAM && m.accepts(s, rec)
	if m.disk != nil {
		if inRAM && !found {
			_ = m.ram.Delete(k) // another process may have left a better one
			inRAM = false
		}
		rec, found = m.store.Get(k) // also when it is in RAM, to mark it as used
		found = found && (inRAM || m.accepts(s, rec))
	}
	if !found {
		return false
	}
	if err := read(rec); err != nil {
		m.fault("reading a value of "+s.name, err)
		_ = m.store.Delete(k)
		return false
	}
	m.count.hits.Add(1)
	if inRAM {
		m.count.ramHits.Add(1)
	} else {
		m.count.diskHits.Add(1)
	}
	m.count.saved.Add(int64(rec.Took))
	return true
}

// accepts reports whether a value is good enough.
func (m *Memory) accepts(s *subject, rec cache.Record) bool {
	maxAge := m.o.MaxAge
	if s.maxAge > 0 && (maxAge == 0 || s.maxAge < maxAge) {
		maxAge = s.maxAge
	}
	if maxAge > 0 && time.Since(rec.Stored).Abs() > maxAge { // one that is yet to come tells nothing: a clock was set back
		return false
	}
	if s.validate == nil {
		return true
	}
	ok := false
	if err := contain(func() error {
		ok = s.validate(Entry{s.name, rec.Stored, rec.Took, int64(len(rec.Value))})
		return nil
	}); err != nil {
		m.warn("validating values of "+s.name, err)
		return false
	}
	return ok
}

// keep stores what a call has returned.
func (m *Memory) keep(s *subject, k cache.Key, rec cache.Record) {
	rec.Stored = time.Now().Round(0) // what counts is the time of day, as on disk
	if rec.Value == nil {
		rec.Value = []byte{}
	}
	switch err := m.store.Put(k, rec); {
	case err == nil:
		m.count.stores.Add(1)
	case m.closed():
	case errors.Is(err, cache.ErrTooLarge):
		m.fault("keeping a value of "+s.name+" on disk", err)
	default:
		m.count.errors.Add(1)
		m.folderFails(err)
	}
}

// fault counts a value that could not be read or kept, and says once what has failed.
func (m *Memory) fault(what string, err error) {
	m.count.errors.Add(1)
	m.warn(what, err)
}

// folderFails says once that there is something wrong with Dir.
func (m *Memory) folderFails(err error) { m.warn("using the folder of a memory", err) }

// warn says once what goes wrong beside the calls.
func (m *Memory) warn(what string, err error) {
	if m.closed() {
		return
	}
	if _, told := m.warned.LoadOrStore(what, true); !told {
		slog.Warn("parallel: "+what+" has failed; calls are made and return as ever", "error", err, "dir", m.o.Dir)
	}
}
