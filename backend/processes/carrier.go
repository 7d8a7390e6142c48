package processes

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/wire"
)

// carrier is a worker process lent to a run. News comes from two places: the link, and the board, which is looked at
// when the worker rings the bell and, while a batch runs, now and then.
type carrier struct {
	*process
	raw []byte // what was last copied from it

	// Guarded by process.mu, like the board's claims.
	look    time.Duration // until the next look at the board
	room    sync.Cond     // a flight has ended, or the worker is gone
	flights [board.Slots]*flight
	news    []backend.Report
	closed  bool // by the run
	retired bool // the worker is to be renewed
	ended   bool // Recv has said that the worker is gone
	hears   bool // Recv is under way
}

// flight is a batch in the worker's hands.
type flight struct {
	id        uint64
	gen       uint16
	n         int
	limit     int          // calls from here on were taken back
	told      int          // calls below it are known to have ended
	used      int          // of the arena, by those
	begun     int          // calls below it were seen to have begun
	moved     time.Time    // when the board last said something new of it, or it came to be the first in the worker's hands
	elsewhere map[int]bool // calls whose answers come over the link: true, if the answer is there and the board does not say so yet
	starts    bool
	wrong     bool // what the board says of it is forged, and was read once
	timeout   time.Duration
	started   int       // starts below it were told
	since     time.Time // it was sent, or the batch before it ended
}

// over reports whether the run knows all about the flight.
func (f *flight) over() bool { return f.told >= f.limit && len(f.elsewhere) == 0 }

// went notes that the board says of call k that its answer comes over the link.
func (f *flight) went(k int) {
	if f.elsewhere[k] {
		delete(f.elsewhere, k)
		return
	}
	if f.elsewhere == nil {
		f.elsewhere = map[int]bool{}
	}
	f.elsewhere[k] = false
}

// came notes that the answer of call k has come over the link; false: no worker sends it now.
func (f *flight) came(k int) bool {
	early, due := f.elsewhere[k]
	switch {
	case due && !early:
		delete(f.elsewhere, k)
		return true
	case due || k < f.told || k >= f.limit:
		return false
	}
	if f.elsewhere == nil {
		f.elsewhere = map[int]bool{}
	}
	f.elsewhere[k] = true
	return true
}

const (
	lookMin = 2 * time.Millisecond
	lookMax = 20 * time.Millisecond
)

func newCarrier(w *process) *carrier {
	c := &carrier{process: w, look: lookMin}
	c.room.L = &w.mu
	w.conn.between = c.between
	w.stderr.forget()
	return c
}

// errRetired is why a worker is gone that has run MaxTasks, or leaks.
var errRetired = errors.New("the worker was to be renewed")

// Send hands a batch over.
func (c *carrier) Send(b backend.Batch) error {
	if b.N < 1 || b.N > board.MaxCalls {
		return fmt.Errorf("a batch of %d calls", b.N)
	}
	f := &flight{id: b.ID, n: b.N, limit: b.N, starts: b.Started, timeout: b.Timeout, since: time.Now(), moved: time.Now()}
	c.mu.Lock()
	slot := -1
	for {
		switch {
		case c.cause != nil:
			defer c.mu.Unlock()
			return c.cause
		case c.reaped || c.ended || c.closed || c.retired:
			c.mu.Unlock()
			return errors.New("the worker is gone")
		}
		for i, other := range c.flights {
			if other == nil && !c.memory.heavy {
				slot = i
			}
		}
		if slot >= 0 {
			break
		}
		c.room.Wait()
	}
	c.gens[slot]++
	f.gen = c.gens[slot]
	c.slots[slot].Open(f.gen, b.N)
	c.flights[slot] = f
	c.tasks += b.N
	if most := c.pool.MaxTasks; most > 0 && c.tasks > most {
		c.trim(slot, f, b.N-(c.tasks-most))
	}
	c.look = lookMin
	_ = c.conn.SetReadDeadline(time.Now().Add(c.look)) // whoever waits in Recv has something to look at
	none := f.limit == 0
	c.mu.Unlock()
	if none {
		return nil // all of it was taken back
	}

	frame := wire.Frame{Kind: wire.Run, Slot: byte(slot), Flag: b.Started, Gen: f.gen, Hi: b.N, Batch: b.ID, Took: int64(b.Timeout), Body: b.Body, Segments: b.Segments}
	if !b.Deadline.IsZero() {
		frame.Deadline = b.Deadline.UnixNano()
	}
	return c.write(frame) // an error means that the worker has closed its end, as Recv finds out
}

// Recv returns the next news.
func (c *carrier) Recv() (backend.Report, error) {
	c.mu.Lock()
	c.hears = true
	c.mu.Unlock()
	r, err := c.next()
	c.mu.Lock()
	c.hears = false
	if err != nil && err != io.EOF {
		c.ended = true
	}
	c.room.Broadcast()
	c.mu.Unlock()
	return r, err
}

func (c *carrier) next() (backend.Report, error) {
	for {
		c.mu.Lock()
		switch {
		case len(c.news) > 0:
			r := c.news[0]
			c.news = c.news[1:]
			c.mu.Unlock()
			return r, nil
		case c.closed:
			c.mu.Unlock()
			return backend.Report{}, io.EOF
		case (c.memory.leaks || c.pool.MaxTasks > 0 && c.tasks >= c.pool.MaxTasks) && c.idle():
			c.retired = true
			c.mu.Unlock()
			return backend.Report{}, &backend.Lost{Cause: errRetired}
		}
		var until time.Time
		ask := false
		switch {
		case !c.idle():
			until = time.Now().Add(c.look)
		case c.memory.heavy:
			until, ask = c.tidy()
		}
		_ = c.conn.SetReadDeadline(until)
		c.mu.Unlock()
		if ask {
			_ = c.write(wire.Frame{Kind: wire.Tidy}) // an error means that the worker has closed its end
		}

		f, err := c.frames.Next()
		switch {
		case err == nil:
			c.take(f)
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.glance()
			c.weigh()
		default:
			return c.last(err)
		}
	}
}

// errHalf is why reading ends in the middle of a frame.
var errHalf = errors.New("half a message")

// between is called when a frame takes long to come in.
func (c *carrier) between() error {
	c.glance()
	c.weigh()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errHalf
	}
	return c.conn.SetReadDeadline(time.Now().Add(c.look))
}

// last returns what is left of a worker that has closed its end of the link: news from the board, then its death.
func (c *carrier) last(err error) (backend.Report, error) {
	if errors.Is(err, errHalf) {
		c.kill(errHalf)
		return backend.Report{}, io.EOF // the run has closed it already
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		c.kill(&forgedError{err})
	}
	patience := time.AfterFunc(exitWithin, func() { c.kill(errClosed) })
	<-c.exited
	patience.Stop()
	c.glance()
	c.mu.Lock()
	if len(c.news) > 0 {
		r := c.news[0]
		c.news = c.news[1:]
		c.mu.Unlock()
		return r, nil // the link says again that it is closed
	}
	c.mu.Unlock()
	return backend.Report{}, c.gone()
}

// idle reports whether nothing is in the worker's hands. The caller holds the lock.
func (c *carrier) idle() bool {
	for _, f := range c.flights {
		if f != nil {
			return false
		}
	}
	return true
}

// take takes in a message of the worker.
func (c *carrier) take(f wire.Frame) {
	switch {
	case !c.arrived && f.Kind == wire.Hello:
		c.arrived = true
		c.mu.Lock()
		c.late.Stop()
		c.mu.Unlock()
	case c.arrived && !c.ready && f.Kind == wire.Ready:
		c.ready = true
		c.pool.warn(string(f.Body))
	case !c.ready && f.Kind == wire.Refuse:
		err, _, bad := wire.ReadError(f.Body)
		if err == nil {
			c.kill(forged("a refusal without a reason: %v", bad))
			return
		}
		c.kill(&finalError{wire.Sound(err)})
	case c.ready && f.Kind == wire.Bell:
		c.glance()
		c.weigh()
	case c.ready && f.Kind == wire.News:
		c.report(f)
	case c.ready && f.Kind == wire.Tidied && !c.memory.asked.IsZero():
		c.tidied()
	default:
		c.kill(forged("a message of kind %d", f.Kind))
	}
}

// report passes a report on that has come over the link.
func (c *carrier) report(m wire.Frame) {
	kind := backend.Kind(m.Slot)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, f := range c.flights {
		if f == nil || f.id != m.Batch {
			continue
		}
		if kind != backend.Done && kind != backend.Failed || m.Lo < 0 || m.Hi != m.Lo+1 || m.Hi > f.n {
			c.killed(forged("a report of %v for calls [%d,%d) of %d", kind, m.Lo, m.Hi, f.n))
			return
		}
		if !f.came(m.Lo) {
			c.killed(forged("a report for call %d, of which the board says otherwise", m.Lo))
			return
		}
		c.news = append(c.news, backend.Report{Batch: f.id, Kind: kind, Lo: m.Lo, Hi: m.Hi, Took: time.Duration(max(0, min(m.Took, int64(time.Since(f.since))))), Body: m.Body, Segments: m.Segments})
		c.land(i, f)
		return
	}
	c.killed(forged("a report for batch %d, which it was not given", m.Batch))
}

// glance takes in what the board says. Only Recv does.
func (c *carrier) glance() {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := len(c.news)
	if was == 0 {
		c.raw = c.raw[:0]
	}
	// The worker goes from one batch to the next, also while this looks: it looks at the last batch first, so that it never
	// sees one further than what it then sees of the one before, and tells what it saw in the worker's order.
	var room [board.Slots]int
	slots := room[:0]
	for i, f := range c.flights {
		if f != nil {
			slots = append(slots, i)
		}
	}
	slices.SortFunc(slots, func(i, j int) int { return cmp.Compare(c.flights[i].id, c.flights[j].id) })
	var seen [board.Slots]sight
	for _, i := range slices.Backward(slots) {
		seen[i].st, seen[i].ok = c.slots[i].Look(c.flights[i].gen)
	}
	for _, i := range slots {
		c.read(i, c.flights[i], seen[i])
	}
	if len(c.news) > was {
		c.look = lookMin
	} else {
		c.look = min(2*c.look, lookMax)
	}
	for _, f := range c.flights {
		if f != nil && f.timeout > 0 {
			c.look = min(c.look, max(f.timeout/8, time.Millisecond))
		}
	}
}

// sight is what a look at a slot of the board has shown.
type sight struct {
	st board.State
	ok bool
}

// read takes in what was seen of one batch on the board. Whatever the worker has written there, it harms nobody.
func (c *carrier) read(slot int, f *flight, seen sight) {
	if f.wrong {
		return
	}
	st, ok := seen.st, seen.ok
	if !ok || st.Ended < f.told || st.Ended > f.limit || st.Begun < st.Ended || st.Used < f.used || st.Used > board.Arena {
		f.wrong = true
		c.killed(forged("its books are wrong: %+v of %d calls, of which %d had ended", st, f.limit, f.told))
		return
	}
	if st.Begun > f.begun || st.Ended > f.told {
		f.moved = time.Now()
	}
	f.begun = max(f.begun, min(st.Begun, f.limit))
	if c.ready && f.timeout > 0 && st.Begun == st.Ended && st.Begun < f.limit && c.first(f) && time.Since(f.moved) > f.timeout+stuckAfter {
		c.killed(errStuck)
		return
	}
	if st.Ended > f.told {
		var err error
		if isColumn, _, size := wire.Form(st.Form); isColumn {
			err = c.readColumn(slot, f, st, size)
		} else {
			err = c.readRows(slot, f, st)
		}
		if err != nil {
			f.wrong = true
			c.killed(err)
			return
		}
		if f.told = st.Ended; f.told == f.limit {
			for k, early := range f.elsewhere {
				if early {
					f.wrong = true
					c.killed(forged("two answers for call %d", k))
					return
				}
			}
			took := time.Duration(st.Took) // what the worker says, once it has; else it is nearly what has passed
			if took <= 0 || took > time.Since(f.since) {
				took = time.Since(f.since)
			}
			c.charge(f, took)
		}
	}
	if f.starts && st.Begun > st.Ended && st.Begun > f.started && st.Begun <= f.limit {
		f.started = st.Begun
		c.news = append(c.news, backend.Report{Batch: f.id, Kind: backend.Started, Lo: st.Begun - 1, Hi: st.Begun})
	}
	c.land(slot, f)
}

// first reports whether the worker has no other batch before f.
func (c *carrier) first(f *flight) bool {
	for _, other := range c.flights {
		if other != nil && other != f && other.id < f.id {
			return false
		}
	}
	return true
}

// errStuck is why a worker is killed that does not begin a call, as one that was stopped: it would outlive any Timeout.
var errStuck = errors.New("it has stopped between two tasks")

// stuckAfter is how long, beyond the Timeout of a call, a worker may take to begin one.
const stuckAfter = time.Second

// charge says in the last report of a batch how long its calls have taken.
func (c *carrier) charge(f *flight, took time.Duration) {
	for i := len(c.news) - 1; i >= 0; i-- {
		if r := &c.news[i]; r.Batch == f.id && (r.Kind == backend.Done || r.Kind == backend.Failed) {
			if r.Took == 0 {
				r.Took = max(took, 1)
			}
			return
		}
	}
}

// land ends a flight of which all is known. The caller holds the lock.
func (c *carrier) land(slot int, f *flight) {
	if !f.over() {
		return
	}
	c.flights[slot] = nil
	for _, other := range c.flights {
		if other != nil {
			other.since = time.Now()
			other.moved = other.since
		}
	}
	c.room.Broadcast()
}

// copied returns a copy of a piece of the arena, with a free byte before it. It is good until the next glance.
func (c *carrier) copied(piece []byte) []byte {
	at := len(c.raw)
	c.raw = append(append(c.raw, 0), piece...)
	return c.raw[at:len(c.raw):len(c.raw)]
}

// readColumn takes in results that lie in a column.
func (c *carrier) readColumn(slot int, f *flight, st board.State, size int) error {
	arena := c.slots[slot].Arena
	at := board.Column(f.n)
	if size <= 0 || at > len(arena) || size > (len(arena)-at)/f.n {
		return forged("a column of %d values of %d bytes", f.n, size)
	}
	answered := c.copied(arena[f.told:st.Ended])[1:]
	for lo := 0; lo < len(answered); {
		hi := lo + 1
		for hi < len(answered) && answered[hi] == answered[lo] {
			hi++
		}
		switch answered[lo] {
		case wire.ColumnResult:
			from, to := f.told+lo, f.told+hi
			body := c.copied(arena[at+from*size : at+to*size])
			body[0] = wire.ResultFlags(true, false, false)
			c.news = append(c.news, backend.Report{Batch: f.id, Kind: backend.Done, Lo: from, Hi: to, Body: body})
		case wire.ColumnElsewhere:
			for k := lo; k < hi; k++ {
				f.went(f.told + k)
			}
		default:
			return forged("an answer of kind %d", answered[lo])
		}
		lo = hi
	}
	return nil
}

// readRows takes in results that lie one after the other.
func (c *carrier) readRows(slot int, f *flight, st board.State) error {
	piece := c.copied(c.slots[slot].Arena[f.used:st.Used])
	_, isTimed, _ := wire.Form(st.Form)
	flags := wire.ResultFlags(false, isTimed, true)
	rows := piece[1:]
	from, start, at := f.told, 0, 0 // of the results not passed on yet; of the next row
	flush := func(to int) {
		if to > from {
			body := piece[start : 1+at]
			if start > 0 {
				body = append([]byte{flags}, body[1:]...)
			}
			body[0] = flags
			c.news = append(c.news, backend.Report{Batch: f.id, Kind: backend.Done, Lo: from, Hi: to, Body: body})
		}
	}
	for k := f.told; k < st.Ended; k++ {
		if at == len(rows) { // there was no more room
			flush(k)
			for ; k < st.Ended; k++ {
				f.went(k)
			}
			f.used = st.Used
			return nil
		}
		tag, row, next, err := wire.CutRow(rows, at)
		if err != nil {
			return &forgedError{err}
		}
		if tag != 0 {
			flush(k)
			switch tag {
			case wire.FailureTag:
				took, body, err := wire.ReadRow(row, isTimed)
				if err != nil {
					return &forgedError{err}
				}
				c.news = append(c.news, backend.Report{Batch: f.id, Kind: backend.Failed, Lo: k, Hi: k + 1, Took: took, Body: body})
			case wire.ElsewhereTag:
				f.went(k)
			default:
				return forged("a row of kind %#x", tag)
			}
			from, start = k+1, next
		}
		at = next
	}
	flush(st.Ended)
	f.used = st.Used
	return nil
}

// Trim takes calls back, without asking the worker.
func (c *carrier) Trim(batch uint64, from int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.ended || c.reaped {
		return
	}
	for i, f := range c.flights {
		if f != nil && f.id == batch {
			c.trim(i, f, max(from, 0))
			_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // there is news
			return
		}
	}
}

// trim takes the calls from from on back. The caller holds the lock.
func (c *carrier) trim(slot int, f *flight, from int) {
	limit, ok := c.slots[slot].Trim(f.gen, from)
	if !ok || limit < f.told || limit > f.limit {
		c.killed(forged("its books are wrong: it has begun %d calls of %d", limit, f.limit))
		return
	}
	c.tasks -= f.limit - limit
	f.limit = limit
	c.news = append(c.news, backend.Report{Batch: f.id, Kind: backend.Trimmed, Lo: limit})
	c.land(slot, f)
}

// Cancel ends the contexts of a batch's calls.
func (c *carrier) Cancel(batch uint64) {
	c.mu.Lock()
	dead := c.closed || c.reaped
	c.mu.Unlock()
	if !dead {
		_ = c.write(wire.Frame{Kind: wire.Cancel, Batch: batch})
	}
}

// Kill ends the worker.
func (c *carrier) Kill(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || cause == backend.ErrTimeout && !c.overdue() {
		return
	}
	c.killed(cause)
}

// overdue takes back what the worker has not begun and reports whether the call that was last told to have begun still runs: it
// may have returned since, and then the next one would die in its place. The caller holds the lock.
func (c *carrier) overdue() (late bool) {
	for i, f := range c.flights {
		if f == nil {
			continue
		}
		c.trim(i, f, 0)
		if st, ok := c.slots[i].Look(f.gen); !ok || f.started > st.Ended {
			late = true
		}
	}
	_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // there is news
	return late
}

// Close gives the worker back to the program's.
func (c *carrier) Close() error {
	c.mu.Lock()
	c.closed = true
	for c.hears {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
		c.room.Wait()
	}
	spoiled := c.ended && !c.retired || !c.idle()
	c.mu.Unlock()
	c.room.Broadcast()
	switch {
	case spoiled:
		if c.alive() {
			c.kill(errors.New("it was closed with calls in its hands"))
		}
		c.drop()
	default:
		c.pool.giveBack(c.process)
	}
	return nil
}
