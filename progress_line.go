package parallel

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/gojoblib/parallel/internal/dispatch"
)

const (
	minName = 12 // columns of a name that is shortened, before anything else has to go
	minBar  = 8
	maxBar  = 40
)

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
	return fit(b.label, c, took, perSecond(rate), cols, blocks)
}

// fit draws a run in at most so many columns. Where they are few the name is shortened; then the bar goes, and field by
// field what matters least, what went wrong last of all, when not much of the name is left. No number is ever cut: a 12
// that reads as 1 is worse than none.
func fit(label string, c dispatch.Counts, took, rate string, cols int, blocks bool) string {
	var percents, running string
	count := fmt.Sprintf(" %d done", c.Done)
	if !unknown(c) {
		percents, count = fmt.Sprintf(" %3d%%", percent(c)), fmt.Sprintf(" %d/%d", c.Done, c.Total)
	}
	if c.Running > 0 {
		running = fmt.Sprintf("%d running", c.Running)
	}
	wrong := trouble(c)
	inside := func() string { return bracket(slices.Concat([]string{took, rate}, wrong, []string{running})) }
	free := func() int { return cols - width(percents+count+inside()) } // columns for the name
	least := min(width(label), minName)
	full := free() >= least
	for _, field := range []*string{&rate, &running, &took, &percents} {
		if free() < least {
			*field = ""
		}
	}
	for i := range slices.Backward(wrong) {
		if free() < min(least, minName/3) {
			wrong[i] = ""
		}
	}
	bar := ""
	if room := free() - len("||"); percents != "" && full && room-least >= minBar {
		room = min(cols/4, maxBar, max(minBar, room-width(label))) // a quarter, so that it keeps still
		if room >= minBar {
			bar = "|" + drawBar(c, room, blocks) + "|"
		}
	}
	line := abridge(label, free()-width(bar), blocks) + percents + bar + count + inside()
	return whole(strings.TrimLeft(line, " "), cols, blocks)
}

// unknown reports whether a run has no total to show: a stream that goes on, or one that has not begun.
func unknown(c dispatch.Counts) bool { return c.Total < 0 || c.Total == 0 && c.Stopped }

// bracket lists what there is of some figures.
func bracket(figures []string) string {
	figures = slices.DeleteFunc(figures, func(f string) bool { return f == "" })
	if len(figures) == 0 {
		return ""
	}
	return " [" + strings.Join(figures, ", ") + "]"
}

// drawBar draws how much is done, in eighths of a column.
func drawBar(c dispatch.Counts, cols int, blocks bool) string {
	eighths := 8 * cols
	if c.Total > 0 {
		eighths = max(0, min(eighths, int(float64(c.Done)/float64(c.Total)*float64(eighths))))
	}
	full, rest := "#", ""
	if blocks {
		full = "█"
		if r := eighths % 8; r > 0 {
			rest = string([]rune(" ▏▎▍▌▋▊▉")[r])
		}
	}
	bar := strings.Repeat(full, eighths/8) + rest
	return bar + strings.Repeat(" ", cols-width(bar))
}

// plainLine returns the run's line for what is no terminal, when it is due.
func (b *bar) plainLine(now time.Time) string {
	took := now.Sub(b.began)
	c, rate := b.look(now)
	if took < plainDue(b.told) {
		return ""
	}
	for took >= plainDue(b.told) { // more than one, when the program was stopped, or the writer
		b.told++
	}
	figures := []string{perSecond(rate)}
	if c.Total >= 0 {
		figures = append(figures, left(c, rate, "unknown time", rough)+" left")
	}
	figures = append(figures, trouble(c)...)
	return fmt.Sprintf("%s: %s in %s, %s, %d running", b.label, ofTotal(c), rough(took), strings.Join(figures, ", "), c.Running)
}

// plainDue is when line n of a run is due.
func plainDue(n int) time.Duration {
	due := plainAt[min(n, len(plainAt)-1)]
	if more := n - len(plainAt) + 1; more > 0 {
		due = due.Truncate(plainEvery) + time.Duration(more)*plainEvery
	}
	return due
}

// ending is what has become of a run.
type ending struct {
	label string
	dispatch.Counts
	took time.Duration
}

// rate is how fast the run was; nothing of one that did nothing.
func (e *ending) rate() string {
	if e.Done == 0 {
		return ""
	}
	return perSecond(float64(e.Done) / max(e.took.Seconds(), 1e-9))
}

// line is the run's last one on a terminal.
func (e *ending) line(cols int, blocks bool) string {
	return fit(e.label, e.Counts, clock(e.took), e.rate(), cols, blocks)
}

// plainLine is its last one elsewhere.
func (e *ending) plainLine() string {
	figures := []string{fmt.Sprintf("%s: %s in %s", e.label, ofTotal(e.Counts), rough(e.took))}
	if rate := e.rate(); rate != "" {
		figures = append(figures, rate)
	}
	return strings.Join(append(figures, trouble(e.Counts)...), ", ")
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
	if unknown(c) {
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
		return rough(time.Duration(min(float64(time.Second)/rate, float64(1000*24*time.Hour)))) + " each"
	case rate >= 999.5e6:
		return fmt.Sprintf("%.0fM/s", rate/1e6)
	case rate >= 999.5e3:
		return fmt.Sprintf("%.3gM/s", rate/1e6)
	case rate >= 999.5:
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
	fn = strings.TrimSuffix(path.Base(fn), "-fm") // what the runtime calls a method value
	_, number, literal := strings.Cut(fn, ".func")
	if fn == "." || literal && strings.IndexFunc(number, unicode.IsDigit) == 0 {
		return caller
	}
	return caller + "(" + fn + ")"
}

// abridge takes columns out of the middle of a name: its end says most, its beginning what it is of.
func abridge(name string, cols int, blocks bool) string {
	if width(name) <= cols {
		return name
	}
	if cols <= 0 {
		return ""
	}
	begin, end := []rune(name), []rune(name)
	for width(string(begin)) > cols/2 {
		begin = begin[:len(begin)-1]
	}
	for width(string(end)) > cols-1-width(string(begin)) || len(end) > 0 && runeWidth(end[0]) == 0 {
		end = end[1:] // also an accent whose letter has gone
	}
	return string(begin) + gap(blocks) + string(end)
}

// whole returns a line that fits; of another, that there is one.
func whole(line string, cols int, blocks bool) string {
	if width(line) <= cols {
		return line
	}
	return abridge(line, min(cols, 1), blocks)
}

// gap stands for what is left out.
func gap(blocks bool) string {
	if blocks {
		return "…"
	}
	return "~"
}

// width returns how many columns of a terminal a text takes.
func width(text string) (cols int) {
	for _, r := range text {
		cols += runeWidth(r)
	}
	return cols
}

// wraps returns how many times a terminal of so many columns begins a new line in a text.
func wraps(text string, cols int) (times int) {
	at := 0
	for _, r := range text {
		if r == '\n' {
			times, at = times+1, 0
			continue
		}
		if at += runeWidth(r); at > cols {
			times, at = times+1, runeWidth(r)
		}
	}
	return times
}

// runeWidth is as wcwidth has it. Of emoji that are put together of several, which terminals show in different ways, it
// says rather too much: a line may end early, but does not wrap.
func runeWidth(r rune) int {
	switch {
	case r < 0x300: // most
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf), 0x1160 <= r && r <= 0x11ff: // vowels of a Hangul syllable
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// wide is East Asian Width W and F, of Unicode 17, where what is not assigned in between counts as what is around it.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115f, 1}, {0x231a, 0x231b, 1}, {0x2329, 0x232a, 1}, {0x23e9, 0x23ec, 1}, {0x23f0, 0x23f3, 3},
		{0x25fd, 0x25fe, 1}, {0x2614, 0x2615, 1}, {0x2630, 0x2637, 1}, {0x2648, 0x2653, 1}, {0x267f, 0x267f, 1},
		{0x268a, 0x268f, 1}, {0x2693, 0x2693, 1}, {0x26a1, 0x26a1, 1}, {0x26aa, 0x26ab, 1}, {0x26bd, 0x26be, 1}, {0x26c4, 0x26c5, 1},
		{0x26ce, 0x26d4, 6}, {0x26ea, 0x26ea, 1}, {0x26f2, 0x26f3, 1}, {0x26f5, 0x26fa, 5}, {0x26fd, 0x2705, 8},
		{0x270a, 0x270b, 1}, {0x2728, 0x2728, 1}, {0x274c, 0x274e, 2}, {0x2753, 0x2755, 1}, {0x2757, 0x2757, 1},
		{0x2795, 0x2797, 1}, {0x27b0, 0x27bf, 15}, {0x2b1b, 0x2b1c, 1}, {0x2b50, 0x2b55, 5}, {0x2e80, 0x303e, 1},
		{0x3041, 0x3247, 1}, {0x3250, 0xa4cf, 1}, {0xa960, 0xa97c, 1}, {0xac00, 0xd7a3, 1}, {0xf900, 0xfaff, 1},
		{0xfe10, 0xfe19, 1}, {0xfe30, 0xfe6b, 1}, {0xff01, 0xff60, 1}, {0xffe0, 0xffe6, 1},
	},
	R32: []unicode.Range32{
		{0x16fe0, 0x18dff, 1}, {0x1aff0, 0x1b2fb, 1}, {0x1d300, 0x1d356, 1}, {0x1d360, 0x1d376, 1},
		{0x1f004, 0x1f004, 1}, {0x1f0cf, 0x1f0cf, 1}, {0x1f18e, 0x1f18e, 1}, {0x1f191, 0x1f19a, 1}, {0x1f200, 0x1f320, 1},
		{0x1f32d, 0x1f335, 1}, {0x1f337, 0x1f37c, 1}, {0x1f37e, 0x1f393, 1}, {0x1f3a0, 0x1f3ca, 1}, {0x1f3cf, 0x1f3d3, 1},
		{0x1f3e0, 0x1f3f0, 1}, {0x1f3f4, 0x1f3f4, 1}, {0x1f3f8, 0x1f43e, 1}, {0x1f440, 0x1f440, 1}, {0x1f442, 0x1f4fc, 1},
		{0x1f4ff, 0x1f53d, 1}, {0x1f54b, 0x1f54e, 1}, {0x1f550, 0x1f567, 1}, {0x1f57a, 0x1f57a, 1}, {0x1f595, 0x1f596, 1},
		{0x1f5a4, 0x1f5a4, 1}, {0x1f5fb, 0x1f64f, 1}, {0x1f680, 0x1f6c5, 1}, {0x1f6cc, 0x1f6cc, 1}, {0x1f6d0, 0x1f6d2, 1},
		{0x1f6d5, 0x1f6df, 1}, {0x1f6eb, 0x1f6ec, 1}, {0x1f6f4, 0x1f6fc, 1}, {0x1f7e0, 0x1f7eb, 1}, {0x1f7f0, 0x1f7f0, 1},
		{0x1f90c, 0x1f93a, 1}, {0x1f93c, 0x1f945, 1}, {0x1f947, 0x1f9ff, 1}, {0x1fa70, 0x1faff, 1}, {0x20000, 0x2fffd, 1},
		{0x30000, 0x3fffd, 1},
	},
}
