package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestWorkersCountAsInJoblib(t *testing.T) {
	for _, c := range []struct{ n, cpus, want int }{
		{1, 8, 1}, {64, 8, 64}, {-1, 8, 8}, {-2, 8, 7}, {-8, 8, 1}, {-9, 8, 1}, {-100, 8, 1}, {-3, 2, 1}, {0, 8, 1}, {-1, 1, 1},
	} {
		assert.Equal(t, c.want, Workers(c.n, c.cpus), "n %d on %d CPUs", c.n, c.cpus)
	}
}

func TestChunksGrowToTheTargetAndShrinkAgain(t *testing.T) {
	p := Pace{Target: 50 * time.Microsecond}
	assert.Equal(t, 1, p.Next(1<<30, 2), "the first chunk is one call")
	p.Took(1, time.Microsecond)
	assert.Equal(t, 16, p.Next(1<<30, 2), "one measurement may have been luck")
	p.Took(16, 16*time.Microsecond)
	assert.Equal(t, 50, p.Next(1<<30, 2))
	p.Took(50, 5*time.Millisecond)
	assert.Equal(t, 1, p.Next(1<<30, 2), "calls have become slow")
	p.Took(1, 0)
	assert.Equal(t, 16, p.Next(1<<30, 2), "less than the clock can tell")
	assert.Equal(t, 2, p.Next(8, 2), "a share that leaves another chunk for everyone")
}

// Chunks of a whole run claim every call once, whatever the calls take, and are never so large that the last ones end
// alone.
func TestChunksCoverTheRun(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 100_000).Draw(rt, "calls")
		workers := rapid.IntRange(1, 16).Draw(rt, "workers")
		p := Pace{Target: InPlace, Fixed: rapid.IntRange(0, 70).Draw(rt, "fixed"), Max: rapid.IntRange(0, 70).Draw(rt, "max")}
		for left, steps := n, 0; left > 0; steps++ {
			k := p.Next(left, workers)
			if k < 1 || k > left {
				rt.Fatalf("a chunk of %d of %d calls", k, left)
			}
			if p.Fixed == 0 && k > max(1, left/(2*workers), p.size/64) {
				rt.Fatalf("a chunk of %d of %d calls on %d workers", k, left, workers)
			}
			if p.Fixed == 0 && p.Max > 0 && k > max(1, p.Max) {
				rt.Fatalf("a chunk of %d with a maximum of %d", k, p.Max)
			}
			left -= k
			p.Took(k, time.Duration(rapid.Int64Range(0, int64(time.Millisecond)).Draw(rt, "took")))
			if steps > 300 { // enough of this one
				break
			}
		}
	})
}

func TestWindowIsNarrowWhileCallsAreSlow(t *testing.T) {
	assert.Equal(t, 8, Window(4, 0), "not measured yet")
	assert.Equal(t, 8, Window(4, time.Second))
	assert.Equal(t, 80, Window(4, 100*time.Microsecond))
	assert.Equal(t, MaxWindow, Window(4, time.Nanosecond))
	assert.Equal(t, 2*MaxWindow, Window(MaxWindow, time.Nanosecond), "never less than twice the workers")
}
