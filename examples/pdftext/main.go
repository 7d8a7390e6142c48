// Pdftext writes the text of every PDF of a directory into a text file, several PDFs at a time, and prints a table of
// what it found. A broken PDF is one line of that table, never the end of the batch.
//
//	go run ./pdftext              # the PDFs that it carries
//	go run ./pdftext -n 2 ~/Docs  # two at a time
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
	"strings"
	"syscall"
	"time"

	"github.com/gojoblib/parallel"
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
	dir     string // where the PDFs are; empty: the shipped ones
	out     string // where the text files go
	n       int
	timeout time.Duration
}

func main() {
	parallel.Main(extract)

	var o options
	flag.IntVar(&o.n, "n", -1, "how many `PDFs` are read at a time; -1 is one per CPU, -2 leaves one CPU free")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "time for one PDF")
	flag.StringVar(&o.out, "out", filepath.Join("out", "pdftext"), "`directory` for the text files")
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

	start := time.Now()
	if _, err := engine(); err != nil { // now, so that no PDF pays for it out of its timeout
		fail(err)
	}
	fmt.Printf("PDFium was ready after %.2f s\n\n", time.Since(start).Seconds())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anything
	if err := run(ctx, o, os.Stdout); err != nil {
		fail(err)
	}
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
	pdfs, err := find(o.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return err
	}

	tasks := make([]parallel.Task, len(pdfs))
	for i, name := range pdfs {
		tasks[i] = parallel.Delayed(extract, filepath.Join(o.dir, name), filepath.Join(o.out, name+".txt")).Named(name)
	}
	start := time.Now()
	results, err := parallel.Parallel(parallel.NJobs(o.n),
		parallel.Context(ctx),
		parallel.Timeout(o.timeout),
		parallel.KeepGoing(), // a broken PDF costs the others nothing
	)(tasks...)
	elapsed := time.Since(start)

	ended, _ := errors.AsType[*parallel.RunError](err)
	if ended != nil && ended.NotRun == len(pdfs) {
		return err
	}
	read := printTable(w, pdfs, results, parallel.Failures(err))
	fmt.Fprintf(w, "\n%d of %d PDFs read in %.2f s with -n %d (%d at a time), the texts are in %s\n",
		read, len(pdfs), elapsed.Seconds(), o.n, parallel.NJobs(o.n).Workers(), o.out)

	// What went wrong with a PDF is in the table. Cause is what ended the run as a whole.
	switch {
	case ended != nil && ended.Cause != nil:
		return ended.Cause
	case read == 0:
		return errors.New("no text was written")
	}
	return nil
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
