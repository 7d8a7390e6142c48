package parallel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"runtime"
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

func TestProgressWriterPrintsAboveTheBars(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		g := &glass{cols: 60, rows: 24}
		p := ProgressWriter(g)
		fmt.Fprintln(p, "before")
		one, two := fake{}, fake{}
		one.set(dispatch.Counts{Total: 10, Done: 1})
		two.set(dispatch.Counts{Total: 10, Done: 2})
		over := show(g, "one", one.counts)
		closed := show(g, "two", two.counts)
		fmt.Fprintln(p, "at once")
		assert.Equal(t, "before\nat once\n\n", g.String())
		time.Sleep(130 * time.Millisecond)
		see := func(lines string) {
			t.Helper()
			got := g.String()
			text, bars, ok := strings.Cut(got, "one  10%|")
			assert.True(t, ok, got)
			assert.Equal(t, "before\nat once\n"+lines, text)
			assert.Equal(t, 2, strings.Count(bars, "\n"), got)
			assert.Contains(t, bars, "\ntwo  20%|")
			assert.NotContains(t, bars, "held")
		}
		see("")
		writes := len(g.writes)
		n, err := io.WriteString(p, "a line\n")
		assert.NoError(t, err)
		assert.Equal(t, 7, n)
		assert.Len(t, g.writes, writes+1, "one Write for one")
		see("a line\n")
		long := strings.Repeat("lange-", 11) + "end"
		fmt.Fprint(p, "two\nlines\nheld")
		see("a line\ntwo\nlines\n")
		time.Sleep(drawEvery)
		see("a line\ntwo\nlines\n")
		fmt.Fprint(p, ", then not\n"+long+"\nheld again")
		wrapped := "a line\ntwo\nlines\nheld, then not\n" + long[:60] + "\n" + long[60:] + "\n"
		see(wrapped)
		over()
		closed()
		lines := strings.Split(g.String(), "\n")
		assert.Equal(t, "held again", lines[len(lines)-2], "until no bar is left")
		fmt.Fprintln(p, ", and on")
		assert.True(t, strings.HasSuffix(g.String(), "\nheld again, and on\n\n"), g.String())
		assert.Equal(t, "before\nat once\n"+wrapped, g.String()[:len("before\nat once\n"+wrapped)])
	})
}

func TestBarBeginsBelowALineThatHasNotEnded(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		g := &glass{cols: 60, rows: 24}
		p := ProgressWriter(g)
		fmt.Fprint(p, "loading ... ")
		var f fake
		over := show(g, "Map", f.counts)
		time.Sleep(time.Second)
		fmt.Fprintln(p, "loaded")
		over()
		lines := strings.Split(g.String(), "\n")
		assert.Equal(t, []string{"loading ...", "loaded"}, lines[:2])
		assert.Contains(t, lines[2], "Map 100%|")
		assert.Equal(t, []string{"", ""}, lines[3:])
	})
}

func TestProgressWriterWithoutBarsIsTheWriter(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer // not safe for concurrent use
		var f fake
		p := ProgressWriter(&b)
		assert.Same(t, &b, outletOf(p).w)
		over := show(p, "Map", f.counts)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				for range 100 {
					fmt.Fprint(p, "no line's end, ")
					time.Sleep(time.Second)
				}
			})
		}
		all.Wait()
		over()
		assert.Equal(t, 1000, strings.Count(b.String(), "no line's end, "))
		assert.Equal(t, 6, strings.Count(b.String(), "Map: 0/0 (100%) in "), "plain lines, as ever")
	})
	assert.PanicsWithValue(t, "parallel: ProgressWriter(nil): give a writer, as os.Stderr", func() { ProgressWriter(nil) })
}

func TestProgressWriterOfManyGoroutinesLosesNothing(t *testing.T) {
	testkit.Clean(t)
	g := &glass{cols: 100, rows: 24}
	ctx := With(context.Background(), Progress(g))
	const tasks, each = 200, 5
	numbers := make([]int, tasks)
	for i := range numbers {
		numbers[i] = i
	}
	var runs sync.WaitGroup
	for r := range 3 {
		logger := log.New(ProgressWriter(g), "", 0) // each has its own
		bare := ProgressWriter(g)
		runs.Go(func() {
			_, err := Map(ctx, numbers, func(_ context.Context, i int) (int, error) {
				for k := range each {
					logger.Printf("line %d of task %d of run %d.", k, i, r)
					if k == 2 {
						time.Sleep(5 * time.Millisecond)
						fmt.Fprint(bare, "piece.")
					}
				}
				return 0, nil
			}, NJobs(4))
			assert.NoError(t, err)
		})
	}
	runs.Wait()
	text := strings.ReplaceAll(g.paragraphs(), "piece.", "")
	for r := range 3 {
		for i := range tasks {
			at := -1
			for k := range each {
				line := fmt.Sprintf("line %d of task %d of run %d.\n", k, i, r)
				require.Equal(t, 1, strings.Count(text, line), line)
				require.Greater(t, strings.Index(text, line), at, "in order")
				at = strings.Index(text, line)
			}
		}
	}
	assert.Equal(t, 3*tasks, strings.Count(g.paragraphs(), "piece."))
	assert.Equal(t, 3, strings.Count(text, "%|"), "no bar but the last lines is left: %s", text)
	assert.Equal(t, 3, strings.Count(text, "200/200 ["))
}

func TestProgressWriterPassesErrorsOn(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		f, g := fake{}, &glass{cols: 60, rows: 24}
		faulty := &partial{glass: g, room: -1}
		p := ProgressWriter(faulty)
		f.set(dispatch.Counts{Total: 10, Done: 1})
		over := show(faulty, "Map", f.counts)
		time.Sleep(drawEvery + 1)
		fmt.Fprint(p, "held ")
		faulty.room = len("\r\x1b[J") + 7 // "held li"
		n, err := io.WriteString(p, "line\nanother")
		assert.ErrorIs(t, err, errFull)
		assert.Equal(t, 2, n, "of this Write")
		faulty.room = -1
		n, err = io.WriteString(p, "ne\n")
		assert.NoError(t, err)
		assert.Equal(t, 3, n)
		assert.Contains(t, g.String(), "held line\n")
		time.Sleep(drawEvery + 1)
		assert.Contains(t, g.String(), "held line\nMap  10%|", "the bars are back")

		fmt.Fprint(p, "kept")
		faulty.room = 0
		_, err = io.WriteString(p, "\n")
		assert.ErrorIs(t, err, errFull)
		faulty.room = -1
		n, err = io.WriteString(p, ", not lost\n")
		assert.NoError(t, err)
		assert.Equal(t, 11, n)
		assert.Contains(t, g.String(), "kept, not lost\n")

		faulty.room, faulty.silent = len("\r\x1b[J"), true
		_, err = io.WriteString(p, "line\n")
		assert.ErrorIs(t, err, io.ErrShortWrite)
		faulty.room = -1
		over()
		assert.Contains(t, g.String(), "Map  10%|")

		bad := ProgressWriter(&awkward{do: func() (int, error) { panic("no") }})
		for range 2 {
			assert.Panics(t, func() { fmt.Fprintln(bad, "line") })
		}
	})
}

var errFull = errors.New("full")

// partial is a terminal that takes so many bytes of a Write; all, when room is negative.
type partial struct {
	*glass
	room   int
	silent bool
}

func (p *partial) Write(b []byte) (int, error) {
	if p.room < 0 {
		return p.glass.Write(b)
	}
	n, _ := p.glass.Write(b[:min(len(b), p.room)])
	if p.silent {
		return n, nil
	}
	return n, errFull
}

func TestProgressWriterThatBlocksHoldsNoRunUp(t *testing.T) {
	testkit.Clean(t)
	gate := make(chan struct{})
	g := &stuck{&glass{cols: 60, rows: 24}, gate}
	printed := make(chan struct{})
	go func() {
		fmt.Fprintln(ProgressWriter(g), "late")
		close(printed)
	}()
	for range 100 {
		runtime.Gosched()
	}
	_, err := Map(context.Background(), []int{1, 2}, func(_ context.Context, x int) (int, error) { return x, nil }, Progress(g))
	require.NoError(t, err)
	select {
	case <-printed:
		t.Error("it has not waited")
	default:
	}
	close(gate)
	<-printed
	assert.Contains(t, g.String(), "late\n")
}

func TestRunThatWaitsForATaskThatPrintsIsShown(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		g := &glass{cols: 60, rows: 24}
		p := ProgressWriter(g)
		over := show(g, "Map", func() dispatch.Counts {
			fmt.Fprintln(p, "asked") // as a function does that the run calls under its lock
			return dispatch.Counts{Total: 2, Done: 1}
		})
		time.Sleep(2 * drawEvery)
		over()
		assert.Equal(t, 1, strings.Count(g.String(), "%|"), g.String())
	})
}

func TestCanvasGoesWithTheLastWhoHasIt(t *testing.T) {
	g := &glass{cols: 60, rows: 24}
	var f fake
	over := show(g, "Map", f.counts)
	p, other := ProgressWriter(g).(*printer), ProgressWriter(g).(*printer)
	over()
	assert.Same(t, p.canvas, other.canvas)
	known := func() int {
		runtime.GC()
		screens.Lock()
		defer screens.Unlock()
		canvasOf(&outlet{w: io.Discard})
		return len(screens.canvases)
	}
	with := known()
	runtime.KeepAlive(p)
	runtime.KeepAlive(other)
	assert.Less(t, known(), with)
}
