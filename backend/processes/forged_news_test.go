//go:build unix

package processes

import (
	"encoding/binary"
	"errors"
	"flag"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/gojoblib/parallel/internal/wire"
)

// A nil pointer in an error, as the refusal of a worker.
func TestForgedRefusalThatPanics(t *testing.T) {
	for name, err := range map[string]error{"crash": (*backend.CrashError)(nil), "task": (*backend.TaskError)(nil)} {
		t.Run(name, func(t *testing.T) {
			f := forge(t, Options{})
			f.say(wire.Frame{Kind: wire.Hello})
			f.say(wire.Frame{Kind: wire.Refuse, Body: wire.AppendError(nil, err)})
			lost := f.lost()
			require.ErrorContains(t, lost, "")
			t.Log(lost)
		})
	}
}

func TestForgedRefusalOfNil(t *testing.T) {
	f := forge(t, Options{})
	f.say(wire.Frame{Kind: wire.Hello})
	f.say(wire.Frame{Kind: wire.Refuse, Body: wire.AppendError(nil, nil)})
	lost := f.lost()
	require.ErrorContains(t, lost, "no worker sends")
}

// Half a frame; all calls have been answered.
func TestForgedHalfAFrameHoldsCloseUp(t *testing.T) {
	f := forge(t, Options{})
	f.greet()
	_, slot := f.send(backend.Batch{}, 1)
	gen := f.gens[slot]
	f.claim(slot, gen, 1, 1)
	f.done(slot, gen, 1, f.rows(slot, row(0, "12345678")))
	f.await(1)
	b := make([]byte, 48)
	b[0] = byte(wire.News)
	binary.LittleEndian.PutUint64(b[40:], 100)
	f.saw(b)
	time.Sleep(20 * time.Millisecond)
	closed := make(chan struct{})
	go func() { f.c.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(3 * time.Second):
		t.Error("Close hangs")
		f.part()
		<-closed
	}
	<-f.heard
	f.c.kill(errors.New("x"))
}

// Call 0 is answered twice, and both count as elsewhere: the batch is over without an answer for call 1.
func TestForgedAnswersAreCountedNotKnown(t *testing.T) {
	f := forge(t, Options{})
	f.greet()
	id, slot := f.send(backend.Batch{}, 2)
	gen := f.gens[slot]
	for range 2 {
		f.say(wire.Frame{Kind: wire.News, Slot: byte(backend.Failed), Batch: id, Lo: 0, Hi: 1, Body: []byte{0}})
	}
	f.claim(slot, gen, 2, 2)
	f.done(slot, gen, 2, f.rows(slot, row(wire.ElsewhereTag, ""), row(wire.ElsewhereTag, "")))
	f.await(2)
	time.Sleep(50 * time.Millisecond)
	f.c.mu.Lock()
	idle, cause := f.c.idle(), f.c.cause
	f.c.mu.Unlock()
	if idle && cause == nil {
		t.Error("the batch has landed, call 1 was never answered and the worker lives")
	}
	f.part()
	f.lost()
}

func TestForgedAnotherGenerationMeansNotBegun(t *testing.T) {
	f := forge(t, Options{})
	f.greet()
	_, slot := f.send(backend.Batch{}, 10)
	gen := f.gens[slot]
	f.claim(slot, gen, 10, 1) // call 0 runs
	f.claim(slot, gen+1, 10, 1)
	f.c.proc.Signal(syscall.SIGKILL)
	lost := f.lost()
	t.Log(lost, lost.Batches)
	require.NotZero(t, lost.Batches[0].Began)
}

// An honest worker is killed before it has read its batch.
func TestForgedUnreadOrdersMakeADeathForged(t *testing.T) {
	f := forge(t, Options{})
	f.greet()
	f.send(backend.Batch{}, 10)
	f.c.proc.Signal(syscall.SIGKILL)
	lost := f.lost()
	require.NotContains(t, lost.Error(), "no worker sends")
}

// News of no batch, without end: the board is not looked at.
func TestForgedAFloodHidesTheBoard(t *testing.T) {
	f := forge(t, Options{})
	f.greet()
	_, slot := f.send(backend.Batch{Started: true}, 10)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				f.say(wire.Frame{Kind: wire.News, Slot: byte(backend.Done), Batch: 999, Lo: 0, Hi: 1, Body: make([]byte, 1000)})
			}
		}
	}()
	time.Sleep(100 * time.Millisecond)
	f.claim(slot, f.gens[slot], 10, 1)
	time.Sleep(500 * time.Millisecond)
	f.mu.Lock()
	n, end := len(f.seen), f.end
	f.mu.Unlock()
	if n == 0 && end == nil {
		t.Error("call 0 runs for 500 ms and nobody knows; nor has the worker been ended")
	}
	f.c.Kill(errors.New("enough"))
	close(stop)
	<-ended
	f.lost()
}

// A body that comes without end is taken in whole, though the worker does not hold it.
func TestForgedABodyWithoutEnd(t *testing.T) {
	testkit.Clean(t)
	f := forge(t, Options{MemoryLimit: 64 << 20})
	f.greet()
	f.send(backend.Batch{}, 10)
	b := make([]byte, 48)
	b[0] = byte(wire.News)
	binary.LittleEndian.PutUint64(b[40:], 1<<40)
	f.saw(b)
	chunk := make([]byte, 1<<20)
	for n := range 300 {
		if _, err := f.link.Write(chunk); err != nil {
			t.Log("refused after MB", n)
			f.lost()
			return
		}
	}
	t.Error("300 MB were taken in from a worker whose limit is 64 MB and which has 1")
	f.part()
	f.lost()
}

// A good answer before a bad one. Every look reads the good one again: the news never ends.
func TestForgedNewsOfTheDeadNeverEnds(t *testing.T) {
	for name, forge2 := range map[string]func(f *forger, slot int){
		"column": func(f *forger, slot int) {
			f.slots[slot].SetForm(wire.FormOf(wire.ResultFlags(true, false, false), 8))
			copy(f.slots[slot].Arena, []byte{wire.ColumnResult, 3})
		},
		"rows": func(f *forger, slot int) {
			f.rows(slot, row(wire.FailureTag, "x"), row(1, "bad")[:4])
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := forge(t, Options{})
			f.greet()
			_, slot := f.send(backend.Batch{}, 10)
			gen := f.gens[slot]
			f.claim(slot, gen, 10, 2)
			forge2(f, slot)
			f.done(slot, gen, 2, 9)
			f.ring()
			lost := f.lost()
			require.ErrorContains(t, lost, "no worker sends")
			require.LessOrEqual(t, len(f.seen), 1)
		})
	}
}

// TestForgersDoNoHarm lets a worker do anything, in any order, while a run goes on with its own.
func TestForgersDoNoHarm(t *testing.T) {
	testkit.Clean(t)
	checks := flag.Lookup("rapid.checks").Value // a check takes half a second
	if checks.String() == "100" {
		require.NoError(t, checks.Set("15"))
		defer checks.Set("100")
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := forge(rt, Options{MaxTasks: rapid.SampledFrom([]int{0, 0, 25}).Draw(rt, "most")})
		if rapid.IntRange(0, 9).Draw(rt, "greets") > 0 {
			f.greet()
		}
		const n = 10
		flying := map[int]uint64{}
		number := rapid.OneOf(rapid.IntRange(0, n+2), rapid.SampledFrom([]int{board.MaxCalls, board.Arena, board.Arena + 1, 100, 1000}))
		small := rapid.IntRange(0, n)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			slot := rapid.IntRange(0, board.Slots-1).Draw(rt, "slot")
			s, gen := f.slots[slot], f.gens[slot]
			if rapid.IntRange(0, 19).Draw(rt, "other") == 0 {
				gen += uint16(rapid.IntRange(-1, 1).Draw(rt, "gen"))
			}
			switch rapid.SampledFrom([]string{"send", "send", "works", "works", "works", "rows", "column", "claim", "done", "word", "trim", "cancel", "ring", "news", "frame", "noise", "look"}).Draw(rt, "step") {
			case "send": // only where there is room: else it waits for the worker
				f.c.mu.Lock()
				room := f.c.cause == nil && !f.c.reaped && !f.c.retired && (f.c.flights[0] == nil || f.c.flights[1] == nil)
				f.c.mu.Unlock()
				if room {
					id, at := f.send(backend.Batch{Started: rapid.Bool().Draw(rt, "starts"), Timeout: time.Duration(rapid.IntRange(0, 1).Draw(rt, "timeout")) * time.Hour}, n)
					flying[at] = id
				}
			case "works": // as a worker should
				st, ok := s.Look(gen)
				if k, claimed := s.Claim(gen); ok && claimed && st.Used < 1000 {
					r := row(rapid.SampledFrom([]uint32{0, 0, wire.FailureTag, wire.ElsewhereTag, wire.TagMask}).Draw(rt, "tag"), rapid.StringN(0, 20, -1).Draw(rt, "row"))
					copy(s.Arena[st.Used:], r)
					s.End(gen, k+1, st.Used+len(r))
				}
			case "rows":
				f.rows(slot, rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) string {
					return row(rapid.SampledFrom([]uint32{0, 0, wire.FailureTag, wire.ElsewhereTag, wire.TagMask}).Draw(rt, "tag"), rapid.StringN(0, 20, -1).Draw(rt, "row"))
				}), 0, n).Draw(rt, "rows")...)
				s.SetForm(wire.FormOf(rapid.ByteRange(0, 7).Draw(rt, "flags")&^1, 0))
			case "column":
				for i := range n {
					s.Arena[i] = rapid.SampledFrom([]byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 0, 3}).Draw(rt, "answer")
				}
				s.SetForm(wire.FormOf(1, rapid.OneOf(rapid.IntRange(1, 16), number).Draw(rt, "size")))
			case "claim":
				f.claim(slot, gen, number.Draw(rt, "limit"), number.Draw(rt, "begun"))
			case "done":
				s.End(gen, small.Draw(rt, "ended"), rapid.OneOf(rapid.IntRange(0, 300), number).Draw(rt, "used"))
			case "word":
				at := rapid.IntRange(0, 15).Draw(rt, "at") * 8
				binary.NativeEndian.PutUint64(f.words(slot)[at:], rapid.Uint64().Draw(rt, "word"))
			case "trim":
				f.c.Trim(flying[slot], rapid.IntRange(-1, n+1).Draw(rt, "from"))
			case "cancel":
				f.c.Cancel(flying[slot])
			case "ring":
				f.ring()
			case "look":
				time.Sleep(time.Duration(rapid.IntRange(0, 2).Draw(rt, "ms")) * time.Millisecond)
			case "news":
				f.say(wire.Frame{
					Kind: wire.News, Slot: byte(rapid.SampledFrom([]backend.Kind{backend.Done, backend.Done, backend.Failed, backend.Started, 9}).Draw(rt, "kind")),
					Batch: rapid.SampledFrom([]uint64{flying[0], flying[1], flying[slot], 99}).Draw(rt, "batch"), Lo: 0 + small.Draw(rt, "lo"), Hi: 1 + small.Draw(rt, "hi"),
					Took: rapid.Int64().Draw(rt, "took"), Body: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "body"), Segments: rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 9), 0, 2).Draw(rt, "segments"),
				})
			case "frame":
				f.say(wire.Frame{Kind: wire.FrameKind(rapid.ByteRange(1, byte(wire.Tidied)).Draw(rt, "frame")), Body: rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(rt, "body")})
			case "noise":
				f.saw(rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(rt, "noise"))
			}
		}
		if rapid.Bool().Draw(rt, "killed") {
			f.c.Kill(errors.New("enough"))
		} else {
			f.part() // as a process does that dies
		}
		select {
		case <-f.heard:
		case <-time.After(patience):
			panic("Recv does not end")
		}
		if errors.Is(f.end, errRetired) {
			f.close()
			return
		}
		f.lost()
	})
}
