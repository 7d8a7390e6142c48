package board

import (
	"fmt"
	mathbits "math/bits"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryOrderOfStepsKeepsThePromise goes through all that can happen, in any order, to two batches that follow one
// another in a slot: the worker's steps and the near end's are those of the real Slot, each as a whole (a Claim or a
// Trim takes effect when its word changes, and leaves no trace before).
//
//	worker:    begin a batch that has come, claim, end, find that nothing is left, die at any moment
//	near end:  look, take back from any call on, open the slot for the next batch when this one is over
//
// No call is run twice; none is lost: it has ended for the near end to see, or was taken back, or was running when the
// worker died; and what was taken back, or counts as not begun, is never run.
func TestEveryOrderOfStepsKeepsThePromise(t *testing.T) {
	states := 0
	for first := 1; first <= 4; first++ {
		for second := 1; second <= 4; second++ {
			x := explorer{t: t, sizes: [2]int{first, second}, slot: New(), seen: map[state]bool{}}
			s := state{job: -1}
			x.visit(s)
			states += len(x.seen)
			require.NotZero(t, x.finished, "no end is in reach")
			require.NotZero(t, x.late, "no worker was late")
		}
	}
	t.Logf("%d states", states)
}

type state struct {
	claim, done uint64 // the slot's words

	// The worker.
	job     int8 // the batch it works at; -1: it waits for one
	through int8 // batches it is done with
	call    int8 // claimed and not ended, plus one
	dead    bool

	// The near end.
	sent  int8 // batches so far
	open  bool // the last of them is not over
	limit int8
	told  int8

	// What has happened, by batch: a bit for each call.
	run, ended, seen, taken [2]uint8
}

type explorer struct {
	t        *testing.T
	sizes    [2]int
	slot     Slot
	seen     map[state]bool
	path     []string
	finished int // ends that were reached
	late     int // times that a worker found another batch in the place of its own
}

func (x *explorer) fail(format string, args ...any) {
	x.t.Helper()
	x.t.Fatalf("batches of %v: %s\n\t%s", x.sizes, fmt.Sprintf(format, args...), strings.Join(x.path, "\n\t"))
}

func gen(batch int8) uint16 { return uint16(batch) + 1 }

// visit takes every step that is possible in s, and every one after it.
func (x *explorer) visit(s state) {
	if x.seen[s] {
		return
	}
	x.seen[s] = true
	steps := 0
	step := func(name string, do func(s *state)) {
		steps++
		next := s
		x.slot.claim.Store(s.claim)
		x.slot.done.Store(s.done)
		x.path = append(x.path, name)
		do(&next)
		next.claim, next.done = x.slot.claim.Load(), x.slot.done.Load()
		x.visit(next)
		x.path = x.path[:len(x.path)-1]
	}
	if !s.dead {
		x.worker(s, step)
		step("the worker dies", func(s *state) { s.dead = true })
	}
	x.near(s, step)
	if s.dead || s.sent == 2 && !s.open && s.through == 2 {
		x.settle(s)
	}
}

func (x *explorer) worker(s state, step func(string, func(*state))) {
	switch {
	case s.job < 0 && s.through < s.sent:
		step("the worker begins a batch", func(s *state) { s.job = s.through })
	case s.job >= 0 && s.call == 0:
		step("claim", func(s *state) {
			k, ok := x.slot.Claim(gen(s.job))
			if !ok {
				if s.job+1 < s.sent {
					x.late++
				}
				s.job, s.through = -1, s.through+1
				return
			}
			if k < 0 || k >= x.sizes[s.job] {
				x.fail("call %d was claimed", k)
			}
			bit := uint8(1) << k
			if s.run[s.job]&bit != 0 {
				x.fail("call %d of batch %d runs twice", k, s.job)
			}
			if s.taken[s.job]&bit != 0 {
				x.fail("call %d of batch %d runs, which was taken back", k, s.job)
			}
			s.run[s.job] |= bit
			s.call = int8(k) + 1
		})
	case s.call > 0:
		step("end", func(s *state) {
			s.ended[s.job] |= 1 << (s.call - 1)
			x.slot.End(gen(s.job), int(s.call), int(s.call))
			s.call = 0
		})
	}
}

func (x *explorer) near(s state, step func(string, func(*state))) {
	if !s.open {
		if s.sent < 2 && !s.dead {
			step("open", func(s *state) {
				n := x.sizes[s.sent]
				x.slot.Open(gen(s.sent), n)
				s.sent, s.open, s.limit, s.told = s.sent+1, true, int8(n), 0
			})
		}
		return
	}
	batch := s.sent - 1
	step("look", func(s *state) {
		st, ok := x.slot.Look(gen(batch))
		if !ok || st.Ended < int(s.told) || st.Ended > int(s.limit) || st.Begun < st.Ended || st.Begun > st.Ended+1 || st.Used != st.Ended || st.Limit != int(s.limit) {
			x.fail("a look shows %+v, %v; %d calls of %d had ended", st, ok, s.told, s.limit)
		}
		s.told = int8(st.Ended)
		s.seen[batch] = 1<<st.Ended - 1
		if missing := s.seen[batch] &^ s.ended[batch]; missing != 0 {
			x.fail("calls %b are said to have ended, and have not", missing)
		}
		s.open = s.told < s.limit
	})
	for from := range x.sizes[batch] {
		step(fmt.Sprint("take back from ", from), func(s *state) {
			limit, ok := x.slot.Trim(gen(batch), from)
			if !ok || limit < int(s.told) || limit > int(s.limit) {
				x.fail("taking back gives %d, %v; %d calls of %d had ended", limit, ok, s.told, s.limit)
			}
			for k := limit; k < int(s.limit); k++ {
				s.taken[batch] |= 1 << k
			}
			if both := s.taken[batch] & s.run[batch]; both != 0 {
				x.fail("calls %b were taken back and have begun", both)
			}
			s.limit = int8(limit)
			s.open = s.told < s.limit
		})
	}
}

// settle checks the account at the end.
func (x *explorer) settle(s state) {
	x.finished++
	for b := range s.sent {
		all := uint8(1)<<x.sizes[b] - 1
		seen, unbegun, crashed := s.seen[b], uint8(0), uint8(0)
		if s.open && b == s.sent-1 { // the worker is dead; what is on the board counts
			x.slot.claim.Store(s.claim)
			x.slot.done.Store(s.done)
			st, ok := x.slot.Look(gen(b))
			if !ok {
				x.fail("batch %d is not in its slot", b)
			}
			began := min(st.Begun, int(s.limit))
			seen = 1<<st.Ended - 1
			crashed = 1<<began - 1 - seen
			for k := began; k < int(s.limit); k++ {
				unbegun |= 1 << k
			}
		}
		if mathbits.OnesCount8(crashed) > 1 {
			x.fail("calls %b of batch %d crashed at once", crashed, b)
		}
		if got := seen | crashed | unbegun | s.taken[b]; got != all {
			x.fail("calls %b of batch %d are lost", all&^got, b)
		}
		if seen&crashed|seen&unbegun|seen&s.taken[b]|crashed&unbegun|crashed&s.taken[b]|unbegun&s.taken[b] != 0 {
			x.fail("calls of batch %d count twice: ended %b, crashed %b, not begun %b, taken back %b", b, seen, crashed, unbegun, s.taken[b])
		}
		if s.run[b] != seen|crashed {
			x.fail("of batch %d ran %b, and ended %b or crashed %b", b, s.run[b], seen, crashed)
		}
	}
}
