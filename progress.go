package parallel

import (
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

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
// every redraw.
//
// Runs that share w, or terminals that are one, have a line each, and do not garble each other; what the program itself
// prints meanwhile does. As a default, from With or a pool's options, Progress is for the runs of the program, not for
// those that their tasks start: ten thousand short bars inside a long one would only flicker. A task that wants one
// gives the option to its run.
//
// w is written to by a goroutine of its own, never by a worker, and each line or redraw is one Write. That goroutine
// asks the run for what it counts anyway: a task pays nothing. Where w returns an error or panics, that is the end of
// the lines, and nothing else. Where w blocks the run goes on; its end waits at most 250 ms for the last line, and not
// at all for a w that has blocked so long already. Otherwise w is not written to after the run. There are at most ten
// writes per second, not counting those of runs that end.
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
	minBar     = 8                      // columns
	maxBar     = 40
)

// plainAt is when a run's line is due where there is no terminal; later every plainEvery.
var plainAt = [...]time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second}

const plainEvery = time.Minute

// screen shows runs on one writer, or one terminal:
//
//	run ── add ──> bars ── end ──> last lines
//	                 └── frame ──────┴── 8 times a second, and when a run ends ──> one Write
//
// It lasts from the first run's beginning to the last one's end. On a terminal the bars are the lines at the bottom,
// and the cursor stands behind the last of them: each frame goes back to the first, writes the last lines of runs that
// have ended, which stay, and draws the others again below.
type screen struct {
	w      io.Writer
	size   func() (cols, rows int, ok bool) // of the terminal; nil: there is none
	file   os.FileInfo                      // of the terminal
	moves  bool                             // the cursor can go up
	blocks bool                             // the terminal shows █
	wake   chan struct{}
	gone   chan struct{}

	mu     sync.Mutex
	bars   []*bar
	last   []ending        // not written yet
	shown  []chan struct{} // closed when they are
	since  time.Time       // a Write has not returned since then
	broken bool            // w has failed

	// The drawing goroutine's.
	frame string // the last one, without last lines
	drawn int    // lines of it; where the cursor cannot go up, there is one,
	wide  int    // of so many columns
}

// screens are those in use.
var screens struct {
	sync.Mutex
	open []*screen
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
	fresh.bars = append(fresh.bars, b)
	screens.open = append(screens.open, fresh)
	go fresh.loop()
	return fresh
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	if t, ok := w.(interface{ TerminalSize() (columns, rows int) }); ok {
		s.size = func() (int, int, bool) {
			cols, rows := t.TerminalSize()
			return cols, rows, true
		}
		s.moves, s.blocks = true, true
		return s
	}
	f, ok := w.(interface {
		syscall.Conn
		Stat() (os.FileInfo, error)
	})
	if !ok || os.Getenv("TERM") == "dumb" {
		return s
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
		s.size = size
		s.file, _ = f.Stat()
		s.moves, s.blocks = runtime.GOOS != "windows", runtime.GOOS == "windows" || utf8Locale()
	}
	return s
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
func (s *screen) same(other *screen) bool {
	if s.file != nil && other.file != nil {
		return os.SameFile(s.file, other.file)
	}
	return reflect.ValueOf(s.w).Comparable() && s.w == other.w
}

// end takes a bar off.
func (s *screen) end(b *bar) {
	e := ending{b.label, b.counts(), time.Since(b.began)}
	shown := make(chan struct{})
	s.mu.Lock()
	for i, other := range s.bars {
		if other == b {
			s.bars = append(s.bars[:i:i], s.bars[i+1:]...)
		}
	}
	s.last = append(s.last, e)
	if len(s.last) > maxLast {
		s.last = s.last[1:]
	}
	s.shown = append(s.shown, shown)
	stuck := !s.since.IsZero() && time.Since(s.since) >= drawWithin
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
		s.mu.Lock()
		frame := s.next(time.Now())
		shown := s.shown
		s.last, s.shown = nil, nil
		if frame != "" && !s.broken {
			s.since = time.Now()
			s.mu.Unlock()
			ok := s.write(frame)
			s.mu.Lock()
			s.since, s.broken = time.Time{}, s.broken || !ok
		}
		s.mu.Unlock()
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
	for i, other := range screens.open {
		if other == s {
			screens.open = append(screens.open[:i:i], screens.open[i+1:]...)
		}
	}
	return true
}

// write makes one Write; false: it has failed.
func (s *screen) write(frame string) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	_, err := io.WriteString(s.w, frame)
	return err == nil
}

// next returns what is to be written now; nothing, when nothing has changed. The caller holds the lock.
func (s *screen) next(now time.Time) string {
	if s.size != nil {
		if cols, rows, ok := s.size(); ok {
			if cols <= 0 || rows <= 0 {
				cols, rows = 80, 25
			}
			return s.draw(now, cols-1, rows) // some terminals begin a new line in the last column
		}
	}
	var b strings.Builder
	for _, e := range s.last {
		b.WriteString(e.plainLine() + "\n")
	}
	for _, bar := range s.bars {
		if line := bar.plainLine(now); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// draw returns the next frame for a terminal.
func (s *screen) draw(now time.Time, cols, rows int) string {
	lines := s.lines(now, cols, rows)
	frame := strings.Join(lines, "\n")
	if frame == s.frame && len(s.last) == 0 {
		return ""
	}
	drawn := len(lines)
	for i, e := range s.last {
		lines = slices.Insert(lines, i, e.line(cols, s.blocks))
	}
	if drawn == 0 {
		lines = append(lines, "") // the cursor goes to the line below
	}
	out := "\r"
	if s.moves {
		if s.drawn > 1 {
			out += fmt.Sprintf("\x1b[%dA", s.drawn-1)
		}
		out += strings.Join(lines, "\x1b[K\n") + "\x1b[J"
	} else { // the first line covers what was there
		lines[0] += strings.Repeat(" ", max(0, s.wide-utf8.RuneCountInString(lines[0])))
		out += strings.Join(lines, "\n")
		s.wide = utf8.RuneCountInString(frame)
	}
	s.frame, s.drawn = frame, drawn
	return out
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
			return append(lines, clip(fmt.Sprintf("and %d more", n), cols))
		}
		lines = append(lines, clip(b.line(now, cols-len(more), s.blocks)+more, cols))
		if len(lines) == most {
			break
		}
	}
	return lines
}

// clip shortens a line to a number of columns.
func clip(line string, cols int) string {
	for i := range line {
		if cols--; cols < 0 {
			return line[:i]
		}
	}
	return line
}

// bar is one run on a screen.
type bar struct {
	label  string
	counts func() dispatch.Counts
	began  time.Time

	// The drawing goroutine's.
	at   time.Time // of the last look, when
	done int       // so many were done
	n, t float64   // tasks and seconds, the past counting less and less
	told int       // plain lines so far
}

// look returns the state of the run, and its rate at present, in tasks per second.
func (b *bar) look(now time.Time) (c dispatch.Counts, rate float64) {
	c = b.counts()
	if dt := now.Sub(b.at).Seconds(); dt > 0 {
		fade := math.Exp(-dt / max(10, now.Sub(b.began).Seconds()/5))
		b.n = b.n*fade + float64(c.Done-b.done)
		b.t = b.t*fade + dt
		b.at, b.done = now, c.Done
	}
	if b.t > 0 {
		rate = b.n / b.t
	}
	return c, rate
}

// line draws the run in a number of columns.
func (b *bar) line(now time.Time, cols int, blocks bool) string {
	c, rate := b.look(now)
	took := clock(now.Sub(b.began))
	if c.Total >= 0 {
		took += "<" + left(c, rate, "?", clock)
	}
	return clip(fit(b.label, c, []string{took, perSecond(rate)}, cols, blocks), cols)
}

// fit draws a run, with a bar if there is room for one.
func fit(label string, c dispatch.Counts, figures []string, cols int, blocks bool) string {
	figures = append(figures, trouble(c)...)
	if c.Running > 0 {
		figures = append(figures, fmt.Sprintf("%d running", c.Running))
	}
	inside := " [" + strings.Join(figures, ", ") + "]"
	if c.Total < 0 {
		return fmt.Sprintf("%s %d done%s", label, c.Done, inside)
	}
	before, after := fmt.Sprintf("%s %3d%%", label, percent(c)), fmt.Sprintf(" %d/%d%s", c.Done, c.Total, inside)
	room := min(cols/4, maxBar, cols-utf8.RuneCountInString(before+after)-len("||")) // a quarter, so that it keeps still
	if room < minBar {
		return before + after
	}
	return before + "|" + drawBar(c, room, blocks) + "|" + after
}

// drawBar draws how much is done, in eighths of a column.
func drawBar(c dispatch.Counts, cols int, blocks bool) string {
	eighths := 8 * cols
	if c.Total > 0 {
		eighths = min(eighths, int(float64(c.Done)/float64(c.Total)*float64(eighths)))
	}
	full, rest := "#", ""
	if blocks {
		full = "█"
		if r := eighths % 8; r > 0 {
			rest = string([]rune(" ▏▎▍▌▋▊▉")[r])
		}
	}
	bar := strings.Repeat(full, eighths/8) + rest
	return bar + strings.Repeat(" ", cols-utf8.RuneCountInString(bar))
}

// plainLine returns the run's line for what is no terminal, when it is due.
func (b *bar) plainLine(now time.Time) string {
	took := now.Sub(b.began)
	due := plainAt[min(b.told, len(plainAt)-1)]
	if more := b.told - len(plainAt) + 1; more > 0 {
		due = due.Truncate(plainEvery) + time.Duration(more)*plainEvery
	}
	c, rate := b.look(now)
	if took < due {
		return ""
	}
	b.told++
	figures := []string{perSecond(rate)}
	if c.Total >= 0 {
		figures = append(figures, left(c, rate, "unknown time", rough)+" left")
	}
	figures = append(figures, trouble(c)...)
	return fmt.Sprintf("%s: %s in %s, %s, %d running", b.label, ofTotal(c), rough(took), strings.Join(figures, ", "), c.Running)
}

// ending is what has become of a run.
type ending struct {
	label string
	dispatch.Counts
	took time.Duration
}

func (e *ending) rate() string { return perSecond(float64(e.Done) / max(e.took.Seconds(), 1e-9)) }

// line is the run's last one on a terminal, which may be too narrow for it.
func (e *ending) line(cols int, blocks bool) string {
	return fit(e.label, e.Counts, []string{clock(e.took), e.rate()}, cols, blocks)
}

// plainLine is its last one elsewhere.
func (e *ending) plainLine() string {
	figures := append([]string{e.rate()}, trouble(e.Counts)...)
	return fmt.Sprintf("%s: %s in %s, %s", e.label, ofTotal(e.Counts), rough(e.took), strings.Join(figures, ", "))
}

// trouble lists what is not as it should be.
func trouble(c dispatch.Counts) (figures []string) {
	if c.Failed > 0 {
		figures = append(figures, fmt.Sprintf("%d failed", c.Failed))
	}
	if c.Stopped {
		figures = append(figures, "stopped")
	}
	if c.Over && c.Cut > 0 {
		figures = append(figures, fmt.Sprintf("%d cut short", c.Cut))
	}
	if c.Over && c.NotRun > 0 {
		figures = append(figures, fmt.Sprintf("%d not run", c.NotRun))
	}
	return figures
}

// percent is what is done, 100 only when all is.
func percent(c dispatch.Counts) int {
	if c.Done >= c.Total {
		return 100
	}
	return int(100 * float64(c.Done) / float64(c.Total))
}

func ofTotal(c dispatch.Counts) string {
	if c.Total < 0 {
		return fmt.Sprintf("%d done", c.Done)
	}
	return fmt.Sprintf("%d/%d (%d%%)", c.Done, c.Total, percent(c))
}

// left is how long the rest will take.
func left(c dispatch.Counts, rate float64, unknown string, show func(time.Duration) string) string {
	rest := float64(c.Total-c.Done) / rate * float64(time.Second)
	if c.Done >= c.Total {
		rest = 0
	}
	if math.IsNaN(rest) || rest > float64(100*24*time.Hour) {
		return unknown
	}
	return show(time.Duration(rest))
}

// perSecond shows a rate as tasks per second, or as seconds per task.
func perSecond(rate float64) string {
	switch {
	case rate <= 0:
		return "?/s"
	case rate < 1:
		return rough(time.Duration(float64(time.Second)/rate)) + " each"
	case rate >= 1e6:
		return fmt.Sprintf("%.3gM/s", rate/1e6)
	case rate >= 1e3:
		return fmt.Sprintf("%.3gk/s", rate/1e3)
	}
	return fmt.Sprintf("%.3g/s", rate)
}

// clock shows a duration as 00:12, or 1:02:03.
func clock(d time.Duration) string {
	s := int64(d / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// rough shows a duration in words that Go programmers know, to two or three digits.
func rough(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= 10*time.Microsecond:
		return d.Round(time.Microsecond).String()
	}
	return d.String()
}

// labelOf is what a run is called on a screen: Map(main.resize), Parallel.
func labelOf(caller, fn string) string {
	if fn = path.Base(fn); fn == "." || strings.Contains(fn, ".func") {
		return caller
	}
	return caller + "(" + fn + ")"
}
