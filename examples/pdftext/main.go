// Pdftext writes the text of every PDF of a directory into a text file, several PDFs at a time, and prints a table of
// what it found. A broken PDF is one line of that table, never the end of the batch.
//
//	go run ./pdftext              # the PDFs that it carries
//	go run ./pdftext -n 2 ~/Docs  # two at a time
//
// PDFs that come from strangers are better read in processes of their own, which can be killed, run out of memory alone
// and see no other files. With -sabotage some PDFs misbehave, to show it:
//
//	go run ./pdftext -prefer processes -timeout 2s -memory 300MB -sandbox -sabotage
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
	_ "github.com/gojoblib/parallel/backend/processes/sandbox" // for processes.Sandbox
)

const usage = `usage: pdftext [flags] [directory]

Writes the text of every PDF below the directory to <out>/<path of the PDF>.txt, with a form feed after every page, and
prints a table. Without a directory it takes the PDFs that it carries, two of which cannot be read.

The exit status is 0 also when some PDFs could not be read, 1 when no text was written or the run was interrupted, 2 for
wrong usage.

`

//go:embed testdata
var shipped embed.FS

// options are what the command line says.
type options struct {
	dir      string // where the PDFs are; empty: the shipped ones
	out      string // where the text files go
	n        int
	timeout  time.Duration
	retry    uint
	sabotage []string // the misdeeds that are added to the PDFs

	processes bool  // worker processes, not goroutines, read the PDFs
	memory    int64 // bytes for each of them; 0: no limit
	sandbox   bool  // they see no other files, no network and no programs
}

func main() {
	parallel.Main(extract, sabotaged, prepare) // in a worker process, this does not return

	o := parseFlags()
	start := time.Now()
	if _, err := engine(); err != nil { // now, so that no PDF pays for it out of its timeout, and no process compiles again
		fail(err)
	}
	fmt.Printf("PDFium was ready after %.2f s\n\n", time.Since(start).Seconds())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anything
	if err := run(ctx, o, os.Stdout); err != nil {
		fail(err)
	}
}

// parseFlags reads the command line. Of what is wrong with it the program ends.
func parseFlags() (o options) {
	flag.IntVar(&o.n, "n", -1, "how many `PDFs` are read at a time; -1 is one per CPU, -2 leaves one CPU free")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "time for one PDF")
	flag.UintVar(&o.retry, "retry", 0, "how many more `times` a PDF that could not be read is tried")
	flag.StringVar(&o.out, "out", filepath.Join("out", "pdftext"), "`directory` for the text files")
	flag.Func("prefer", "what reads the PDFs, `threads or processes`: goroutines, or copies of this program that can be killed (default threads)", func(s string) error {
		if o.processes = s == "processes"; !o.processes && s != "threads" {
			return errors.New("it takes threads or processes")
		}
		return nil
	})
	flag.Func("memory", "the `size`, such as 500MB, that a process may grow to before it is killed; needs -prefer processes", func(s string) (err error) {
		o.memory, err = parseSize(s)
		return err
	})
	flag.BoolVar(&o.sandbox, "sandbox", false, "processes can read the PDFs, write the texts, and reach nothing else; needs -prefer processes, and Linux")
	flag.BoolFunc("sabotage", "add files that misbehave when they are read; -sabotage=hang,read adds some of connect, crash, exec, hang, memory, read", func(s string) (err error) {
		o.sabotage, err = parseMisdeeds(s)
		return err
	})
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 1 {
		flag.Usage()
		os.Exit(2)
	}
	o.dir = flag.Arg(0)
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, "pdftext:", err)
		os.Exit(2)
	}
	return o
}

// parseSize reads a number of bytes such as 500MB or 2GB.
func parseSize(s string) (int64, error) {
	for i, unit := range []string{"KB", "MB", "GB"} {
		if number, ok := strings.CutSuffix(strings.ToUpper(s), unit); ok {
			if n, err := strconv.ParseUint(number, 10, 32); err == nil && n > 0 {
				return int64(n) << (10 * (i + 1)), nil
			}
		}
	}
	return 0, errors.New("it takes a size such as 500MB or 2GB")
}

// check returns all that is wrong with the flags taken together.
func (o *options) check() error {
	does := func(deed string) bool { return slices.Contains(o.sabotage, deed) }
	var errs []error
	for _, fault := range []struct {
		given bool
		text  string
	}{
		{!o.processes && o.memory > 0, "-memory needs -prefer processes: goroutines share theirs"},
		{!o.processes && o.sandbox, "-sandbox needs -prefer processes: it would shut off the program itself"},
		{!o.processes && (does("crash") || does("memory")), "-sabotage needs -prefer processes: crash and memory would end the program; -sabotage=connect,exec,hang,read would not"},
		{o.processes && does("memory") && o.memory == 0, "-sabotage needs -memory: nothing else would stop what takes all there is"},
	} {
		if fault.given {
			errs = append(errs, errors.New(fault.text))
		}
	}
	return errors.Join(errs...)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pdftext:", err)
	os.Exit(1)
}

// run is the program: find the PDFs, extract them, print the table. A PDF that cannot be read is no error of run.
func run(ctx context.Context, o options, w io.Writer) error {
	if o.dir == "" {
		dir, err := unpack()
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	dirs, work := []string{o.dir}, extract
	if len(o.sabotage) > 0 {
		dir, err := writeMisdeeds(o.sabotage)
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		dirs, work = append(dirs, dir), sabotaged
	}

	var pdfs []string
	var tasks []parallel.Task
	for _, dir := range dirs {
		names, err := find(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			txt := filepath.Join(o.out, name+".txt")
			tmp := fmt.Sprintf("%s.%d.tmp", txt, os.Getpid())
			defer os.Remove(tmp) // a process that was killed could not
			pdfs = append(pdfs, name)
			tasks = append(tasks, parallel.Delayed(work, filepath.Join(dir, name), tmp, txt).Named(name))
		}
	}
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return err
	}
	start := time.Now()
	results, err := parallel.Parallel(parallel.NJobs(o.n),
		o.workers(dirs),
		parallel.Context(ctx),
		parallel.Timeout(o.timeout),
		parallel.Retry(int(o.retry)),
		parallel.KeepGoing(), // a broken PDF costs the others nothing
	)(tasks...)
	elapsed := time.Since(start)

	ended, _ := errors.AsType[*parallel.RunError](err)
	if ended != nil && ended.NotRun == len(pdfs) {
		return err
	}
	read := printTable(w, pdfs, results, parallel.Failures(err))
	what := "goroutines"
	if o.processes {
		what = "processes"
	}
	fmt.Fprintf(w, "\n%d of %d PDFs read in %.2f s with -n %d (%d %s), the texts are in %s\n",
		read, len(pdfs), elapsed.Seconds(), o.n, parallel.NJobs(o.n).Workers(), what, o.out)

	// What went wrong with a PDF is in the table. Cause is what ended the run as a whole.
	switch {
	case ended != nil && ended.Cause != nil:
		return ended.Cause
	case read == 0:
		return errors.New("no text was written")
	}
	return nil
}

// workers says what reads the PDFs, which are in dirs.
func (o *options) workers(dirs []string) parallel.Option {
	if !o.processes {
		return parallel.Prefer(parallel.Threads)
	}
	p := processes.Options{MemoryLimit: o.memory, Init: prepare}
	if o.sandbox {
		p.Sandbox = &processes.Sandbox{Read: dirs, Write: []string{o.out}}
	}
	return parallel.Backend(processes.New(p))
}

// printTable prints a line for every PDF and returns how many were read.
func printTable(w io.Writer, pdfs []string, results []any, failures []*parallel.TaskError) (read int) {
	width, notes := 0, make([]any, len(pdfs))
	for i, name := range pdfs {
		width, notes[i] = max(width, len(name)), "not done"
	}
	for _, f := range failures {
		notes[f.Index] = f.Err
	}
	fmt.Fprintf(w, "%-*s  %6s  %10s  %7s  %s\n", width, "file", "pages", "characters", "seconds", "error")
	for i, name := range pdfs {
		if s, ok := results[i].(Summary); ok {
			fmt.Fprintf(w, "%-*s  %6d  %10d  %7.2f\n", width, name, s.Pages, s.Characters, s.Seconds)
			read++
		} else {
			fmt.Fprintf(w, "%-*s  %6s  %10s  %7s  %v\n", width, name, "-", "-", "-", notes[i])
		}
	}
	return read
}

// find returns the paths of all PDFs below dir, relative to dir, in lexical order.
func find(dir string) (pdfs []string, err error) {
	root := dir + string(filepath.Separator) // with it, dir may be a symbolic link
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == root:
			return err
		case err != nil: // a directory that may not be read
			fmt.Fprintln(os.Stderr, "pdftext: skipped:", err)
			return fs.SkipDir
		case d.Type()&^fs.ModeSymlink == 0 && strings.EqualFold(filepath.Ext(path), ".pdf"):
			name, err := filepath.Rel(dir, path)
			pdfs = append(pdfs, name)
			return err
		}
		return nil
	})
	if err == nil && len(pdfs) == 0 {
		err = fmt.Errorf("there is no PDF in %s", dir)
	}
	return pdfs, err
}

// unpack writes the shipped PDFs into a temporary directory, which the caller removes.
func unpack() (dir string, err error) {
	pdfs, err := fs.Sub(shipped, "testdata")
	if err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("", "pdftext-"); err != nil {
		return "", err
	}
	if err = os.CopyFS(dir, pdfs); err != nil {
		os.RemoveAll(dir)
	}
	return dir, err
}
