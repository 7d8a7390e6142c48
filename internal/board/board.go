// Package board is the memory that a worker process and its near end share: which calls of a batch have been begun and
// ended, and their results. It says who may write what; it starts nothing and waits for nothing.
//
// A slot is the place of one batch:
//
//	near end                    slot                                worker
//	   | Open(5)      claim: gen 1, limit 5, begun 0                  |
//	   |---------------------------------------------- the batch ---->|
//	   |              claim: gen 1, limit 5, begun 1  <-------- Claim | call 0 is its own
//	   |              done:  gen 1, ended 1, used 12  <---------- End | and has a result
//	   |              claim: gen 1, limit 5, begun 2  <-------- Claim |
//	   | Trim(3) -->  claim: gen 1, limit 3, begun 2                  | calls 3 and 4 are taken back
//	   |              done:  gen 1, ended 2, used 24  <---------- End |
//	   |              claim: gen 1, limit 3, begun 3  <-------- Claim |
//	   |                                                              X  dies
//	   | Look:  ended 2, begun 3: calls 0 and 1 have results, call 2 was running, none else was begun
//
// Each word changes as a whole, so that there is no moment at which a call is neither claimed nor free, and none at
// which it is both. A word belongs to one generation: a worker that comes late to a batch finds another in its place
// and claims nothing.
//
// The near end believes nothing that could hurt it: a worker may have been taken over by what it reads, and may write
// anything here at any time. Whoever reads results copies them first.
package board

import (
	"sync/atomic"
	"unsafe"
)

const (
	Slots = 2        // batches in a worker's hands
	Arena = 2 << 20  // bytes of results of one batch; no memory is used before it is written to
	Crash = 64 << 10 // bytes of the runtime's last words
	page  = 4 << 10
	line  = 64

	// CrashAt is where these begin, to the end.
	CrashAt = page + Slots*Arena
	// Size is of the whole board.
	Size = CrashAt + Crash
	// MaxCalls is how many calls a batch may have.
	MaxCalls = 1<<bits - 1
)

// Column returns where the values of a column of n results begin; before them there is a byte for each.
func Column(n int) int { return (n + 7) &^ 7 }

// bits is the width of the two numbers in a word; the generation has the rest.
const bits = 24

// Slot is the place of one batch. Its methods may be called concurrently, by both sides, but for Open.
type Slot struct {
	*words
	Arena []byte // results; written below used only, and never again until the batch is over
}

// words are what both sides watch: the near end writes claim rarely, the worker all of them all the time.
type words struct {
	claim atomic.Uint64 // gen, limit, begun
	_     [line - 8]byte
	done  atomic.Uint64 // gen, ended, used
	took  atomic.Uint64 // nanoseconds that the calls of the batch have taken, where it is known
	form  atomic.Uint64 // how the results lie in the arena; the worker's word for it
	_     [line - 24]byte
}

// New returns a slot that nobody else sees: it counts, and holds no results.
func New() Slot { return Slot{words: new(words)} }

// View returns the slots of a board of Size bytes, which begins where a word may.
func View(mem []byte) (slots [Slots]Slot) {
	_ = mem[Size-1]
	for i := range slots {
		from := page + i*Arena
		slots[i] = Slot{
			words: (*words)(unsafe.Pointer(&mem[i*int(unsafe.Sizeof(words{}))])),
			Arena: mem[from : from+Arena : from+Arena],
		}
	}
	return slots
}

func word(gen uint16, high, low int) uint64 {
	return uint64(gen)<<(2*bits) | uint64(high)<<bits | uint64(low)
}

func unword(w uint64) (gen uint16, high, low int) {
	return uint16(w >> (2 * bits)), int(w >> bits & MaxCalls), int(w & MaxCalls)
}

// Open makes the slot, whose last batch is over, the place of a batch of n calls. The near end tells the worker the
// generation together with the batch.
func (s Slot) Open(gen uint16, n int) {
	s.took.Store(0)
	s.form.Store(0)
	s.done.Store(word(gen, 0, 0))
	s.claim.Store(word(gen, n, 0))
}

// Claim begins the next call of a batch; false: there is none, or the batch is over.
func (s Slot) Claim(gen uint16) (k int, ok bool) {
	for {
		w := s.claim.Load()
		g, limit, begun := unword(w)
		if g != gen || begun >= limit {
			return 0, false
		}
		if s.claim.CompareAndSwap(w, w+1) {
			return begun, true
		}
	}
}

// End makes known how many calls have ended, and how much of the arena is used for it. Only the worker may.
func (s Slot) End(gen uint16, ended, used int) { s.done.Store(word(gen, ended, used)) }

// Took tells how long those calls have taken.
func (s Slot) Took(ns int64) { s.took.Store(uint64(ns)) }

// SetForm says how the results of the batch lie.
func (s Slot) SetForm(f uint64) { s.form.Store(f) }

// Trim takes the calls from from on back, but for those that have been begun, and returns where they begin now; false:
// the batch is over, or the worker plays with the word.
func (s Slot) Trim(gen uint16, from int) (limit int, ok bool) {
	for range 1000 {
		w := s.claim.Load()
		g, limit, begun := unword(w)
		if g != gen {
			return 0, false
		}
		limit = max(begun, min(limit, from))
		if s.claim.CompareAndSwap(w, word(gen, limit, begun)) {
			return limit, true
		}
	}
	return 0, false
}

// State is what can be seen of a batch. From a worker gone wrong, the numbers are any.
type State struct {
	Begun, Limit int
	Ended, Used  int
	Took         int64 // nanoseconds; 0: not known yet
	Form         uint64
}

// Look returns the state of a batch; false: it is over. What has ended is looked at before what was begun.
func (s Slot) Look(gen uint16) (st State, ok bool) {
	var g, h uint16
	g, st.Ended, st.Used = unword(s.done.Load())
	st.Took, st.Form = int64(s.took.Load()), s.form.Load()
	h, st.Limit, st.Begun = unword(s.claim.Load())
	return st, g == gen && h == gen
}
