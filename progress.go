package parallel

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"weak"

	"github.com/gojoblib/parallel/internal/dispatch"
	"golang.org/x/term"
)

// Progress shows on w how far the run is: tqdm. On a terminal that is a line, drawn eight times a second from an eighth
// of a second on, with what has been done of how much, the time it has taken and will take, the rate, failed tasks and
// workers at work:
//
//	Map(main.resize)  45%|█████████           | 450/1000 [00:12<00:15, 37.2/s, 2 failed, 4 running]
//
// Streams do not know how much there is: they show a count and a rate. On anything else (a file, a pipe, TERM=dumb) it
// is a line of plain text after 5, 10, 20 and 40 seconds and then every minute. Either way a last line stays when the
// run ends, with what failed and, if the run was stopped, what was not run; it is exact. What is done is counted chunk
// by chunk: with BatchSize(100) the bar moves in hundreds.
//
// A w of one's own is taken for a terminal if it has a method TerminalSize() (columns, rows int), which is asked for
// every redraw. Lines are as long as it is wide: names are shortened, and what matters least is left out.
//
// Runs that share w, or terminals that are one (but /dev/tty counts as another), have a line each, and do not garble each
// other; what the program itself
// prints meanwhile does, unless it goes through a [ProgressWriter]. As a default, from With or a pool's options, Progress
// is for the runs of the program, not for those that their tasks start: ten thousand short bars inside a long one would
// only flicker. A task that wants one gives the option to its run.
//
// w is written to by a goroutine of its own, never by a worker, and each line or redraw is one Write. That goroutine
// asks the run for what it counts anyway: a task pays nothing. Where a method of w returns an error or panics, that is
// the end of the lines, and nothing else. Where one blocks the run goes on; its end waits at most 250 ms for the last
// line, and not at all for a w that has blocked so long already. Otherwise w is not written to after the run. There are
// at most ten writes per second, not counting those of runs that end and of a ProgressWriter.
func Progress(w io.Writer) Option {
	return option{optProgress, func(c *config) {
		switch {
		case isNil(w):
			c.fault("Progress(nil): give a writer, as os.Stderr, or leave the option out")
		case c.foreign: // a default for those who started the task that starts this run
		default:
			c.progress = w
		}
	}}
}

const (
	drawEvery  = 125 * time.Millisecond
	drawWithin = 250 * time.Millisecond // a run's end waits so long for its last line
	maxLines   = 8                      // of runs at the same time
	maxLast    = 100                    // last lines that wait for a writer that blocks
)

// plainAt is when a run's line is due where there is no terminal; later every plainEvery.
var plainAt = [...]time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second}

const plainEvery = time.Minute

// outlet is a writer, and what is known of it.
type outlet struct {
	w      io.Writer
	size   func() (cols, rows int, ok bool) // of the terminal; nil: there is none
	file   os.FileInfo                      // of the terminal
	moves  bool                             // the cursor can go up
	blocks bool                             // the terminal shows █
}

// screen shows runs on one writer, or one terminal:
//
//	run ── add ──> bars ── end ──> last lines
//	                 └── lines ──────┴── 8 times a second, and when a run ends ──> canvas
//
// It lasts from the first run's beginning to the last one's end.
type screen struct {
	outlet
	canvas *canvas
	wake   chan struct{}
	gone   chan struct{}

	mu     sync.Mutex // held for no call of w's methods
	bars   []*bar
	last   []ending        // not written yet
	shown  []chan struct{} // closed when they are
	since  time.Time       // a turn has not come to its end since then
	broken bool            // w has failed
}

// screens are those in use.
var screens struct {
	sync.Mutex
	open     []*screen
	canvases []weak.Pointer[canvas] // those of a ProgressWriter
}

// show puts a run on the screen of w; over takes it off, when it has ended, and leaves its last line there.
func show(w io.Writer, label string, counts func() dispatch.Counts) (over func()) {
	b := &bar{label: label, counts: counts, began: time.Now()}
	b.at = b.began
	s := screenOf(w, b)
	return func() { s.end(b) }
}

// screenOf returns the screen of w with another bar.
func screenOf(w io.Writer, b *bar) *screen {
	fresh := newScreen(w)
	screens.Lock()
	defer screens.Unlock()
	for _, s := range screens.open {
		if s.same(fresh) {
			s.mu.Lock()
			s.bars = append(s.bars, b)
			s.mu.Unlock()
			return s
		}
	}
	fresh.canvas = canvasOf(&fresh.outlet)
	fresh.bars = append(fresh.bars, b)
	screens.open = append(screens.open, fresh)
	go fresh.loop()
	return fresh
}

func newScreen(w io.Writer) *screen {
	return &screen{outlet: outletOf(w), wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

func outletOf(w io.Writer) outlet {
	if p, ok := w.(*printer); ok {
		return p.outlet
	}
	o := outlet{w: w}
	if t, ok := w.(interface{ TerminalSize() (columns, rows int) }); ok {
		o.size = func() (int, int, bool) {
			cols, rows := t.TerminalSize()
			return cols, rows, true
		}
		o.moves, o.blocks = true, true
		return o
	}
	f, ok := w.(interface {
		syscall.Conn
		Stat() (os.FileInfo, error)
	})
	if !ok || os.Getenv("TERM") == "dumb" {
		return o
	}
	size := func() (cols, rows int, ok bool) {
		conn, err := f.SyscallConn() // unlike Fd, it leaves the file as it is
		if err != nil {
			return 0, 0, false
		}
		err = conn.Control(func(fd uintptr) {
			if ok = term.IsTerminal(int(fd)); ok {
				cols, rows, _ = term.GetSize(int(fd))
			}
		})
		return cols, rows, ok && err == nil
	}
	if _, _, ok := size(); ok {
		o.size = size
		o.file, _ = f.Stat()
		o.moves, o.blocks = runtime.GOOS != "windows", runtime.GOOS == "windows" || utf8Locale()
	}
	return o
}

// utf8Locale reports whether the environment says that text is UTF-8.
func utf8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(os.Getenv(name)); v != "" {
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return false
}

// same reports whether two screens are one.
func (s *screen) same(other *screen) bool { return s.outlet.same(&other.outlet) }

func (o *outlet) same(other *outlet) bool {
	if o.file != nil && other.file != nil {
		return os.SameFile(o.file, other.file)
	}
	return reflect.ValueOf(o.w).Comparable() && o.w == other.w
}

// ask returns the size of the terminal, no columns where there is none; false: the writer has failed.
func (o *outlet) ask() (cols, rows int, ok bool) {
	if o.size == nil {
		return 0, 0, true
	}
	ok = survived(func() (err error) {
		var tty bool
		switch cols, rows, tty = o.size(); {
		case !tty:
			cols = 0
		case cols <= 0 || rows <= 0:
			cols, rows = 80, 25
		}
		return nil
	})
	return cols, rows, ok
}

// survived calls a method of a writer, and reports whether that has gone well.
func survived(f func() error) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return f() == nil
}

// end takes a bar off.
func (s *screen) end(b *bar) {
	e := ending{b.label, b.counts(), time.Since(b.began)}
	shown := make(chan struct{})
	s.mu.Lock()
	s.bars = slices.DeleteFunc(s.bars, func(other *bar) bool { return other == b })
	s.last = append(s.last, e)
	stuck := !s.since.IsZero() && time.Since(s.since) >= drawWithin
	if stuck && len(s.last) > maxLast {
		s.last = s.last[1:]
	}
	s.shown = append(s.shown, shown)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	if stuck {
		return
	}
	late := time.NewTimer(drawWithin)
	defer late.Stop()
	select {
	case <-shown:
	case <-s.gone:
	case <-late.C:
	}
}

// loop draws until there is nothing left to draw.
func (s *screen) loop() {
	tick := time.NewTicker(drawEvery)
	defer func() {
		tick.Stop()
		s.leave(true) // the writer may have ended the goroutine
		close(s.gone)
	}()
	for {
		select {
		case <-s.wake:
		case <-tick.C:
		}
		shown := s.turn()
		if s.leave(false) {
			return // nobody hears of it before the goroutine is gone
		}
		for _, c := range shown {
			close(c)
		}
	}
}

// leave removes the screen if nobody needs it any more, or anyway.
func (s *screen) leave(anyway bool) bool {
	screens.Lock()
	defer screens.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !anyway && len(s.bars)+len(s.last) > 0 {
		return false
	}
	screens.open = slices.DeleteFunc(screens.open, func(other *screen) bool { return other == s })
	return true
}

// turn writes what there is to write, and returns those who wait for it. The writer's methods may take their time,
// panic, or end the goroutine: no lock is held then that a run needs.
func (s *screen) turn() (shown []chan struct{}) {
	s.mu.Lock()
	s.since = time.Now()
	ok := !s.broken
	s.mu.Unlock()
	defer func() {
		if !ok {
			s.canvas.forget()
		}
		s.mu.Lock()
		s.since, s.broken = time.Time{}, !ok
		s.mu.Unlock()
	}()
	if !ok {
		_, _, shown = s.take(0, 0)
		return shown
	}
	ok = false
	cols, rows, sized := s.ask()
	last, lines, shown := s.take(cols, rows)
	ok = sized && s.canvas.show(s.w, last, lines, cols)
	return shown
}

// take returns the last lines of runs that have ended, with those who wait for them, and the lines of the others that
// are due; cols is 0 where there is no terminal. It asks the runs while nobody has to wait for a canvas: they may be
// waiting for a task that prints there.
func (s *screen) take(cols, rows int) (last, lines []string, shown []chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if cols > 0 {
		cols-- // some terminals begin a new line in the last column
		for _, e := range s.last {
			last = append(last, e.line(cols, s.blocks))
		}
		lines = s.lines(now, cols, rows)
	} else {
		for _, e := range s.last {
			last = append(last, e.plainLine())
		}
		for _, bar := range s.bars {
			if line := bar.plainLine(now); line != "" {
				lines = append(lines, line)
			}
		}
	}
	shown = s.shown
	s.last, s.shown = nil, nil
	return last, lines, shown
}

// lines returns the lines of the runs that are under way.
func (s *screen) lines(now time.Time, cols, rows int) (lines []string) {
	most := max(1, min(maxLines, rows-1))
	if !s.moves {
		most = 1
	}
	for i, b := range s.bars {
		more := ""
		if n := len(s.bars) - i; n > 1 && most == 1 {
			more = fmt.Sprintf(" and %d more", n-1)
		} else if n > 1 && i == most-1 {
			return append(lines, whole(fmt.Sprintf("and %d more", n), cols, s.blocks))
		}
		if len(more) > cols/3 {
			more = ""
		}
		lines = append(lines, b.line(now, cols-len(more), s.blocks)+more)
		if len(lines) == most {
			break
		}
	}
	return lines
}

// canvas is what a terminal shows of runs, and the turn to write there. The bars are the lines at the bottom, and the
// cursor stands behind the last of them: whoever writes goes back to the first, writes what is to stay, which are the
// last lines of runs and the lines of a ProgressWriter, and has the bars again below. It lasts as long as a screen or a
// ProgressWriter has it.
type canvas struct {
	outlet      // to be found by
	kept   bool // in screens.canvases

	sync.Mutex            // held by who writes
	frame      string     // the bars there; none, where there is no terminal
	cols       int        // there were then
	open       bool       // the cursor stands behind what a ProgressWriter has printed
	holding    []*printer // may have text that waits until there are no bars
}

// canvasOf returns the canvas of an outlet. The caller holds the lock of the screens.
func canvasOf(o *outlet) (found *canvas) {
	for _, s := range screens.open {
		if s.outlet.same(o) {
			found = s.canvas
		}
	}
	screens.canvases = slices.DeleteFunc(screens.canvases, func(p weak.Pointer[canvas]) bool {
		c := p.Value()
		if c != nil && c.same(o) {
			found = c
		}
		return c == nil
	})
	if found == nil {
		found = &canvas{outlet: *o}
	}
	return found
}

// show writes last lines and draws the others below; false: the writer has failed.
func (c *canvas) show(w io.Writer, last, lines []string, cols int) (ok bool) {
	c.Lock()
	defer c.Unlock()
	defer c.release()
	if cols == 0 {
		c.frame = ""
		return write(w, strings.Join(append(last, append(lines, "")...), "\n"))
	}
	frame := strings.Join(lines, "\n")
	text := c.next(last, lines, cols)
	c.frame = "" // unless it goes well
	if ok = write(w, text); ok {
		c.frame, c.cols, c.open = frame, cols, c.open && text == ""
	}
	return ok
}

// write makes one Write, if there is something to write; false: it has failed.
func write(w io.Writer, text string) (ok bool) {
	return text == "" || survived(func() error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// next returns what makes the terminal show these lines; nothing, when it does.
func (c *canvas) next(last, lines []string, cols int) string {
	if len(last) == 0 && strings.Join(lines, "\n") == c.frame {
		return ""
	}
	below := len(lines) == 0
	lines = slices.Concat(last, lines)
	if below {
		lines = append(lines, "") // the cursor goes to the line below
	}
	if c.moves {
		return c.back(cols) + strings.Join(lines, "\x1b[K\n") + "\x1b[J"
	}
	lines[0] += strings.Repeat(" ", max(0, width(c.frame)-width(lines[0]))) // it covers what was there
	return c.back(cols) + strings.Join(lines, "\n")
}

// back returns what brings the cursor to where the bars begin. Where the terminal has become narrower since they were
// drawn, it has made several lines of one: all but a few old ones do.
func (c *canvas) back(cols int) string {
	if c.frame == "" && c.open {
		return "\n"
	}
	if up := wraps(c.frame, cols); up > 0 && c.moves {
		return fmt.Sprintf("\r\x1b[%dA", up)
	}
	return "\r"
}

// clear returns what makes the bars disappear.
func (c *canvas) clear(cols int) string {
	switch {
	case c.frame == "":
		return ""
	case c.moves:
		return c.back(cols) + "\x1b[J"
	}
	return "\r" + strings.Repeat(" ", width(c.frame)) + "\r"
}

// forget is for bars that nobody draws any more.
func (c *canvas) forget() {
	c.Lock()
	defer c.Unlock()
	c.frame = ""
	c.release()
}

// release lets everybody print what waits until there are no bars. The caller has the turn.
func (c *canvas) release() {
	if c.frame != "" {
		return
	}
	waiting := c.holding
	c.holding = nil
	for _, p := range waiting {
		if len(p.held) > 0 {
			survived(func() error { _, err := p.put(nil); return err })
		}
	}
}

// ProgressWriter returns a writer that prints on w beside the bars of Progress: tqdm.write. It is for whatever prints
// while runs go on, as in
//
//	log.SetOutput(parallel.ProgressWriter(os.Stderr))
//
// While there are bars on the terminal that w is, lines go above them. What lacks its line's end is held until that
// comes, or until there are no bars left. At all other times, and where w is no terminal, everything goes straight to w.
//
// It may be used concurrently, also with others of the same terminal and with Progress, even if w may not. A Write is
// one Write of w: it blocks as long as that does, and returns its error. So nothing is lost when the program exits, but
// for what is held. Where w fails to take that it comes again with the next Write. ProgressWriter(nil) panics.
func ProgressWriter(w io.Writer) io.Writer {
	if isNil(w) {
		panic("parallel: ProgressWriter(nil): give a writer, as os.Stderr")
	}
	p := &printer{outlet: outletOf(w)}
	screens.Lock()
	defer screens.Unlock()
	p.canvas = canvasOf(&p.outlet)
	if !p.canvas.kept {
		p.canvas.kept = true
		screens.canvases = append(screens.canvases, weak.Make(p.canvas))
	}
	return p
}

// printer writes beside bars.
type printer struct {
	outlet
	canvas *canvas
	held   []byte // the canvas's lock guards it
}

func (p *printer) Write(b []byte) (int, error) {
	p.canvas.Lock()
	defer p.canvas.Unlock()
	if p.canvas.frame == "" {
		return p.put(b)
	}
	end := bytes.LastIndexByte(b, '\n') + 1
	if end > 0 {
		if n, err := p.put(b[:end]); err != nil {
			return n, err
		}
	}
	p.hold(b[end:])
	return len(b), nil
}

// hold keeps text until its line's end comes.
func (p *printer) hold(b []byte) {
	p.held = append(p.held, b...)
	if len(b) > 0 && !slices.Contains(p.canvas.holding, p) {
		p.canvas.holding = append(p.canvas.holding, p)
	}
}

// put writes what is held and b, above the bars, if there are any. The caller has the turn.
func (p *printer) put(b []byte) (int, error) {
	c, frame, text := p.canvas, p.canvas.frame, b
	before := c.clear(p.columns())
	if frame != "" || len(p.held) > 0 {
		text = slices.Concat([]byte(before), p.held, b, []byte(frame))
	}
	c.frame = "" // unless it goes well
	n, err := p.w.Write(text)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	if err != nil {
		if n <= 0 {
			c.frame = frame // still there
		}
		n = max(0, n-len(before))
		kept := p.held[min(n, len(p.held)):]
		n = min(len(b), n-len(p.held)+len(kept))
		p.held = kept
		return n, err
	}
	c.frame, p.held = frame, nil
	if len(text) > 0 {
		c.open = frame == "" && text[len(text)-1] != '\n'
	}
	return len(b), nil
}

// columns returns how wide the terminal is. A writer's own TerminalSize, which may do anything, is not asked for that.
func (p *printer) columns() int {
	if p.file != nil {
		if cols, _, ok := p.ask(); ok && cols > 0 {
			return cols
		}
	}
	return p.canvas.cols
}
