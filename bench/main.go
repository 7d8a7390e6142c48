// Command bench measures the goroutine lane of this project beside its peers and beside the loop that one would write
// by hand, and prints one Markdown table. Worker processes have a table of their own: see the folder processes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/gojoblib/parallel/bench/internal/table"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	rounds := flag.Int("rounds", 20, "how often each contender runs each body; its fastest run counts")
	n := flag.Int("n", runtime.GOMAXPROCS(0), "workers")
	only := flag.String("only", "", "measure only the contenders that match this regular `expression`")
	flag.Parse()
	name, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	if *rounds < 1 || *n < 1 || flag.NArg() > 0 {
		log.Fatal("it takes at least one round, at least one worker, and no arguments")
	}
	chosen := slices.DeleteFunc(slices.Clone(contenders), func(c contender) bool { return !name.MatchString(c.name) })
	if err := report(os.Stdout, chosen, bodies(*n), *rounds); err != nil {
		log.Fatal(err)
	}
}

// report measures and prints: a row for each contender, a column for each body.
func report(w io.Writer, chosen []contender, bodies []body, rounds int) error {
	chosen = append([]contender{plain}, chosen...)
	if err := verify(chosen, bodies); err != nil {
		return err
	}
	best, err := measure(chosen, bodies, rounds)
	if err != nil {
		return err
	}
	head := []string{fmt.Sprintf("n = %d, %d CPUs, %s, best of %d", bodies[0].workers, runtime.GOMAXPROCS(0), runtime.Version(), rounds)}
	for _, b := range bodies {
		head = append(head, b.heads()...)
	}
	table.Head(w, head...)
	for i, c := range chosen {
		cells := []string{c.name}
		for j, b := range bodies {
			cells = append(cells, b.cells(best[i][j], best[0][j])...)
		}
		table.Line(w, cells...)
	}
	return nil
}

// verify runs everything once: who returns other results than the plain loop has not done the work.
func verify(chosen []contender, bodies []body) error {
	for _, b := range bodies {
		want, err := plain.run(context.Background(), 1, b.in, b.fn)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", plain.name, b.name, err)
		}
		sorted := slices.Sorted(slices.Values(want))
		for _, c := range chosen {
			got, err := c.run(context.Background(), b.workers, b.in, b.fn)
			want := want
			if c.unordered {
				slices.Sort(got)
				want = sorted
			}
			if err == nil && !slices.Equal(got, want) {
				err = errors.New("wrong results")
			}
			if err != nil {
				return fmt.Errorf("%s, %s: %w", c.name, b.name, err)
			}
		}
	}
	return nil
}

// sample is what one run took; zero: there was none.
type sample struct {
	time   time.Duration
	allocs uint64
}

// measure returns the least that each contender took for each body, in time and in allocations. In every round all take
// turns, each round begun by another, so that whatever else the machine does meets them alike.
func measure(chosen []contender, bodies []body, rounds int) ([][]sample, error) {
	best := make([][]sample, len(chosen))
	for i := range best {
		best[i] = make([]sample, len(bodies))
	}
	for round := range rounds {
		for j, b := range bodies {
			for turn := range chosen {
				i := (round + turn) % len(chosen)
				c := chosen[i]
				if !c.fits(b) {
					continue
				}
				s, err := once(c, b)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", c.name, b.name, err)
				}
				if round > 0 {
					s = sample{min(s.time, best[i][j].time), min(s.allocs, best[i][j].allocs)}
				}
				best[i][j] = s
			}
		}
	}
	return best, nil
}

// once measures one run on a heap that has just been collected. A run before it, not counted, brings back what cooled
// down while others had their turns: caches, and memory returned to the system.
func once(c contender, b body) (sample, error) {
	if _, err := c.run(context.Background(), b.workers, b.in, b.fn); err != nil {
		return sample{}, err
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	_, err := c.run(context.Background(), b.workers, b.in, b.fn)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return sample{took, after.Mallocs - before.Mallocs}, err
}
