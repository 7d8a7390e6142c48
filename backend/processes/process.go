package processes

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/build"
	"github.com/gojoblib/parallel/internal/child"
	"github.com/gojoblib/parallel/internal/wire"
)

const (
	// helloWithin is how long a copy of the program may take to get to parallel.Main, without Init.
	helloWithin = 20 * time.Second
	// byeWithin is how long a worker may take to end, closing what PerWorker has opened.
	byeWithin = 2 * time.Second
	// exitWithin is how long a worker may take to end once its end of the link is closed.
	exitWithin = 2 * time.Second
)

// process is one worker process.
type process struct {
	pool   *pool
	proc   *os.Process
	conn   *conn
	frames *wire.FrameReader
	mem    []byte // the board
	slots  [board.Slots]board.Slot
	life   *os.File // while it is open, so is the worker's right to live
	stderr *tail

	// Of the run that it is lent to, or the pool.
	gens    [board.Slots]uint16 // of the last batches
	cpus    int
	tasks   int         // it was given so far
	arrived bool        // at parallel.Main
	ready   bool        // Init has returned
	rest    *time.Timer // ends its idleness
	memory  memory

	exited   chan struct{} // closed when it has ended and state is known
	released chan struct{} // closed when nothing of it is left

	writing sync.Mutex
	buf     []byte

	mu     sync.Mutex
	users  int              // who may look at the board: the run, and who waits for its end
	reaped bool             // its number may be another's
	state  *os.ProcessState // how it ended
	cause  error            // why it was killed
	late   *time.Timer      // kills it when it does not say hello, or does not end
}

// start starts a worker and does not wait for it.
func start(p *pool, cpus int) (*process, error) {
	w := &process{pool: p, cpus: cpus, users: 2, exited: make(chan struct{}), released: make(chan struct{})}
	if err := w.spawn(environment(p.Env, cpus)); err != nil {
		return nil, err
	}
	w.frames = w.reader()
	w.slots = board.View(w.mem)
	w.await()
	go w.wait()

	setup := p.setup
	setup.Build, setup.CPUs = build.ID(), cpus
	body, err := wire.Append(nil, &setup)
	if err != nil {
		w.kill(err)
	} else {
		_ = w.write(wire.Frame{Kind: wire.Setup, Body: body}) // an error means that it has ended, which will be found out
	}
	return w, nil
}

// await makes sure that the worker gets to Main in time, while somebody is there to see it.
func (w *process) await() {
	w.late = time.AfterFunc(helloWithin, func() {
		w.kill(&finalError{fmt.Errorf("it did not get to parallel.Main within %v; is that the first line of main, and of TestMain?", helloWithin)})
	})
}

// environment is the one of a new worker.
func environment(own []string, cpus int) []string {
	env := append(slices.Clone(own), os.Environ()...) // of two, the first counts
	for _, name := range []string{"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"} {
		if _, ok := os.LookupEnv(name); !ok && !slices.ContainsFunc(own, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			env = append(env, fmt.Sprint(name, "=", cpus))
		}
	}
	return append(env, child.Env+"="+child.EnvValue())
}

// args is what a listing of processes shows.
func args() []string { return []string{os.Args[0] + child.Label} }

// wait takes note of the worker's end, and ends what it has started.
func (w *process) wait() {
	w.awaitExit()
	w.mu.Lock()
	w.killGroup()
	if w.state == nil {
		w.state, _ = w.proc.Wait()
	}
	w.reaped = true
	w.late.Stop()
	w.mu.Unlock()
	w.stderr.end()
	close(w.exited)
	w.pool.retire(w)
	w.drop()
}

// alive reports whether the worker may be given work.
func (w *process) alive() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.reaped && w.cause == nil
}

// kill ends the worker now. The first cause counts.
func (w *process) kill(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killed(cause)
}

// killed is kill for who holds the lock.
func (w *process) killed(cause error) {
	if w.cause == nil {
		w.cause = cause
	}
	if !w.reaped {
		w.killGroup()
	}
}

// end lets the worker end by itself. It is of no use any more.
func (w *process) end() {
	w.pool.mu.Lock()
	w.pool.ends = append(w.pool.ends, w)
	w.pool.mu.Unlock()
	if w.alive() {
		w.mu.Lock()
		w.late.Stop()
		w.late = time.AfterFunc(byeWithin, func() { w.kill(errors.New("it did not end")) })
		w.mu.Unlock()
		if err := w.write(wire.Frame{Kind: wire.Bye}); err != nil {
			w.kill(err)
		}
	}
	w.drop()
}

// drop ends the use of the board by the run, or by who has waited for the worker's end.
func (w *process) drop() {
	w.mu.Lock()
	w.users--
	last := w.users == 0
	w.mu.Unlock()
	if last {
		w.release()
		w.pool.mu.Lock()
		w.pool.ends = slices.DeleteFunc(w.pool.ends, func(other *process) bool { return other == w })
		w.pool.mu.Unlock()
		close(w.released)
	}
}

// share tells the worker how many CPUs to use.
func (w *process) share(cpus int) { _ = w.write(wire.Frame{Kind: wire.Share, Lo: cpus}) }

func (w *process) write(f wire.Frame) (err error) {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.buf, err = f.Write(w.conn, w.buf)
	return err
}

// vouches reports whether the worker has as much memory as it says it sends.
func (w *process) vouches(n int) bool { return int64(n) <= w.resident()+wire.SegmentSize }

// reader returns what reads the worker's messages. None is larger than the worker may be.
func (w *process) reader() *wire.FrameReader {
	r := wire.NewFrameReader(w.conn, w.vouches)
	if most := w.pool.MemoryLimit; most > 0 {
		r.Limit(most + wire.SegmentSize)
	}
	return r
}

// conn is the near end of the link. A deadline wakes whoever reads; in the middle of a frame it is postponed.
type conn struct {
	duplex
	between func() error // sets the next deadline, or says why to go no further
}

// duplex is what the system has for it: a socket, or two pipes.
type duplex interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
}

func (c *conn) Postpone() error { return c.between() }

// tail copies what the worker writes to stderr to the program's, and keeps the last of it.
type tail struct {
	from *os.File
	done chan struct{}

	mu   sync.Mutex
	last []byte
}

// tailSize is how much of stderr is kept.
const tailSize = 96 << 10

func newTail(from *os.File) *tail {
	t := &tail{from: from, done: make(chan struct{})}
	go t.copy(os.Stderr)
	return t
}

func (t *tail) copy(to *os.File) {
	defer close(t.done)
	buf := make([]byte, 64<<10) // a whole pipe: with less, a line would be cut in two, and another worker's come between
	for {
		n, err := t.from.Read(buf)
		if n > 0 {
			t.mu.Lock()
			t.last = append(t.last, buf[:n]...)
			if over := len(t.last) - tailSize; over > 0 {
				t.last = append(t.last[:0], t.last[over:]...)
			}
			t.mu.Unlock()
			_, _ = to.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// end waits for the last of it; a program that the worker has started and that got away may hold it open for ever.
func (t *tail) end() {
	_ = t.from.SetReadDeadline(time.Now().Add(exitWithin))
	select {
	case <-t.done:
	case <-time.After(exitWithin): // nobody reads the program's own stderr
	}
	t.from.Close()
}

// forget drops what was kept.
func (t *tail) forget() {
	t.mu.Lock()
	t.last = t.last[:0]
	t.mu.Unlock()
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.last), "\uFFFD")
}
