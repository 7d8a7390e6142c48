package parallel

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// glass is a terminal as one sees it: lines of characters and a cursor.
type glass struct {
	cols, rows int

	mu     sync.Mutex
	lines  [][]rune
	row    int
	col    int
	writes []time.Time
	raw    strings.Builder
}

func (g *glass) TerminalSize() (columns, rows int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cols, g.rows
}

func (g *glass) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writes = append(g.writes, time.Now())
	g.raw.Write(b)
	for text := string(b); text != ""; {
		var n int
		switch {
		case strings.HasPrefix(text, "\x1b[J"):
			text = text[3:]
			if g.row < len(g.lines) {
				g.lines = g.lines[:g.row+1]
				g.lines[g.row] = g.lines[g.row][:min(g.col, len(g.lines[g.row]))]
			}
			continue
		case strings.HasPrefix(text, "\x1b[K"):
			text = text[3:]
			if g.row < len(g.lines) {
				g.lines[g.row] = g.lines[g.row][:min(g.col, len(g.lines[g.row]))]
			}
			continue
		case strings.HasPrefix(text, "\x1b["):
			if _, err := fmt.Sscanf(text, "\x1b[%dA", &n); err != nil || n > g.row {
				return 0, fmt.Errorf("the glass cannot do %q", text)
			}
			g.row -= n
			text = text[strings.Index(text, "A")+1:]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch r {
		case '\r':
			g.col = 0
			continue
		case '\n':
			g.row, g.col = g.row+1, 0
			for g.row >= len(g.lines) {
				g.lines = append(g.lines, nil)
			}
			continue
		}
		for g.row >= len(g.lines) {
			g.lines = append(g.lines, nil)
		}
		line := &g.lines[g.row]
		for g.col >= len(*line) {
			*line = append(*line, ' ')
		}
		(*line)[g.col] = r
		g.col++
	}
	return len(b), nil
}

// String is what is on the glass, with | where each line ends.
func (g *glass) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b strings.Builder
	for _, line := range g.lines {
		b.WriteString(strings.TrimRight(string(line), " ") + "\n")
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
		g := glass{cols: 41, rows: 5}
		runs := make([]fake, 6)
		overs := make([]func(), len(runs))
		for i := range runs {
			runs[i].set(dispatch.Counts{Total: 10, Done: i, Running: 1})
			overs[i] = show(&g, fmt.Sprint("run ", i), runs[i].counts)
			if i == 1 {
				time.Sleep(200 * time.Millisecond)
				assert.Equal(t, `run 0   0% 0/10 [00:00<?, ?/s, 1 running
run 1  10% 1/10 [00:00<00:01, 8/s, 1 run
`, g.String())
				g.cols = 81
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
	draw := func() string { now = now.Add(time.Second); return s.draw(now, 59, 24) }
	assert.Equal(t, "\rone  25% 1/4 [00:01<00:03, 1/s, 2 running] and 1 more", draw())
	s.bars = s.bars[:1]
	c.Total = -1
	assert.Equal(t, "\rone 1 done [00:02, 2.1s each, 2 running]             ", draw())
	s.bars, s.last = nil, []ending{{"two", dispatch.Counts{Total: 4, Done: 4, Over: true}, time.Second}}
	assert.Equal(t, "\rtwo 100%|##############| 4/4 [00:01, 4/s]\n", draw())
	assert.Empty(t, s.frame)
}

func TestNarrowTerminalShowsWhatFits(t *testing.T) {
	now := time.Now()
	b := &bar{label: "Map(main.resize)", counts: func() dispatch.Counts { return dispatch.Counts{Total: 4, Done: 1, Running: 2} }, began: now, at: now}
	s := &screen{bars: []*bar{b}, moves: true}
	for cols, want := range map[int]string{
		120: "\rMap(main.resize)  25%|#######                       | 1/4 [00:01<00:03, 1/s, 2 running]\x1b[J",
		60:  "\rMap(main.resize)  25% 1/4 [00:01<00:03, 1/s, 2 running]\x1b[J",
		20:  "\rMap(main.resize)  25\x1b[J",
		1:   "\rM\x1b[J",
	} {
		b.n, b.t, b.at, b.done, s.frame = 0, 0, now, 0, ""
		assert.Equal(t, want, s.draw(now.Add(time.Second), cols, 1), "%d columns", cols)
	}
}

func TestPlainLinesComeSeldom(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		var b safeBuffer
		f, stream := fake{}, fake{}
		f.set(dispatch.Counts{Total: 200, NotRun: 200})
		over := show(&b, "Map", f.counts)
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
		"ab": clip("abc", 2), "ä█": clip("ä█x", 2), "99": fmt.Sprint(percent(dispatch.Counts{Total: 1000, Done: 999})),
	} {
		assert.Equal(t, want, got)
	}
}
