// Command processes measures the worker processes of this project beside those of Python and of net/rpc, and prints one
// Markdown table. It never times what a contender gets wrong: the results of every run are checked.
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
	"time"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/bench/internal/python"
	"github.com/gojoblib/parallel/bench/internal/table"
)

func main() {
	parallel.Main(registered...)
	serveAsPeer()

	log.SetFlags(0)
	log.SetPrefix("processes: ")
	rounds := flag.Int("rounds", 5, "how often each contender runs each row")
	some := flag.String("rows", "", "measure only the rows that match this regular `expression`")
	only := flag.String("only", "", "measure only the contenders that match this regular `expression`")
	flag.Parse()
	if *rounds < 1 || flag.NArg() > 0 {
		log.Fatal("it takes at least one round, and no arguments")
	}
	// A first Ctrl-C ends the run that is under way and then all processes, a second one this program.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Stdout, *rounds, *some, *only); err != nil {
		log.Fatal(err)
	}
}

// serveAsPeer does not return in a worker process of a peer.
func serveAsPeer() {
	if os.Getenv(handshake.MagicCookieKey) != "" {
		goPluginWorker()
		os.Exit(1)
	}
	if path := os.Getenv(netRPCSocket); path != "" {
		if err := netRPCWorker(path); err != nil {
			log.Fatal(err)
		}
		os.Exit(0)
	}
}

func run(ctx context.Context, w io.Writer, rounds int, some, only string) error {
	rows, err := table.Matching(rows(), func(r row) string { return r.name }, some)
	if err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	dir, err := os.MkdirTemp("", "processes")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all := inThisProgram()
	notes := []string{pluginVersion() + "."}
	py, missing := python.Find(ctx, dir, peersPy, "joblib's column and Python's rows with arrays are")
	notes = append(notes, missing...)
	if py != nil {
		versions, err := py.Versions(ctx)
		if err != nil {
			return err
		}
		notes = append(notes, versions+".")
		all = slices.Insert(all, 1, inPython(py)...)
	}
	chosen, err := table.Matching(all, func(c contender) string { return c.name }, only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	return report(ctx, w, chosen, rows, rounds, notes)
}

// inThisProgram are the contenders that need nothing else.
func inThisProgram() []contender {
	return []contender{
		{name: "**this project**", open: inGo(ours)},
		{name: "net/rpc", open: inGo(netRPC), most: 100_000},
		{name: "go-plugin", open: inGo(goPlugin), most: 100_000},
	}
}

// pluginVersion is which go-plugin is linked.
func pluginVersion() string {
	const path = "github.com/hashicorp/go-plugin"
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
func report(ctx context.Context, w io.Writer, chosen []contender, rows []row, rounds int, notes []string) error {
	head := []string{fmt.Sprintf("%d workers, %d CPUs, %s: median (best) of %d", workers, runtime.NumCPU(), runtime.Version(), rounds)}
	for _, c := range chosen {
		head = append(head, c.name)
	}
	table.Head(w, head...)
	fewer := false
	for _, r := range rows {
		figures, err := measure(ctx, chosen, r, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		cells := []string{r.name}
		for i, f := range figures {
			if f.err != nil {
				notes = append(notes, fmt.Sprintf("%s, %s: %v", chosen[i].name, r.name, f.err))
			}
			fewer = fewer || f.fewer(r)
			cells = append(cells, f.cell(r))
		}
		table.Line(w, cells...)
	}
	if fewer {
		notes = append(notes, "*: over fewer tasks, 100,000 or, by the executor, 10,000: all would take too long.")
	}
	table.Notes(w, notes)
	return nil
}

// figure is what one contender makes of one row.
type figure struct {
	job  job             // what it was given
	took []time.Duration // sorted; empty: it does not take part
	err  error
}

// fewer reports whether f is about fewer tasks than the row has.
func (f figure) fewer(r row) bool { return len(f.took) > 0 && f.job.N < r.job.N }

// cell shows f: the median and, in brackets, the best. A star says that its job was smaller than the row's.
func (f figure) cell(r row) string {
	switch n := len(f.took); {
	case f.err != nil:
		return "error"
	case n == 0:
		return "–"
	default:
		star := ""
		if f.fewer(r) {
			star = "*"
		}
		median := (f.took[(n-1)/2] + f.took[n/2]) / 2
		return fmt.Sprintf("%s%s (%s)", r.show(f.job, median), star, r.show(f.job, f.took[0]))
	}
}

// measure runs one row. In every round all contenders take turns, each round begun by another, so that whatever else the
// machine does meets them alike; each turn comes after an uncounted run. A contender that fails is out.
func measure(ctx context.Context, chosen []contender, r row, rounds int) (_ []figure, err error) {
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
		f.job = r.job
		if c.most > 0 {
			f.job = f.job.atMost(c.most)
		}
		if slices.Contains(c.skips, r.job.Kind) {
			continue
		}
		sessions[i], f.err = c.open()
		if f.err != nil {
			sessions[i] = nil
		}
	}
	for round := range rounds {
		for turn := range chosen {
			i := (round + turn) % len(chosen)
			f := &figures[i]
			if sessions[i] == nil || f.err != nil {
				continue
			}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if _, f.err = sessions[i].run(f.job.before()); f.err != nil {
				continue
			}
			var took time.Duration
			if took, f.err = sessions[i].run(f.job); f.err == nil {
				f.took = append(f.took, took)
			}
		}
	}
	for i := range figures {
		slices.Sort(figures[i].took)
	}
	return figures, nil
}
