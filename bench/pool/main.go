// Command pool measures single calls that are handed to a pool that is there already: this project's beside its peers', and
// beside a goroutine and a channel.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gojoblib/parallel/bench/internal/table"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	rounds := flag.Int("rounds", 25, "how often each contender takes its turn")
	flag.Parse()
	if *rounds < 1 || flag.NArg() > 0 {
		log.Fatal("it takes at least one round, and no arguments")
	}
	if err := report(os.Stdout, *rounds, 20_000); err != nil {
		log.Fatal(err)
	}
}

// row is one way to use a pool.
type row struct {
	name string
	run  func(p pool, calls int) (int, error) // returns the sum of the results
}

const inFlight = 1000

var rows = []row{
	{"submit one, wait for it", func(p pool, calls int) (sum int, err error) {
		for i := range calls {
			v, err := p.submit(i)()
			if err != nil {
				return 0, err
			}
			sum += v
		}
		return sum, nil
	}},
	{"submit 1,000, wait for all", func(p pool, calls int) (sum int, err error) {
		waits := make([]func() (int, error), inFlight)
		for i := 0; i < calls; i += inFlight {
			for k := range waits {
				waits[k] = p.submit(i + k)
			}
			for _, wait := range waits {
				v, err := wait()
				if err != nil {
					return 0, err
				}
				sum += v
			}
		}
		return sum, nil
	}},
	{"10 levels of waiting inside a pool of 1, per level", func(p pool, calls int) (sum int, err error) {
		if p.nest == nil {
			return 0, errNotPossible
		}
		for i := range calls / 10 {
			v, err := p.nest(context.Background(), 9)
			if err != nil {
				return 0, err
			}
			sum += v
			for k := range 10 { // what the loop would have summed up
				sum += twice(10*i + k)
			}
			sum -= 10
		}
		return sum, nil
	}},
}

// report prints a line for each row, a column for each contender: the median of the time per call, and its ratio to the
// first contender's, taken in the same rounds.
func report(w io.Writer, rounds, calls int) error {
	want := 0
	for i := range calls {
		want += twice(i)
	}
	head := []string{fmt.Sprintf("ns per call: median (best) of %d, %d CPUs, %s", rounds, runtime.GOMAXPROCS(0), runtime.Version())}
	for _, c := range contenders {
		head = append(head, c.name)
	}
	table.Head(w, head...)
	for _, r := range rows {
		times := make([][]float64, len(contenders))
		for round := range rounds + 1 {
			for k := range contenders {
				c := contenders[(k+round)%len(contenders)]
				p, end, err := c.open(workers(r))
				if err != nil {
					return err
				}
				runtime.GC()
				start := time.Now()
				sum, err := r.run(p, calls)
				took := float64(time.Since(start)) / float64(calls)
				end()
				switch {
				case errors.Is(err, errNotPossible):
					continue
				case err != nil:
					return fmt.Errorf("%s, %s: %w", r.name, c.name, err)
				case sum != want:
					return fmt.Errorf("%s, %s: the results add up to %d, not %d", r.name, c.name, sum, want)
				case round > 0: // the first does not count
					times[(k+round)%len(contenders)] = append(times[(k+round)%len(contenders)], took)
				}
			}
		}
		cells := []string{r.name}
		for _, t := range times {
			if len(t) == 0 {
				cells = append(cells, "hangs")
				continue
			}
			slices.Sort(t)
			cell := fmt.Sprintf("%.0f (%.0f)", t[len(t)/2], t[0])
			if len(times[0]) > 0 {
				cell += fmt.Sprintf(", %.2f×", t[len(t)/2]/times[0][len(times[0])/2])
			}
			cells = append(cells, cell)
		}
		table.Line(w, cells...)
	}
	return nil
}

// workers is how many the pool of a row has.
func workers(r row) int {
	if strings.Contains(r.name, "pool of 1") {
		return 1
	}
	return runtime.GOMAXPROCS(0)
}
