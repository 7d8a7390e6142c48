package main

import (
	"fmt"
	"time"
)

// workers is how many worker processes every contender has.
const workers = 2

// kind is what a job asks for.
type kind string

const (
	kindMap     kind = "map"     // cube of n numbers, by the call made for that
	kindDynamic kind = "dynamic" // cube of n numbers, by calls that could each be of another function
	kindRecord  kind = "record"  // describe n words
	kindCold    kind = "cold"    // cube of n numbers, by a pool that is started for it
	kindCall    kind = "call"    // cube of n numbers, one call after the other
	kindSpin    kind = "spin"    // spin for every task of groups
	kindSum     kind = "sum"     // sum of an array of n for each worker, never sent before
	kindAgain   kind = "again"   // sum of an array of n for each worker, always the same arrays
	kindDouble  kind = "double"  // double an array of n for each worker, never sent before
)

// job is one run of a contender.
type job struct {
	Kind   kind    `json:"kind"`
	N      int     `json:"n"`
	Groups []group `json:"groups"`
}

type group struct {
	Tasks  int `json:"tasks"`
	Micros int `json:"micros"`
}

// atMost cuts j to n tasks, where tasks are what n counts.
func (j job) atMost(n int) job {
	switch j.Kind {
	case kindMap, kindDynamic, kindRecord:
		j.N = min(j.N, n)
	}
	return j
}

// before is a run of the same kind that goes uncounted before j. It brings back what cooled down while others had their
// turns: caches, and memory returned to the system. Where the number of tasks is what takes time, a tenth of them will do.
func (j job) before() job {
	switch j.Kind {
	case kindMap, kindDynamic, kindRecord, kindCall:
		j.N = max(j.N/10, workers)
	case kindSpin:
		groups := make([]group, len(j.Groups))
		for i, g := range j.Groups {
			groups[i] = group{max(g.Tasks/10, 1), g.Micros}
		}
		j.Groups = groups
	}
	return j
}

// row is one line of the table.
type row struct {
	name string
	job  job
	show func(j job, took time.Duration) string
}

func rows() []row {
	const floats = 100e6 / 8
	return []row{
		{"map, 100,000 × x³: tasks/s", job{Kind: kindMap, N: 100_000}, perSecond},
		{"map, 1,000,000 × x³: tasks/s", job{Kind: kindMap, N: 1_000_000}, perSecond},
		{"dynamic, 100,000 × x³: tasks/s", job{Kind: kindDynamic, N: 100_000}, perSecond},
		{"string → struct, 100,000: tasks/s", job{Kind: kindRecord, N: 100_000}, perSecond},
		{"cold pool, first answer: ms", job{Kind: kindCold, N: workers}, func(_ job, took time.Duration) string { return short(took.Seconds() * 1e3) }},
		{"warm single call: µs", job{Kind: kindCall, N: 200}, func(j job, took time.Duration) string { return short(took.Seconds() * 1e6 / float64(j.N)) }},
		{"50 × 8 ms amid 4,000 × 10 µs: × ideal", job{Kind: kindSpin, Groups: []group{{2000, 10}, {50, 8000}, {2000, 10}}}, timesIdeal},
		{"10,000 × 100 µs: × ideal", job{Kind: kindSpin, Groups: []group{{10_000, 100}}}, timesIdeal},
		{"100 MB array in, new each time: ms/task", job{Kind: kindSum, N: floats}, perArray},
		{"100 MB array in, the same again: ms/task", job{Kind: kindAgain, N: floats}, perArray},
		{"100 MB array in and out: ms/task", job{Kind: kindDouble, N: floats}, perArray},
	}
}

func perSecond(j job, took time.Duration) string { return short(float64(j.N) / took.Seconds()) }

// timesIdeal is the time it took by the time of all tasks shared by the workers to the last microsecond.
func timesIdeal(j job, took time.Duration) string {
	total := 0
	for _, g := range j.Groups {
		total += g.Tasks * g.Micros
	}
	return fmt.Sprintf("%.2f", took.Seconds()*1e6*workers/float64(total))
}

// perArray is the time of the run by its tasks, one for each worker, though they run side by side.
func perArray(_ job, took time.Duration) string { return short(took.Seconds() * 1e3 / workers) }

// short writes x with three digits, or two after the point: 0.05, 1.23, 12.3, 123, 1.23 k, 12.3 M.
func short(x float64) string {
	unit := ""
	for _, u := range []string{" k", " M", " G"} {
		if x < 999.5 {
			break
		}
		x, unit = x/1000, u
	}
	switch {
	case x < 9.995:
		return fmt.Sprintf("%.2f%s", x, unit)
	case x < 99.95:
		return fmt.Sprintf("%.1f%s", x, unit)
	}
	return fmt.Sprintf("%.0f%s", x, unit)
}
