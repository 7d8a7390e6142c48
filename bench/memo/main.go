// Command memo measures repeated calls: this project's memory beside otter, a map, and those of Python, functools.lru_cache
// and joblib.Memory. It prints one Markdown table. It never times what a contender gets wrong: the results of every run are
// checked, and how many calls it made instead of remembering.
//
// The Python contenders, peers.py, need python3; joblib and numpy are installed into a virtual environment in the
// user's cache directory, once. What is missing is left out, and a note below the table says so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/gojoblib/parallel/bench/internal/python"
	"github.com/gojoblib/parallel/bench/internal/table"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("memo: ")
	rounds := flag.Int("rounds", 5, "how often each contender runs each row")
	some := flag.String("rows", "", "measure only the rows that match this regular `expression`")
	only := flag.String("only", "", "measure only the contenders that match this regular `expression`")
	flag.Parse()
	if *rounds < 1 || flag.NArg() > 0 {
		log.Fatal("it takes at least one round, and no arguments")
	}
	// A first Ctrl-C ends the run that is under way, a second one this program.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Stdout, *rounds, *some, *only); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, w io.Writer, rounds int, some, only string) (err error) {
	rows, err := table.Matching(rows(), func(r row) string { return r.name }, some)
	if err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	dir, err := os.MkdirTemp("", "memo")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	all := inThisProgram()
	notes := []string{otterVersion() + "."}
	py, missing := python.Find(ctx, dir, peersPy, "joblib's column is")
	notes = append(notes, missing...)
	if py != nil {
		versions, err := py.Versions(ctx)
		if err != nil {
			return err
		}
		notes = append(notes, versions+".")
		all = append(all, inPython(py)...)
	}
	all = append(all, floor)
	chosen, err := table.Matching(all, func(c contender) string { return c.name }, only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	return report(ctx, w, dir, chosen, rows, rounds, notes)
}

// inThisProgram are the contenders that need nothing else.
func inThisProgram() []contender {
	return []contender{
		{name: "**memo**", open: inGo(inRAM, memoHash), skips: []kind{kindDisk}},
		{name: "**memo, Dir**", open: inGo(inFolder, nil), skips: hashes, most: 10_000},
		{name: "otter", open: inGo(inOtter, nil), skips: append([]kind{kindMap, kindRun, kindDisk}, hashes...)},
		{name: "by hand", open: inGo(inMap, gobHash), skips: []kind{kindMap, kindRun, kindDisk}},
	}
}

// floor is what no hash can be faster than that is made of SHA-256.
var floor = contender{name: "SHA-256", open: inGo(nil, rawHash), skips: slices.DeleteFunc(kinds(), kind.isHash)}

// otterVersion is which otter is linked.
func otterVersion() string {
	const path = "github.com/maypok86/otter/v2"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				return path + " " + d.Version
			}
		}
	}
	return path
}

// report measures and prints: a line for each row as soon as it is known, a column for each contender, then the notes.
func report(ctx context.Context, w io.Writer, dir string, chosen []contender, rows []row, rounds int, notes []string) error {
	head := []string{fmt.Sprintf("%d CPUs, %s: median (best) of %d", runtime.NumCPU(), runtime.Version(), rounds)}
	for _, c := range chosen {
		head = append(head, c.name)
	}
	table.Head(w, head...)
	for _, r := range rows {
		figures, err := measure(ctx, dir, chosen, r, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		cells := []string{r.name}
		for i, f := range figures {
			if f.err != nil {
				notes = append(notes, fmt.Sprintf("%s, %s: %v", chosen[i].name, r.name, f.err))
			}
			cells = append(cells, f.cell(r))
		}
		table.Line(w, cells...)
	}
	table.Notes(w, notes)
	return nil
}

// measure runs one row. In every round all contenders take turns, each round begun by another, so that whatever else the
// machine does meets them alike; each turn comes after an uncounted run. A contender that fails is out.
func measure(ctx context.Context, dir string, chosen []contender, r row, rounds int) (_ []figure, err error) {
	figures := make([]figure, len(chosen))
	sessions := make([]session, len(chosen)) // nil: does not take part
	defer func() {
		for i, s := range sessions {
			if s != nil {
				if e := s.close(); e != nil {
					err = errors.Join(err, fmt.Errorf("%s: closing: %w", chosen[i].name, e))
				}
			}
		}
	}()
	for i, c := range chosen {
		f := &figures[i]
		f.job = r.job.atMost(c.most)
		if slices.Contains(c.skips, r.job.Kind) {
			continue
		}
		// It stays until the end: ext4 is slow to make files just after many were removed.
		folder, err := os.MkdirTemp(dir, "folder")
		if err != nil {
			return nil, err
		}
		s, err := c.open(ctx, folder)
		if err != nil {
			f.err = err
			continue
		}
		sessions[i] = s
	}
	for round := range rounds {
		for turn := range chosen {
			i := (round + turn) % len(chosen)
			f := &figures[i]
			if sessions[i] == nil || f.err != nil {
				continue
			}
			if _, f.err = once(ctx, sessions[i], f.job.before()); f.err != nil {
				continue
			}
			var s sample
			if s, f.err = once(ctx, sessions[i], f.job); f.err == nil {
				f.add(s)
			}
		}
	}
	return figures, ctx.Err()
}

// once is a run that has made as many calls as its job says.
func once(ctx context.Context, s session, j job) (sample, error) {
	if ctx.Err() != nil {
		return sample{}, context.Cause(ctx)
	}
	got, err := s.run(j)
	if err == nil {
		err = j.check(got.Made)
	}
	return got, err
}
