package board

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWordsKeepTheirParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.Uint16().Draw(t, "gen")
		high, low := rapid.IntRange(0, MaxCalls).Draw(t, "high"), rapid.IntRange(0, MaxCalls).Draw(t, "low")
		g, h, l := unword(word(gen, high, low))
		require.Equal(t, gen, g)
		require.Equal(t, high, h)
		require.Equal(t, low, l)
	})
}

func TestASlotOfTheLargestBatch(t *testing.T) {
	s := New()
	s.Open(1<<16-1, MaxCalls)
	s.claim.Store(word(1<<16-1, MaxCalls, MaxCalls-1))
	k, ok := s.Claim(1<<16 - 1)
	require.True(t, ok)
	require.Equal(t, MaxCalls-1, k)
	_, ok = s.Claim(1<<16 - 1)
	require.False(t, ok)
	s.End(1<<16-1, MaxCalls, Arena)
	st, ok := s.Look(1<<16 - 1)
	require.True(t, ok)
	require.Equal(t, State{Begun: MaxCalls, Limit: MaxCalls, Ended: MaxCalls, Used: Arena}, st)
	require.Less(t, Arena, MaxCalls, "a word has room for it")
}

func TestSlotsOfABoardLieApart(t *testing.T) {
	mem := make([]byte, Size+8)
	mem = mem[-uintptr(unsafe.Pointer(unsafe.SliceData(mem)))&7:]
	slots := View(mem[:Size])
	for i, s := range slots {
		require.Len(t, s.Arena, Arena)
		require.Equal(t, Arena, cap(s.Arena), "an append would go on in what follows")
		s.Open(uint16(i+1), 10+i)
		s.End(uint16(i+1), i, i)
		s.Took(int64(i + 1))
		s.SetForm(uint64(i + 1))
		for at := range s.Arena {
			s.Arena[at] = byte(i + 1)
		}
	}
	for at := range mem[CrashAt:Size] {
		mem[CrashAt+at] = 9
	}
	for i, s := range slots {
		st, ok := s.Look(uint16(i + 1))
		require.True(t, ok)
		require.Equal(t, State{Limit: 10 + i, Ended: i, Used: i, Took: int64(i + 1), Form: uint64(i + 1)}, st)
		for _, at := range []int{0, Arena - 1} {
			require.Equal(t, byte(i+1), s.Arena[at])
		}
		other := View(mem[:Size])[i] // what the other side sees
		st, ok = other.Look(uint16(i + 1))
		require.True(t, ok)
		require.Equal(t, 10+i, st.Limit)
	}
	require.Panics(t, func() { View(make([]byte, Size-1)) })
	for n := range 20 {
		require.Zero(t, Column(n)%8)
		require.GreaterOrEqual(t, Column(n), n)
		require.Less(t, Column(n), n+8)
	}
}

// TestSlotsCountAsTheyShould drives a slot through batches of any size, with orders of any generation, beside a plain
// account of what should be so.
func TestSlotsCountAsTheyShould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		gen := rapid.Uint16().Draw(t, "gen") // it may come around
		var n, limit, begun, ended int
		open := func(t *rapid.T) {
			gen++
			n = rapid.IntRange(1, 30).Draw(t, "n")
			limit, begun, ended = n, 0, 0
			s.Open(gen, n)
		}
		open(t)
		t.Repeat(map[string]func(*rapid.T){
			"claim": func(t *rapid.T) {
				k, ok := s.Claim(gen)
				require.Equal(t, begun < limit, ok)
				if ok {
					require.Equal(t, begun, k)
					begun++
				}
			},
			"end": func(t *rapid.T) {
				if ended < begun {
					ended = rapid.IntRange(ended+1, begun).Draw(t, "ended")
					s.End(gen, ended, 3*ended)
				}
			},
			"trim": func(t *rapid.T) {
				from := rapid.IntRange(-3, n+3).Draw(t, "from")
				got, ok := s.Trim(gen, from)
				require.True(t, ok)
				limit = max(begun, min(limit, from))
				require.Equal(t, limit, got)
			},
			"late": func(t *rapid.T) {
				other := gen + rapid.Uint16Range(1, 1<<16-1).Draw(t, "behind")
				_, ok := s.Claim(other)
				require.False(t, ok)
				_, ok = s.Trim(other, 0)
				require.False(t, ok)
				_, ok = s.Look(other)
				require.False(t, ok)
			},
			"open": func(t *rapid.T) {
				if ended == limit {
					open(t)
				}
			},
			"": func(t *rapid.T) {
				st, ok := s.Look(gen)
				require.True(t, ok)
				require.Equal(t, State{Begun: begun, Limit: limit, Ended: ended, Used: 3 * ended}, st)
			},
		})
	})
}

// TestTakingBackFromABusyWorker has one worker and many who take back, at once: what one of them got is never begun.
func TestTakingBackFromABusyWorker(t *testing.T) {
	const n, thieves = 40_000, 3
	for round := range 5 {
		s := New()
		s.Open(7, n)
		var lowest atomic.Int64 // that a Trim has returned
		lowest.Store(n)
		var all sync.WaitGroup
		begin, ended := make(chan struct{}), make(chan struct{})
		ran := 0
		all.Go(func() {
			defer close(ended)
			<-begin
			for {
				before := lowest.Load()
				k, ok := s.Claim(7)
				if !ok {
					return
				}
				if k != ran {
					t.Errorf("call %d was begun after call %d", k, ran-1)
					return
				}
				if int64(k) >= before {
					t.Errorf("call %d was begun, though all from %d on had been taken back", k, before)
				}
				ran++
				s.End(7, k+1, k+1)
			}
		})
		for i := range thieves {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(i)))
				<-begin
				for last := n; ; {
					select {
					case <-ended:
						return
					default:
					}
					st, ok := s.Look(7)
					if !ok || st.Ended > st.Begun || st.Begun > st.Limit || st.Limit > last || st.Ended != st.Used {
						t.Errorf("a look shows %+v, %v, after a limit of %d", st, ok, last)
						return
					}
					limit, ok := s.Trim(7, last-rng.IntN(4))
					if !ok || limit > last || limit < st.Begun {
						t.Errorf("taking back from %d gives %d, %v", last, limit, ok)
						return
					}
					for low := lowest.Load(); int64(limit) < low && !lowest.CompareAndSwap(low, int64(limit)); low = lowest.Load() {
					}
					last = limit
				}
			})
		}
		close(begin)
		all.Wait()
		st, ok := s.Look(7)
		require.True(t, ok)
		require.Equal(t, State{Begun: ran, Limit: ran, Ended: ran, Used: ran}, st, "what was not taken back was run, what was run was not taken back")
		require.GreaterOrEqual(t, int(lowest.Load()), ran, "a call was run that had been taken back")
		t.Logf("%d of %d calls were run", ran, n)
	}
}

// TestALateWorkerBeginsNothing opens batch after batch in a slot while others still look for calls of the one before.
func TestALateWorkerBeginsNothing(t *testing.T) {
	const batches, late = 1000, 2
	type batch struct {
		gen uint16
		n   int
	}
	s := New()
	var over atomic.Int32 // the generation of the last batch that is over, once there is one
	over.Store(-1)
	orders := make(chan batch, 1)
	var all sync.WaitGroup
	done := make(chan struct{})
	for range late {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if gen := over.Load(); gen >= 0 {
					if k, ok := s.Claim(uint16(gen)); ok {
						t.Errorf("call %d was begun for generation %d, which is over", k, gen)
					}
					runtime.Gosched()
				}
			}
		})
	}
	ran := 0
	worker := make(chan struct{})
	go func() {
		defer close(worker)
		for b := range orders {
			for {
				k, ok := s.Claim(b.gen)
				if !ok {
					break
				}
				ran++
				s.End(b.gen, k+1, 0)
			}
		}
	}()
	sent, taken := 0, 0
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range batches {
		b := batch{uint16(60_000 + i*3), 1 + rng.IntN(6)} // the generations come around
		s.Open(b.gen, b.n)
		orders <- b
		limit := b.n
		for {
			st, ok := s.Look(b.gen)
			if !ok {
				t.Errorf("batch %d is not in its slot", i)
				break
			}
			if rng.IntN(4) == 0 {
				limit, _ = s.Trim(b.gen, rng.IntN(b.n+1))
			}
			if st.Ended == limit {
				break
			}
			runtime.Gosched()
		}
		over.Store(int32(b.gen))
		require.False(t, t.Failed())
		taken += b.n - limit
		sent += b.n
	}
	close(orders)
	<-worker
	close(done)
	all.Wait()
	require.Equal(t, sent, ran+taken, "each call was run once or taken back")
}

// TestTrimEndsWhateverTheWorkerDoes has a worker that writes the word without end.
func TestTrimEndsWhateverTheWorkerDoes(t *testing.T) {
	s := New()
	s.Open(1, 10)
	var all sync.WaitGroup
	done := make(chan struct{})
	all.Go(func() {
		for w := uint64(0); ; w++ {
			select {
			case <-done:
				return
			default:
				s.claim.Store(word(1, int(w*0x9e3779b9&MaxCalls), int(w&MaxCalls)))
			}
		}
	})
	for range 1000 {
		if limit, ok := s.Trim(1, 3); ok && (limit < 0 || limit > MaxCalls) {
			t.Errorf("a limit of %d", limit)
		}
		st, _ := s.Look(1)
		if st.Begun < 0 || st.Begun > MaxCalls || st.Limit < 0 || st.Limit > MaxCalls {
			t.Errorf("a look shows %+v", st)
		}
	}
	close(done)
	all.Wait()
}
