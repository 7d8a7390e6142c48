package parallel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// glass is a terminal as one sees it: lines of characters and a cursor. Lines that are too long go on in the next, and
// are wrapped anew when it changes its width, as nearly all terminals do.
type glass struct {
	cols, rows int

	mu     sync.Mutex
	lines  []glassLine
	row    int
	col    int
	writes []time.Time
	err    error // what it did not understand
}

// glassLine is a line of columns: characters, each with what modifies it, and nothing in the second column of a wide one.
type glassLine struct {
	cells []string
	goes  bool // on in the next line
}

func (g *glass) TerminalSize() (columns, rows int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cols, g.rows
}

// resize changes the width, and wraps the lines anew.
func (g *glass) resize(cols int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old, row, col := g.lines, g.row, g.col
	g.cols, g.lines, g.row, g.col = cols, nil, 0, 0
	back := [2]int{}
	for i, line := range old {
		for j, cell := range line.cells {
			if i == row && j == col {
				back = [2]int{g.row, g.col}
			}
			if cell != "" {
				g.put(cell, runeWidth([]rune(cell)[0]))
			}
		}
		if i == row && col >= len(line.cells) {
			back = [2]int{g.row, g.col + col - len(line.cells)}
		}
		if i < len(old)-1 && !line.goes {
			g.row, g.col = g.row+1, 0
			g.line()
		}
	}
	g.row, g.col = back[0], back[1]
}

// line returns the line of the cursor.
func (g *glass) line() *glassLine {
	for g.row >= len(g.lines) {
		g.lines = append(g.lines, glassLine{})
	}
	return &g.lines[g.row]
}

// put shows a character at the cursor.
func (g *glass) put(cell string, wide int) {
	if g.col+wide > g.cols {
		g.line().goes = true
		g.row, g.col = g.row+1, 0
	}
	line := g.line()
	for len(line.cells) < g.col+wide {
		line.cells = append(line.cells, " ")
	}
	line.cells[g.col] = cell
	for i := 1; i < wide; i++ {
		line.cells[g.col+i] = ""
	}
	g.col += wide
}

func (g *glass) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writes = append(g.writes, time.Now())
	for text := string(b); text != ""; {
		var n int
		switch {
		case strings.HasPrefix(text, "\x1b[J"), strings.HasPrefix(text, "\x1b[K"):
			line := g.line()
			line.cells, line.goes = line.cells[:min(g.col, len(line.cells))], false
			if text[2] == 'J' {
				g.lines = g.lines[:g.row+1]
			}
			text = text[3:]
			continue
		case strings.HasPrefix(text, "\x1b["):
			if _, err := fmt.Sscanf(text, "\x1b[%dA", &n); err != nil || n > g.row {
				g.err = fmt.Errorf("the glass cannot do %q", text)
				return 0, g.err
			}
			g.row -= n
			text = text[strings.Index(text, "A")+1:]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch wide := runeWidth(r); {
		case r == '\r':
			g.col = 0
		case r == '\n':
			g.row, g.col = g.row+1, 0
			g.line()
		case wide == 0:
			g.line().cells[g.col-1] += string(r)
		default:
			g.put(string(r), wide)
		}
	}
	return len(b), nil
}

// String is what is on the glass.
func (g *glass) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b strings.Builder
	for _, line := range g.lines {
		b.WriteString(strings.TrimRight(strings.Join(line.cells, ""), " ") + "\n")
	}
	if g.err != nil {
		return g.err.Error()
	}
	return b.String()
}

// paragraphs is what is on the glass, where lines that were too long are one.
func (g *glass) paragraphs() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b strings.Builder
	for _, line := range g.lines {
		b.WriteString(strings.Join(line.cells, ""))
		if !line.goes {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// fake is what a run says of itself.
type fake struct {
	mu sync.Mutex
	c  dispatch.Counts
}

func (f *fake) set(c dispatch.Counts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.c = c
}

func (f *fake) counts() dispatch.Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.c
}

func TestBarOnATerminal(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		g := glass{cols: 101, rows: 24}
		var f fake
		f.set(dispatch.Counts{Total: 1000, Running: 4, NotRun: 1000})
		over := show(&g, "Map(main.resize)", f.counts)
		time.Sleep(100 * time.Millisecond)
		assert.Empty(t, g.String(), "a short run draws nothing but its end")
		time.Sleep(50 * time.Millisecond)
		assert.Equal(t, "Map(main.resize)   0%|                         | 0/1000 [00:00<?, ?/s, 4 running]\n", g.String())
		for i := range 450 {
			time.Sleep(20 * time.Millisecond)
			f.set(dispatch.Counts{Total: 1000, Done: i + 1, Failed: 2, Running: 4})
		}
		time.Sleep(150 * time.Millisecond)
		assert.Equal(t, "Map(main.resize)  45%|███████████▎             | 450/1000 [00:09<00:11, 48.7/s, 2 failed, 4 running]\n", g.String())
		f.set(dispatch.Counts{Total: 1000, Done: 998, Failed: 3, Over: true, Stopped: true, Cut: 1, NotRun: 1})
		over()
		want := "Map(main.resize)  99%|█████████▉| 998/1000 [00:09, 107/s, 3 failed, stopped, 1 cut short, 1 not run]\n"
		assert.Equal(t, want+"\n", g.String()) // the cursor is below
		time.Sleep(time.Minute)
		assert.Equal(t, want+"\n", g.String())
	})
}

func TestBarsOfSeveralRunsStayApart(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		g := glass{cols: 43, rows: 5}
		runs := make([]fake, 6)
		overs := make([]func(), len(runs))
		for i := range runs {
			runs[i].set(dispatch.Counts{Total: 10, Done: i, Running: 1})
			overs[i] = show(&g, fmt.Sprint("run ", i), runs[i].counts)
			if i == 1 {
				time.Sleep(200 * time.Millisecond)
				assert.Equal(t, `run 0   0% 0/10 [00:00<?, ?/s, 1 running]
run 1  10% 1/10 [00:00<00:01, 1 running]
`, g.String())
				g.resize(81)
			}
		}
		time.Sleep(200 * time.Millisecond)
		assert.Equal(t, `run 0   0%|                    | 0/10 [00:00<?, ?/s, 1 running]
run 1  10%|██                  | 1/10 [00:00<00:03, 2.63/s, 1 running]
run 2  20%|████                | 2/10 [00:00<00:00, 11.3/s, 1 running]
and 3 more
`, g.String())
		end := func(i int, c dispatch.Counts) {
			c.Over = true
			runs[i].set(c)
			overs[i]()
		}
		end(1, dispatch.Counts{Total: 10, Done: 10})
		end(4, dispatch.Counts{Total: 10, Done: 7, NotRun: 3, Failed: 1, Stopped: true})
		last := `run 1 100%|████████████████████| 10/10 [00:00, 25/s]
run 4  70%|█████████████▎     | 7/10 [00:00, 35/s, 1 failed, stopped, 3 not run]
`
		time.Sleep(200 * time.Millisecond)
		got := g.String()
		assert.Equal(t, last, got[:len(last)])
		for i, over := range overs {
			if i != 1 && i != 4 {
				runs[i].set(dispatch.Counts{Total: 10, Done: 10, Over: true})
				go over()
			}
		}
		time.Sleep(time.Second)
		got = g.String()
		assert.Equal(t, last, got[:len(last)])
		assert.Equal(t, 7, strings.Count(got, "\n"))
		assert.Equal(t, 5, strings.Count(got, " 100%|"))
		assert.Zero(t, openScreens())
	})
}

func TestTerminalThatCannotGoBackHasOneLine(t *testing.T) {
	now := time.Now()
	c := dispatch.Counts{Total: 4, Done: 1, Running: 2}
	one := &bar{label: "one", counts: func() dispatch.Counts { return c }, began: now, at: now}
	two := &bar{label: "two", counts: func() dispatch.Counts { return c }, began: now, at: now}
	s := &screen{bars: []*bar{one, two}}
	var b safeBuffer
	over := &canvas{}
	p := &printer{outlet: outlet{w: &b}, canvas: over}
	draw := func(last ...string) string {
		now = now.Add(time.Second)
		over.show(&b, last, s.lines(now, 59, 24), 60)
		defer b.b.Reset()
		return b.b.String()
	}
	assert.Equal(t, "\rone  25% 1/4 [00:01<00:03, 1/s, 2 running] and 1 more", draw())
	s.bars = s.bars[:1]
	c.Total = -1
	assert.Equal(t, "\rone 1 done [00:02, 2.1s each, 2 running]             ", draw())
	_, err := io.WriteString(p, "beside\n")
	require.NoError(t, err)
	assert.Equal(t, "\r"+strings.Repeat(" ", 40)+"\rbeside\none 1 done [00:02, 2.1s each, 2 running]", b.b.String())
	b.b.Reset()
	s.bars = nil
	e := ending{"two", dispatch.Counts{Total: 4, Done: 4, Over: true}, time.Second}
	assert.Equal(t, "\rtwo 100%|##############| 4/4 [00:01, 4/s]\n", draw(e.line(59, false)))
	assert.Empty(t, over.frame)
}

func TestNarrowTerminalShowsWhatFits(t *testing.T) {
	now := time.Now()
	b := &bar{label: "Map(main.resize)", counts: func() dispatch.Counts { return dispatch.Counts{Total: 40, Done: 12, Failed: 12, Running: 2} }, began: now}
	for cols, want := range map[int]string{
		120: "Map(main.resize)  30%|#########                     | 12/40 [00:12<00:28, 1/s, 12 failed, 2 running]",
		78:  "Map(main.resize)  30%|##      | 12/40 [00:12<00:28, 1/s, 12 failed, 2 running]",
		75:  "Map(ma~esize)  30%|##      | 12/40 [00:12<00:28, 1/s, 12 failed, 2 running]",
		73:  "Map(main.resize)  30% 12/40 [00:12<00:28, 1/s, 12 failed, 2 running]",
		65:  "Map(ma~esize)  30% 12/40 [00:12<00:28, 1/s, 12 failed, 2 running]",
		63:  "Map(main.resize)  30% 12/40 [00:12<00:28, 12 failed, 2 running]",
		58:  "Map(main.resize)  30% 12/40 [00:12<00:28, 12 failed]",
		47:  "Map(main.resize)  30% 12/40 [12 failed]",
		38:  "Map(mai~resize)  30% 12/40 [12 failed]",
		35:  "Map(ma~size)  30% 12/40 [12 failed]",
		31:  "Map(ma~esize) 12/40 [12 failed]",
		24:  "Map~e) 12/40 [12 failed]",
		20:  "Map(mai~esize) 12/40",
		10:  "Ma~) 12/40",
		5:   "12/40",
		4:   "~",
		1:   "~",
		0:   "",
	} {
		b.n, b.t, b.at, b.done = 1, 1, now.Add(12*time.Second), 12
		assert.Equal(t, want, b.line(now.Add(12*time.Second), cols, false), "%d columns", cols)
	}
}

func TestPlainLinesComeSeldom(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		var b safeBuffer
		f, stream := fake{}, fake{}
		f.set(dispatch.Counts{Total: 200, NotRun: 200})
		over := show(&b, "Map", f.counts)
		stream.set(dispatch.Counts{Total: -1})
		closed := show(&b, "Stream", stream.counts)
		time.Sleep(50 * time.Millisecond) // nothing happens at the same time
		for i := range 190 {
			time.Sleep(time.Second)
			f.set(dispatch.Counts{Total: 200, Done: i + 1, Failed: i / 50, Running: 2})
			stream.set(dispatch.Counts{Total: -1, Done: 1000 * i, Running: 1})
		}
		f.set(dispatch.Counts{Total: 200, Done: 200, Failed: 3, Over: true})
		over()
		stream.set(dispatch.Counts{Total: 189_000, Done: 189_000, Over: true, Stopped: true})
		closed()
		assert.Equal(t, `Map: 4/200 (2%) in 5s, 1.2s each, 4m4s left, 2 running
Stream: 3000 done in 5s, 630/s, 1 running
Map: 9/200 (4%) in 10s, 1.1s each, 3m33s left, 2 running
Stream: 8000 done in 10s, 834/s, 1 running
Map: 19/200 (9%) in 20s, 1.1s each, 3m12s left, 2 running
Stream: 18000 done in 20s, 924/s, 1 running
`, strings.Join(slices.Collect(strings.Lines(b.String()))[:6], ""))
		assert.Equal(t, []string{"5s", "10s", "20s", "40s", "1m0s", "2m0s", "3m0s", "3m10s"}, between(b.String(), "Map: ", " in ", ","))
		assert.True(t, strings.HasSuffix(b.String(), `Map: 200/200 (100%) in 3m10s, 1.05/s, 3 failed
Stream: 189000/189000 (100%) in 3m10s, 994/s, stopped
`), b.String())
	})
}

// between returns what stands between two marks in the lines that begin so.
func between(text, begin, from, to string) (found []string) {
	for line := range strings.Lines(text) {
		if _, rest, ok := strings.Cut(line, from); ok && strings.HasPrefix(line, begin) {
			rest, _, _ = strings.Cut(rest, to)
			found = append(found, rest)
		}
	}
	return found
}

// safeBuffer is a buffer that may be read while it is written to.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func openScreens() int {
	screens.Lock()
	defer screens.Unlock()
	return len(screens.open)
}

// awkward is a writer that does something else.
type awkward struct {
	writes int
	do     func() (int, error)
}

func (a *awkward) Write([]byte) (int, error) {
	a.writes++
	return a.do()
}

func TestWriterThatFailsIsLeftAlone(t *testing.T) {
	testkit.Clean(t)
	for name, do := range map[string]func() (int, error){
		"fails":  func() (int, error) { return 0, errors.New("no") },
		"panics": func() (int, error) { panic("no") },
		"exits":  func() (int, error) { runtime.Goexit(); return 0, nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &awkward{do: do}
			var f fake
			over := show(a, "Map", f.counts)
			closed := show(a, "Map", f.counts)
			time.Sleep(5 * time.Minute)
			start := time.Now()
			over()
			closed()
			assert.Zero(t, time.Since(start), name)
			assert.Equal(t, 1, a.writes, name)
			assert.Zero(t, openScreens())
		})
	}
}

func TestWriterThatBlocksDelaysNoRunForLong(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var b safeBuffer
		g := &glass{cols: 80, rows: 24}
		blocked := &stuck{g, gate}
		var f fake
		f.set(dispatch.Counts{Total: 10, Done: 5})
		took := func(over func()) time.Duration {
			start := time.Now()
			over()
			return time.Since(start)
		}
		over := show(blocked, "first", f.counts)
		assert.Equal(t, drawWithin, took(over)) // its last line blocks
		assert.Zero(t, took(show(blocked, "second", f.counts)))
		other := show(&b, "other", f.counts)
		assert.Zero(t, took(other), "another writer has nothing to do with it")
		third := show(blocked, "third", f.counts)
		time.Sleep(time.Minute)
		assert.Zero(t, took(third))
		for range 2 * maxLast {
			show(blocked, "one of many", f.counts)()
		}
		require.Equal(t, 1, openScreens())
		close(gate)
		time.Sleep(time.Second)
		assert.Equal(t, maxLast, strings.Count(g.String(), "one of many"), "the last of them are shown")
		assert.Contains(t, g.String(), "first  50%|")
		assert.Zero(t, openScreens())
		assert.Zero(t, took(show(blocked, "fourth", f.counts)))
		assert.Contains(t, g.String(), "fourth  50%|")
	})
}

// stuck is a terminal that does not take anything for a while.
type stuck struct {
	*glass
	gate chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.gate
	return s.glass.Write(b)
}

func TestTerminalIsWrittenToTenTimesASecond(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		g := glass{cols: 80, rows: 24}
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				var f fake
				over := show(&g, "run", f.counts)
				for n := range 500 {
					time.Sleep(10 * time.Millisecond)
					f.set(dispatch.Counts{Total: 1000, Done: n + i})
				}
				time.Sleep(time.Duration(i) * time.Microsecond)
				over()
			})
		}
		all.Wait()
		for i := range g.writes {
			if i+10 < len(g.writes)-20 { // the ends
				assert.Greater(t, g.writes[i+10].Sub(g.writes[i]), time.Second)
			}
		}
		assert.Greater(t, len(g.writes), 30)
	})
}

func TestFiguresAreShort(t *testing.T) {
	for want, got := range map[string]string{
		"?/s": perSecond(0), "1/s": perSecond(1), "2s each": perSecond(.5), "12.3/s": perSecond(12.34), "4.57k/s": perSecond(4567), "1.2M/s": perSecond(1.2e6),
		"20s each": perSecond(.05), "2m0s each": perSecond(1. / 120), "00:00": clock(0), "01:05": clock(65 * time.Second), "27:46:40": clock(1e5 * time.Second),
		"350ms": rough(350 * time.Millisecond), "1.2s": rough(1234 * time.Millisecond), "12s": rough(12345 * time.Millisecond),
		"7.3µs": rough(7300 * time.Nanosecond), "180ns": rough(180), "2.5ms": rough(2500 * time.Microsecond), "73µs": rough(73_300), "Map(main.f)": labelOf("Map", "example.org/x/main.f"), "Map": labelOf("Map", "main.main.func1"), "Parallel": labelOf("Parallel", ""),
		"Map(main.(*T).Resize)": labelOf("Map", "example.org/x/main.(*T).Resize-fm"), "Map(main.functional)": labelOf("Map", "main.functional"),
		"99": fmt.Sprint(percent(dispatch.Counts{Total: 1000, Done: 999})),
	} {
		assert.Equal(t, want, got)
	}
}

func TestLinesFitAndNumbersStayWhole(t *testing.T) {
	number := regexp.MustCompile(`\d+`)
	for _, c := range []dispatch.Counts{
		{Total: 1234, Done: 321, Failed: 45, Running: 67},
		{Total: -1, Done: 321, Failed: 45, Running: 67},
		{Total: 1234, Done: 321, Failed: 45, Over: true, Stopped: true, Cut: 7, NotRun: 913},
		{Total: 0, Over: true, Stopped: true},
		{Total: 0, Over: true},
	} {
		for _, label := range []string{"Map(imaging.(*Service).ResizeAllPictures)", "Map(main.处理图像文件)", "Map(main.e\u0301te\u0301)", "Map"} {
			for _, blocks := range []bool{true, false} {
				all := number.FindAllString(fit(label, c, "00:12<00:59", "88.8/s", 200, blocks), -1)
				last := 0
				for cols := range 200 {
					line := fit(label, c, "00:12<00:59", "88.8/s", cols, blocks)
					assert.LessOrEqual(t, width(line), cols, line)
					assert.Subset(t, append(all, "000"), number.FindAllString(line, -1), line)
					assert.Equal(t, cols == 0, line == "")
					if c.Failed > 0 && cols >= 25 {
						assert.Contains(t, line, "45 failed")
					}
					shown := len(number.FindAllString(line, -1))
					assert.GreaterOrEqual(t, shown, min(last, 4), "more room shows more")
					last = shown
				}
			}
		}
	}
	assert.Equal(t, "Map(mai…文件)  26% 321/1234", fit("Map(main.处理图像文件)", dispatch.Counts{Total: 1234, Done: 321}, "", "", 28, true))
}

func TestWidthIsThatOfATerminal(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "abc": 3, "äöü": 3, "█▎…": 3, "处理图像": 8, "ﾊﾝｶｸ": 4, "ＦＵＬＬ": 8, "한글": 4, "각": 2, "e\u0301": 1,
		"a\u200db": 2, "🚀": 2, "❤\ufe0f": 1, "м": 1, "ไทย": 3, "กำ": 2, "\u05d0\u05b0": 1, "か\u3099": 2, "𠀀": 2, "🀄🃏": 4, "☰⚓": 4,
	} {
		assert.Equal(t, want, width(text), "%q", text)
	}
	for i := 1; i < len(wide.R16); i++ {
		assert.Less(t, wide.R16[i-1].Hi, wide.R16[i].Lo)
	}
	for i := 1; i < len(wide.R32); i++ {
		assert.Less(t, wide.R32[i-1].Hi, wide.R32[i].Lo)
	}
}

func TestBarWithAWideNameIsOneLine(t *testing.T) {
	testkit.Clean(t)
	for _, label := range []string{strings.Repeat("处理图像", 9), strings.Repeat("é", 30), "🚀" + strings.Repeat("ﾊﾝ角", 15)} {
		synctest.Test(t, func(t *testing.T) {
			g := glass{cols: 80, rows: 24}
			var f fake
			over := show(&g, label, f.counts)
			for i := range 50 {
				time.Sleep(drawEvery)
				f.set(dispatch.Counts{Total: 100, Done: 2 * i, Running: 4})
				assert.LessOrEqual(t, strings.Count(g.String(), "\n"), 1, g.String())
			}
			f.set(dispatch.Counts{Total: 100, Done: 100, Over: true})
			over()
			assert.Equal(t, 2, strings.Count(g.String(), "\n"), g.String()) // the cursor is below
		})
	}
}

func TestTerminalThatBecomesNarrowKeepsNothingOld(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		g := &glass{cols: 100, rows: 24}
		p := ProgressWriter(g)
		fmt.Fprintln(p, "before")
		var f fake
		f.set(dispatch.Counts{Total: 100, Done: 12, Running: 4})
		overs := []func(){show(g, "Map(main.resize)", f.counts), show(g, "Map(main.处理图像)", f.counts)}
		for _, cols := range []int{77, 60, 100, 40, 13, 9, 120, 30} {
			time.Sleep(10*drawEvery + 1) // not between the question and the frame
			g.resize(cols)
			time.Sleep(2 * drawEvery)
			lines := strings.Split(g.String(), "\n")
			if assert.Len(t, lines, 4, "%d columns\n%s", cols, g.String()) {
				assert.Equal(t, "before", lines[0])
			}
		}
		for _, over := range overs {
			over()
		}
		assert.Equal(t, 4, strings.Count(g.String(), "\n"))
	})
}

// oddSize is a terminal that is to be asked for its size with care.
type oddSize struct {
	safeBuffer
	size func() (columns, rows int)
}

func (o *oddSize) TerminalSize() (columns, rows int) { return o.size() }

func TestTerminalSizeThatFailsEndsTheLines(t *testing.T) {
	testkit.Clean(t)
	for name, size := range map[string]func() (int, int){
		"panics": func() (int, int) { panic("no") },
		"exits":  func() (int, int) { runtime.Goexit(); return 0, 0 },
	} {
		synctest.Test(t, func(t *testing.T) {
			var good atomic.Bool
			good.Store(true)
			o := &oddSize{}
			o.size = func() (int, int) {
				if good.Load() {
					return 80, 24
				}
				return size()
			}
			p := ProgressWriter(o)
			var f fake
			over := show(o, "Map", f.counts)
			closed := show(o, "Map", f.counts)
			time.Sleep(time.Second)
			fmt.Fprint(p, "this ")
			good.Store(false)
			time.Sleep(time.Second)
			fmt.Fprintln(p, "too")
			start := time.Now()
			over()
			closed()
			assert.Zero(t, time.Since(start), name)
			assert.Zero(t, openScreens())
			assert.True(t, strings.HasSuffix(o.String(), "this too\n"), "%s: %q", name, o.String())
			good.Store(true)
			over = show(o, "Map", f.counts)
			over()
			assert.Contains(t, o.String(), "Map 100%|", "another run tries again")
		})
	}
}

func TestTerminalSizeThatBlocksDelaysNoRunForLong(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		o := &oddSize{size: func() (int, int) { <-gate; return 80, 24 }}
		p := ProgressWriter(o)
		var f fake
		start := time.Now()
		over := show(o, "first", f.counts)
		over()
		assert.Equal(t, drawWithin, time.Since(start))
		start = time.Now()
		show(o, "second", f.counts)()
		fmt.Fprintln(p, "beside")
		assert.Zero(t, time.Since(start))
		assert.Equal(t, "beside\n", o.String())
		close(gate)
		time.Sleep(time.Second)
		assert.Zero(t, openScreens())
		assert.Contains(t, o.String(), "second 100%|")
	})
}
