//go:build unix

package processes

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/gojoblib/parallel/internal/wire"
)

// forger is a worker that was taken over by what it has read: the test writes what it says. A process that does
// nothing stands for it, to be killed.
type forger struct {
	t     require.TestingT
	c     *carrier
	link  *os.File                // the worker's end
	slots [board.Slots]board.Slot // as the worker sees them
	mem   []byte
	gens  [board.Slots]uint16 // of the batches sent
	ids   uint64

	mu     sync.Mutex
	sizes  map[uint64]int // of the batches sent
	wrong  string         // what Recv has said that it must not
	seen   []backend.Report
	heard  chan struct{} // closed when Recv has ended
	end    error
	parted sync.Once
}

// patience is how long nothing may happen before a test gives up.
const patience = 20 * time.Second

// must stops the test at an error that has nothing to do with it.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// forge starts a worker and a run that it is lent to.
func forge(t require.TestingT, o Options) *forger {
	idler := must(exec.LookPath("cat")) // it reads until nobody holds the pipe that the worker lives by
	p := &pool{Options: o}
	w := &process{pool: p, cpus: 1, users: 2, exited: make(chan struct{}), released: make(chan struct{})}
	near, far, err := socketpair()
	require.NoError(t, err)
	errR, errW, err := os.Pipe()
	require.NoError(t, err)
	lives, life, err := os.Pipe()
	require.NoError(t, err)
	shared, err := anonymous()
	require.NoError(t, err)
	view := func() []byte {
		return must(unix.Mmap(int(shared.Fd()), 0, board.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED))
	}
	w.conn, w.life, w.mem = &conn{duplex: near}, life, view()
	w.proc, err = os.StartProcess(idler, []string{idler}, &os.ProcAttr{Files: []*os.File{lives, errW, errW}, Sys: &syscall.SysProcAttr{Setpgid: true}})
	require.NoError(t, err)
	w.stderr = newTail(errR)
	w.frames = w.reader()
	w.slots = board.View(w.mem)
	w.late = time.AfterFunc(helloWithin, func() { w.kill(errors.New("no hello")) })
	go w.wait()

	f := &forger{t: t, mem: view(), sizes: map[uint64]int{}, heard: make(chan struct{})}
	f.slots = board.View(f.mem)
	link := must(unix.Dup(int(far.Fd())))
	unix.CloseOnExec(link)
	must(0, unix.SetNonblock(link, true))
	f.link = os.NewFile(uintptr(link), "far")
	for _, file := range []*os.File{far, errW, lives, shared} {
		file.Close()
	}
	go func() { // as the end of a process does
		<-w.exited
		f.part()
	}()
	f.c = newCarrier(w)
	go f.hear()
	return f
}

// part closes the worker's end of the link.
func (f *forger) part() { f.parted.Do(func() { f.link.Close() }) }

// hear does what a run does, and checks every report.
func (f *forger) hear() {
	defer close(f.heard)
	for {
		r, err := f.c.Recv()
		f.mu.Lock()
		if err != nil {
			f.end = err
			f.mu.Unlock()
			return
		}
		n, ours := f.sizes[r.Batch]
		switch {
		case !ours:
			f.wrong = fmt.Sprintf("news of batch %d, which was never sent: %+v", r.Batch, r)
		case r.Kind == backend.Trimmed && (r.Lo < 0 || r.Lo > n):
			f.wrong = fmt.Sprintf("a trim to %d of %d calls", r.Lo, n)
		case r.Kind != backend.Trimmed && (r.Lo < 0 || r.Hi <= r.Lo || r.Hi > n):
			f.wrong = fmt.Sprintf("a report of %v for calls [%d,%d) of %d", r.Kind, r.Lo, r.Hi, n)
		case r.Kind < backend.Started || r.Kind > backend.Trimmed:
			f.wrong = fmt.Sprintf("a report of %v", r.Kind)
		case (r.Kind == backend.Started || r.Kind == backend.Failed) && r.Hi != r.Lo+1:
			f.wrong = fmt.Sprintf("a report of %v for calls [%d,%d)", r.Kind, r.Lo, r.Hi)
		case r.Took < 0:
			f.wrong = fmt.Sprintf("calls that took %v", r.Took)
		}
		f.mu.Unlock()
		f.read(r)
		r.Body = bytes.Clone(r.Body)
		f.mu.Lock()
		f.seen = append(f.seen, r)
		f.mu.Unlock()
	}
}

// read reads what was reported, as a run does: it may be damaged, and must do no harm.
func (f *forger) read(r backend.Report) {
	switch r.Kind {
	case backend.Done:
		results, err := wire.ReadResults(r.Body, r.Segments)
		if err != nil {
			return
		}
		_ = wire.ReadColumn(results, make([]int, r.Hi-r.Lo))
		for left := r.Hi - r.Lo; left > 0 && err == nil; left-- {
			var v wire.Value
			if v, err = results.Next(left); err == nil {
				err = wire.ReadValueInto(v, new([]string))
			}
		}
	case backend.Failed:
		_, _, _ = wire.ReadFailure(r.Body)
	}
}

// send hands a batch over; the worker takes it in only as far as the test reads it.
func (f *forger) send(b backend.Batch, n int) (id uint64, slot int) {
	f.ids++
	b.ID, b.N = f.ids, n
	f.mu.Lock()
	f.sizes[b.ID] = n
	f.mu.Unlock()
	b.Body = []byte("calls")
	_ = f.c.Send(b) // an error: it is lost already
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	for i, flight := range f.c.flights {
		if flight != nil && flight.id == b.ID {
			slot = i
		}
	}
	f.gens = f.c.gens
	return b.ID, slot
}

// say sends a frame.
func (f *forger) say(m wire.Frame) {
	var b bytes.Buffer
	must(m.Write(&b, nil))
	f.saw(b.Bytes())
}

// saw sends bytes; when the near end has hung up, nobody reads them.
func (f *forger) saw(b []byte) { _, _ = f.link.Write(b) }

// greet does what a worker does before it is given work.
func (f *forger) greet() {
	f.say(wire.Frame{Kind: wire.Hello})
	f.say(wire.Frame{Kind: wire.Ready})
}

func (f *forger) ring() { f.say(wire.Frame{Kind: wire.Bell}) }

// claim and done write a slot's words.
func (f *forger) claim(slot int, gen uint16, limit, begun int) {
	binary.NativeEndian.PutUint64(f.words(slot), uint64(gen)<<48|uint64(limit)<<24|uint64(begun))
}

// words are those of a slot: claim; on a line of their own ended, took, form.
func (f *forger) words(slot int) []byte { return f.mem[slot*128 : slot*128+128] }

func (f *forger) done(slot int, gen uint16, ended, used int) { f.slots[slot].End(gen, ended, used) }

// rows puts rows where results lie, and returns how much they take.
func (f *forger) rows(slot int, rows ...string) (used int) {
	for _, r := range rows {
		used += copy(f.slots[slot].Arena[used:], r)
	}
	return used
}

// row is the result of a call, or with a tag what it is instead.
func row(tag uint32, body string) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(len(body))|tag)) + body
}

// lost waits for the end of the news, which must be a *Lost, and closes the worker.
func (f *forger) lost() *backend.Lost {
	select {
	case <-f.heard:
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		panic("Recv does not end\n" + string(buf[:runtime.Stack(buf, true)]))
	}
	f.close()
	lost, ok := f.end.(*backend.Lost)
	require.True(f.t, ok, "Recv ended with %v", f.end)
	require.NotNil(f.t, lost.Cause)
	require.NotEmpty(f.t, lost.Error())
	for _, fate := range lost.Batches {
		n, ours := f.sizes[fate.Batch]
		require.True(f.t, ours && fate.Began >= 0 && fate.Began <= n, "the fate of batch %d is %d of %d", fate.Batch, fate.Began, n)
	}
	return lost
}

// close gives the worker up, whatever it does, and checks what was reported.
func (f *forger) close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		must(0, f.c.Close())
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		panic("Close does not return\n" + string(buf[:runtime.Stack(buf, true)]))
	}
	f.c.kill(errors.New("the test has ended"))
	<-f.c.exited
	f.c.pool.retire(f.c.process) // had it been given back
	<-f.c.released
	must(0, unix.Munmap(f.mem))
	require.Empty(f.t, f.wrong)
}

// TestForgedBooksEndTheWorker writes to the board what no worker writes: it ends, with that as the cause, and no report
// is about calls that were not sent.
func TestForgedBooksEndTheWorker(t *testing.T) {
	const n = 10
	books := "its books are wrong"
	for name, c := range map[string]struct {
		forge func(f *forger, slot int, gen uint16)
		want  string
	}{
		"more ended than sent": {func(f *forger, slot int, gen uint16) { f.claim(slot, gen, n+1, n+1); f.done(slot, gen, n+1, 0) }, books},
		"most ended":           {func(f *forger, slot int, gen uint16) { f.done(slot, gen, board.MaxCalls, 0) }, books},
		"ended, not begun":     {func(f *forger, slot int, gen uint16) { f.done(slot, gen, 1, f.rows(slot, row(0, ""))) }, books},
		"used out of range":    {func(f *forger, slot int, gen uint16) { f.claim(slot, gen, n, 1); f.done(slot, gen, 1, board.Arena+1) }, books},
		"used most":            {func(f *forger, slot int, gen uint16) { f.claim(slot, gen, n, 1); f.done(slot, gen, 1, board.MaxCalls) }, books},
		"used goes back": {func(f *forger, slot int, gen uint16) {
			f.claim(slot, gen, n, 2)
			used := f.rows(slot, row(0, "12345678"))
			f.done(slot, gen, 1, used)
			f.await(1)
			f.done(slot, gen, 2, used-1)
		}, books},
		"ended goes back": {func(f *forger, slot int, gen uint16) {
			f.claim(slot, gen, n, 2)
			used := f.rows(slot, row(0, ""), row(0, ""))
			f.done(slot, gen, 2, used)
			f.await(1)
			f.done(slot, gen, 1, used)
		}, books},
		"another generation ended": {func(f *forger, slot int, gen uint16) { f.done(slot, gen+1, 0, 0) }, books},
		"another generation begun": {func(f *forger, slot int, gen uint16) { f.claim(slot, gen-1, n, 1) }, books},
		"all ones":                 {func(f *forger, slot int, _ uint16) { fill(f.words(slot), 0xff) }, books},
		"all zeros":                {func(f *forger, slot int, _ uint16) { fill(f.words(slot), 0) }, books},
		"what was taken back ends": {func(f *forger, slot int, gen uint16) {
			f.claim(slot, gen, n, 2)
			f.c.Trim(1, 3)
			f.await(1)
			f.claim(slot, gen, n, 4)
			f.done(slot, gen, 4, f.rows(slot, row(0, ""), row(0, ""), row(0, ""), row(0, "")))
		}, books},
		"all are begun at a trim": {func(f *forger, slot int, gen uint16) { f.claim(slot, gen, n, board.MaxCalls); f.c.Trim(1, 3) }, books},
		"none is left at a trim": {func(f *forger, slot int, gen uint16) {
			f.claim(slot, gen, n, 4)
			f.done(slot, gen, 4, f.rows(slot, row(0, ""), row(0, ""), row(0, ""), row(0, "")))
			f.await(1)
			f.claim(slot, gen, 0, 0)
			f.c.Trim(1, 5)
		}, books},
		"a row of more than there is": {func(f *forger, slot int, gen uint16) {
			f.claim(slot, gen, n, 1)
			f.done(slot, gen, 1, f.rows(slot, "\xff\xff\xff\x3f1234"))
		}, "it ends too early"},
		"half a row": {func(f *forger, slot int, gen uint16) {
			f.claim(slot, gen, n, 1)
			f.rows(slot, "\x00\x00\x00")
			f.done(slot, gen, 1, 3)
		}, "it ends too early"},
		"a failure too short for its time": {func(f *forger, slot int, gen uint16) {
			f.slots[slot].SetForm(wire.FormOf(wire.ResultFlags(false, true, true), 0))
			f.claim(slot, gen, n, 1)
			f.done(slot, gen, 1, f.rows(slot, row(wire.FailureTag, "1234567")))
		}, "it ends too early"},
		"a column of nothing":     {column(n, 0, 1), "a column of 10 values of 0 bytes"},
		"a column that is large":  {column(n, board.Arena, 1), "a column of 10 values of 2097152 bytes"},
		"a column that is larger": {column(n, math.MaxInt32, 1), "a column of 10 values of 2147483647 bytes"},
		"a column of others":      {column(n, 8, 3), "an answer of kind 3"},
		"a column of no answers":  {column(n, 8, 0), "an answer of kind 0"},
		"a column just too large": {column(n, (board.Arena-16)/n+1, 1), "a column of 10 values"},
		"rows that are in no form": {func(f *forger, slot int, gen uint16) {
			f.slots[slot].SetForm(math.MaxUint64)
			f.claim(slot, gen, n, 1)
			f.done(slot, gen, 1, 0)
		}, "a column of 10 values"},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			f := forge(t, Options{})
			f.greet()
			id, slot := f.send(backend.Batch{Started: true}, n)
			c.forge(f, slot, f.gens[slot])
			f.ring()
			lost := f.lost()
			require.ErrorContains(t, lost, "it sent what no worker sends: ")
			require.ErrorContains(t, lost, c.want)
			crash, ok := errors.AsType[*backend.CrashError](lost)
			require.True(t, ok)
			require.Equal(t, "killed", crash.Signal)
			require.Len(t, lost.Batches, 1)
			require.Equal(t, id, lost.Batches[0].Batch)
		})
	}
}

func fill(b []byte, c byte) {
	for i := range b {
		b[i] = c
	}
}

// column says that results lie in a column.
func column(n, size int, answer byte) func(*forger, int, uint16) {
	return func(f *forger, slot int, gen uint16) {
		f.slots[slot].SetForm(wire.FormOf(wire.ResultFlags(true, false, false), size))
		fill(f.slots[slot].Arena[:n], answer)
		f.claim(slot, gen, n, n)
		f.done(slot, gen, n, 0)
	}
}

// await waits for so many reports.
func (f *forger) await(n int) {
	f.ring()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Microsecond) {
		f.mu.Lock()
		came := len(f.seen)
		f.mu.Unlock()
		select {
		case <-f.heard:
			return
		default:
		}
		if came >= n {
			return
		}
		if time.Now().After(end) {
			panic(fmt.Sprintf("%d reports have come, want %d", came, n))
		}
	}
}

// TestForgedMessagesEndTheWorker sends what no worker sends.
func TestForgedMessagesEndTheWorker(t *testing.T) {
	news := func(kind byte, batch uint64, lo, hi int) []byte {
		var b bytes.Buffer
		must((&wire.Frame{Kind: wire.News, Slot: kind, Batch: batch, Lo: lo, Hi: hi, Body: []byte("\x00")}).Write(&b, nil))
		return b.Bytes()
	}
	frame := func(f wire.Frame) []byte {
		var b bytes.Buffer
		must(f.Write(&b, nil))
		return b.Bytes()
	}
	announces := func(segments uint32, body uint64) []byte {
		b := frame(wire.Frame{Kind: wire.News, Batch: 1})
		binary.LittleEndian.PutUint32(b[4:], segments<<1)
		binary.LittleEndian.PutUint64(b[40:], body)
		return b
	}
	kind := func(k wire.FrameKind) string {
		return fmt.Sprintf("it sent what no worker sends: a message of kind %d", k)
	}
	hello := frame(wire.Frame{Kind: wire.Hello})
	for name, c := range map[string]struct {
		greets bool
		says   []byte
		want   string
	}{
		"a second hello":             {false, append(hello, hello...), kind(wire.Hello)},
		"a hello when it is ready":   {true, hello, kind(wire.Hello)},
		"ready twice":                {true, frame(wire.Frame{Kind: wire.Ready}), kind(wire.Ready)},
		"ready before the hello":     {false, frame(wire.Frame{Kind: wire.Ready}), kind(wire.Ready)},
		"a refusal when it is ready": {true, frame(wire.Frame{Kind: wire.Refuse, Body: wire.AppendError(nil, io.EOF)}), kind(wire.Refuse)},
		"a refusal of garbage":       {false, frame(wire.Frame{Kind: wire.Refuse, Body: []byte("\xffgarbage")}), "damaged message"},
		"a refusal of nothing":       {false, frame(wire.Frame{Kind: wire.Refuse}), "damaged message"},
		"a bell before it is ready":  {false, append(hello, frame(wire.Frame{Kind: wire.Bell})...), kind(wire.Bell)},
		"news before it is ready":    {false, news(byte(backend.Done), 1, 0, 1), kind(wire.News)},
		"an order":                   {true, frame(wire.Frame{Kind: wire.Run, Hi: 3, Body: []byte("x")}), kind(wire.Run)},
		"a setup":                    {true, frame(wire.Frame{Kind: wire.Setup}), kind(wire.Setup)},
		"a bye":                      {true, frame(wire.Frame{Kind: wire.Bye}), kind(wire.Bye)},
		"kind 0":                     {true, bytes.Repeat([]byte{0}, 48), "a forged frame: kind 0"},
		"kind 255":                   {true, bytes.Repeat([]byte{255}, 48), "a forged frame: kind 255"},
		"too large a body":           {true, announces(0, 1<<40+1), "a forged frame"},
		"a body that overflows":      {true, announces(0, math.MaxUint64), "a forged frame"},
		"too many segments":          {true, announces(1<<20+1, 0), "a forged frame"},
		"a segment that overflows":   {true, append(announces(1, 0), bytes.Repeat([]byte{255}, 8)...), "a forged frame: a segment"},
		"a call out of range":        {true, news(byte(backend.Done), 1, 10, 11), "a report of done for calls [10,11) of 10"},
		"a call far out of range":    {true, news(byte(backend.Failed), 1, math.MaxInt32, 0), "a report of failed for calls [2147483647,0)"},
		"no call":                    {true, news(byte(backend.Done), 1, 3, 3), "a report of done for calls [3,3)"},
		"several calls":              {true, news(byte(backend.Done), 1, 0, 10), "a report of done for calls [0,10)"},
		"calls backwards":            {true, news(byte(backend.Done), 1, 5, 4), "a report of done for calls [5,4)"},
		"a start":                    {true, news(byte(backend.Started), 1, 0, 1), "a report of started"},
		"a trim":                     {true, news(byte(backend.Trimmed), 1, 0, 1), "a report of trimmed"},
		"news of kind 0":             {true, news(0, 1, 0, 1), "a report of kind 0"},
		"news of kind 200":           {true, news(200, 1, 0, 1), "a report of kind 200"},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			f := forge(t, Options{})
			if c.greets {
				f.greet()
			}
			f.send(backend.Batch{}, 10)
			f.saw(c.says)
			lost := f.lost()
			require.ErrorContains(t, lost, c.want)
			require.Empty(t, f.seen)
			require.Len(t, lost.Batches, 1)
			require.Zero(t, lost.Batches[0].Began, "none was begun")
		})
	}
}

// TestAnnouncedMemoryIsNotGiven: a worker that has little announces much, and hangs up.
func TestAnnouncedMemoryIsNotGiven(t *testing.T) {
	for name, part := range map[string]int{"at once": 0, "after a little": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			f := forge(t, Options{})
			f.greet()
			f.send(backend.Batch{}, 10)
			b := make([]byte, 48, 48+part)
			b[0] = byte(wire.News)
			binary.LittleEndian.PutUint64(b[40:], 1<<40)
			sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
			metrics.Read(sample)
			before := sample[0].Value.Uint64()
			f.saw(b[:48+part])
			f.part()
			lost := f.lost()
			require.Error(t, lost.Cause)
			metrics.Read(sample)
			require.Less(t, sample[0].Value.Uint64()-before, uint64(64<<20))
		})
	}
}

// TestATrimIsStrongerThanAWorkerThatCounts has a worker that changes the word without end.
func TestATrimIsStrongerThanAWorkerThatCounts(t *testing.T) {
	testkit.Clean(t)
	f := forge(t, Options{})
	f.greet()
	_, slot := f.send(backend.Batch{}, 1000)
	gen := f.gens[slot]
	var stop atomic.Bool
	var worker sync.WaitGroup
	worker.Go(func() {
		for k := 0; !stop.Load(); k++ {
			f.claim(slot, gen, 1000, k%1000)
		}
	})
	for range 100 {
		f.c.Trim(1, 500)
	}
	stop.Store(true)
	worker.Wait()
	f.claim(slot, gen, board.MaxCalls, board.MaxCalls)
	f.c.Trim(1, 1)
	require.ErrorContains(t, f.lost(), "its books are wrong")
}
