package main

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gojoblib/parallel"
)

func TestMain(m *testing.M) {
	parallel.Main(square, cube, power, fetch, errNotFound)
	m.Run()
}

// The same lines on goroutines and in processes: what they hold, but for the time, and the order of as_completed.
func TestProgramsPrintTheSameInBothPlaces(t *testing.T) {
	want := strings.Split(`as_completed: page 0: the text of page 0
as_completed: page 1: the text of page 1
as_completed: page 2 is not there
as_completed: page 3: the text of page 3
callbacks: 40 squares, their sum is 20540
cubes by apply: 249500250000
cubes by apply_async: 249500250000
cubes by imap: 249500250000
cubes by imap_unordered: 249500250000
cubes by map: 249500250000
cubes by map_async: 249500250000
cubes by starmap: 249500250000
cubes by starmap_async: 249500250000
process endless: exit code -15
process square 2: 4, exit code 0
process square 3: 9, exit code 0
squares: [0 1 4 9 16 25 36 49] in TIME s, one by one in 0.16`, "\n")
	for name, hint := range map[string]parallel.Hint{"threads": parallel.Threads, "processes": parallel.Processes} {
		t.Run(name, func(t *testing.T) {
			var out, bar bytes.Buffer
			if err := run(t.Context(), &out, &bar, hint); err != nil {
				t.Fatal(err)
			}
			timeless := regexp.MustCompile(`in [0-9.]+ s`).ReplaceAllString(strings.TrimSpace(out.String()), "in TIME s")
			got := strings.Split(timeless, "\n")
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s", &out)
			}
			if !strings.Contains(bar.String(), "40/40 (100%)") && !strings.Contains(bar.String(), "40 done") {
				t.Errorf("the bar ends with %q", &bar)
			}
		})
	}
}

func TestCancelledProgramsReturnTheirCause(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, bar bytes.Buffer
	if err := run(ctx, &out, &bar, parallel.Threads); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("run on a cancelled context: %v", err)
	}
}
