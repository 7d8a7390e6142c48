package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is what a job asks for. All but the hashes are calls of functions that a contender remembers.
type kind string

const (
	kindHit      kind = "hit"      // square of n numbers that are known
	kindCopy     kind = "copy"     // describe n known numbers: a Record that may be written to
	kindShare    kind = "share"    // describe n known numbers: a Record that all share
	kindMap      kind = "map"      // square of n known numbers, in a run that calls one function
	kindRun      kind = "run"      // square of n known numbers, in a run whose calls could each be of another function
	kindDisk     kind = "disk"     // page of n numbers that are known on disk, none asked for since the memory was opened
	kindMiss     kind = "miss"     // square of n numbers that are not known
	kindTogether kind = "together" // square of n numbers that are not known, asked for by all callers at once
	kindSlow     kind = "slow"     // nap of n numbers that are not known, asked for by all callers at once

	kindHashInt    kind = "hash int"
	kindHashPair   kind = "hash pair"   // of a string and a number
	kindHashStruct kind = "hash struct" // of four fields
	kindHashFloats kind = "hash floats" // a million
)

var hashes = []kind{kindHashInt, kindHashPair, kindHashStruct, kindHashFloats}

func (k kind) isHash() bool { return slices.Contains(hashes, k) }

// job is one run of a contender.
type job struct {
	Kind kind `json:"kind"`
	N    int  `json:"n"`    // calls; where all callers ask at once, those of each
	Keys int  `json:"keys"` // how many numbers the calls go round, where they are known, and how many values are hashed
}

// atMost cuts j to n calls; 0: any number.
func (j job) atMost(n int) job {
	if n > 0 {
		j.N = min(j.N, n)
	}
	return j
}

// before is a tenth of j that goes uncounted before it. It brings back what cooled down while others had their turns:
// caches, and memory returned to the system.
func (j job) before() job {
	j.N = max(j.N/10, 1)
	return j
}

// check is an error if that many calls cannot be right: who remembers makes none, who has nothing to remember all.
func (j job) check(made int) error {
	least, most := 0, 0
	switch j.Kind {
	case kindMiss:
		least, most = j.N, j.N
	case kindTogether, kindSlow:
		least, most = j.N, callers*j.N
	}
	if made < least || made > most {
		return fmt.Errorf("%d calls were made, it should be %d to %d", made, least, most)
	}
	return nil
}

// row is one line of the table.
type row struct {
	name  string
	job   job
	whole bool // it shows the time of a run, and its calls; otherwise the time of a call
}

func rows() []row {
	return []row{
		{name: "hit: int", job: job{Kind: kindHit, N: 100_000, Keys: 1000}},
		{name: "hit: struct with a slice, a copy", job: job{Kind: kindCopy, N: 100_000, Keys: 1000}},
		{name: "hit: the same, shared", job: job{Kind: kindShare, N: 100_000, Keys: 1000}},
		{name: "hit: int, in a Map, per task", job: job{Kind: kindMap, N: 100_000, Keys: 1000}},
		{name: "hit: int, in a Parallel, per task", job: job{Kind: kindRun, N: 100_000, Keys: 1000}},
		{name: "disk hit: 1 kB", job: job{Kind: kindDisk, N: 10_000, Keys: 1000}},
		{name: "miss: int, no work", job: job{Kind: kindMiss, N: 5000}},
		{name: "8 at once, 1,000 keys, no work", job: job{Kind: kindTogether, N: 1000}, whole: true},
		{name: "8 at once, 1,000 keys, 1 ms each", job: job{Kind: kindSlow, N: 1000}, whole: true},
		{name: "hash: int", job: job{Kind: kindHashInt, N: 100_000, Keys: 1000}},
		{name: "hash: string and int", job: job{Kind: kindHashPair, N: 100_000, Keys: 1000}},
		{name: "hash: struct of 4 fields", job: job{Kind: kindHashStruct, N: 100_000, Keys: 1000}},
		{name: "hash: 1,000,000 float64", job: job{Kind: kindHashFloats, N: 10, Keys: 2}},
	}
}

// kinds are those of all rows.
func kinds() []kind {
	var ks []kind
	for _, r := range rows() {
		ks = append(ks, r.job.Kind)
	}
	return ks
}

// sample is what one run took, and how many calls it made.
type sample struct {
	Took time.Duration
	Made int
}

func (s *sample) add(t sample) {
	s.Took += t.Took
	s.Made += t.Made
}

// figure is what one contender makes of one row.
type figure struct {
	job  job             // what it was given
	took []time.Duration // sorted; empty: it does not take part
	made []int           // sorted
	err  error
}

func (f *figure) add(s sample) {
	f.took = append(f.took, s.Took)
	f.made = append(f.made, s.Made)
	slices.Sort(f.took)
	slices.Sort(f.made)
}

// cell shows f: the median and, in brackets, the best; then, of a whole run, the calls that it made.
func (f *figure) cell(r row) string {
	n := len(f.took)
	if f.err != nil {
		return "error"
	}
	if n == 0 {
		return "–"
	}
	best, median := f.took[0], (f.took[(n-1)/2]+f.took[n/2])/2
	if !r.whole {
		return fmt.Sprintf("%s (%s)", short(perCall(median, f.job)), short(perCall(best, f.job)))
	}
	calls := thousands(f.made[0])
	if most := f.made[n-1]; most != f.made[0] {
		calls += " to " + thousands(most)
	}
	return fmt.Sprintf("%s (%s), %s calls", short(median.Seconds()), short(best.Seconds()), calls)
}

// perCall is the time of one call in seconds.
func perCall(took time.Duration, j job) float64 { return took.Seconds() / float64(j.N) }

// short writes seconds with three digits: 1.23 ns, 12.3 µs, 123 ms.
func short(s float64) string {
	x, unit := s*1e9, "ns"
	for _, u := range []string{"µs", "ms", "s"} {
		if x < 999.5 {
			break
		}
		x, unit = x/1000, u
	}
	digits := 0
	switch {
	case x < 9.995:
		digits = 2
	case x < 99.95:
		digits = 1
	}
	return strconv.FormatFloat(x, 'f', digits, 64) + " " + unit
}

// thousands writes n with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	var parts []string
	for len(s) > 3 {
		parts = append([]string{s[len(s)-3:]}, parts...)
		s = s[:len(s)-3]
	}
	return strings.Join(append([]string{s}, parts...), ",")
}
