package parallel

import (
	"testing"
	"time"

	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/stretchr/testify/assert"
)

func TestRates(t *testing.T) {
	for rate, want := range map[float64]string{
		0: "?/s", -1: "?/s", 1e-12: "24000h0m0s each", .5: "2s each", 37.24: "37.2/s", 999.4: "999/s", 999.6: "1k/s", 1234: "1.23k/s",
		999_600: "1M/s", 2_345_678: "2.35M/s", 1e9: "1000M/s",
	} {
		assert.Equal(t, want, perSecond(rate), "%v", rate)
	}
}

// A line that was due is written once, however many were missed.
func TestPlainLinesAreNotMadeUpFor(t *testing.T) {
	began := time.Now()
	b := &bar{label: "Map", began: began, at: began, counts: func() dispatch.Counts { return dispatch.Counts{Total: 10, Done: 1} }}
	lines := 0
	for after := time.Hour; after < time.Hour+30*time.Second; after += time.Second {
		if b.plainLine(began.Add(after)) != "" {
			lines++
		}
	}
	assert.Equal(t, 1, lines)
	assert.NotEmpty(t, b.plainLine(began.Add(time.Hour+time.Minute)))
}

// Counts of a run that is being stopped may be off for a moment.
func TestBarsBearAnyCounts(t *testing.T) {
	for _, c := range []dispatch.Counts{{Total: 2, Done: -1}, {Total: 2, Done: 5}, {Total: 0, Done: -1}, {Total: -1, Done: -1}} {
		for cols := range 60 {
			assert.LessOrEqual(t, width(fit("Map(main.f)", c, "00:01", "1/s", cols, true)), max(1, cols), "%+v", c)
		}
	}
}
