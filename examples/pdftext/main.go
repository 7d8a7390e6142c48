// Pdftext writes the text of every PDF of a directory into a text file, several PDFs at a time, and prints a table of
// what it found. A broken PDF is one line of that table, never the end of the batch.
//
//	go run ./pdftext              # the PDFs that it carries
//	go run ./pdftext -n 2 ~/Docs  # two at a time
//
// With -cache it reads a PDF once. Called again, also after it was interrupted or killed, it goes on with those that are
// new or have changed:
//
//	go run ./pdftext -cache texts.cache ~/Docs
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
	"unicode/utf8"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
	_ "github.com/gojoblib/parallel/backend/processes/sandbox" // for processes.Sandbox
)

const usage = `usage: pdftext [flags] [directory]

Writes the text of every PDF below the directory to <out>/<path of the PDF>.txt, with a form feed after every page, and
prints a table. Without a directory it takes the PDFs that it carries, two of which cannot be read. With -cache, PDFs are
not read again as long as their content is the same, whatever they are called and wherever the text files go; those that
could not be read are.

The exit status is 0 also when some PDFs could not be read, 1 when no text was written or the run was interrupted, 2 for
wrong usage.

`

//go:embed testdata
var shipped embed.FS

// options are what the command line says.
type options struct {
	dir      string // where the PDFs are; empty: the shipped ones
	out      string // where the text files go
	cache    string // where texts are kept for the next run; empty: nowhere
	n        int
	timeout  time.Duration
	retry    uint
	sabotage []string // the misdeeds that are added to the PDFs

	processes bool  // worker processes, not goroutines, read the PDFs
	memory    int64 // bytes for each of them; 0: no limit
	sandbox   bool  // they see no other files, no network and no programs
}

func main() {
	parallel.Main(extract, misbehave, prepare) // in a worker process, this does not return

	o := parseFlags()
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
	flag.StringVar(&o.cache, "cache", "", "`directory` in which the texts are kept for the next run; it may be used by several at once")
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
	flag.BoolVar(&o.sandbox, "sandbox", false, "processes can read the PDFs and reach nothing else; needs -prefer processes, and Linux")
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

// pdf is one of the PDFs, and what has become of it.
type pdf struct {
	document
	name string                                          // its path below the directory
	read func(context.Context, document) (string, error) // extract, unless it is a misdeed

	pages, characters int
	seconds           float64 // that reading it took
	cached            bool    // it was not read, its text was in the cache
	err               error   // why there is no text
}

var errNotDone = errors.New("not done")

// ended reports whether it is known what has become of p.
func (p pdf) ended() bool { return !errors.Is(p.err, errNotDone) }

// run is the program: find the PDFs, read them, print the table. A PDF that cannot be read is no error of run.
func run(ctx context.Context, o options, w io.Writer) error {
	if o.dir == "" {
		dir, err := unpack()
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	dirs := []string{o.dir}
	pdfs, err := find(o.dir, extract)
	if err != nil {
		return err
	}
	if len(o.sabotage) > 0 {
		dir, err := writeMisdeeds(o.sabotage)
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		added, err := find(dir, misbehave)
		if err != nil {
			return err
		}
		dirs, pdfs = append(dirs, dir), append(pdfs, added...)
	}
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return err
	}

	elapsed, err := o.readAll(ctx, pdfs, dirs, w)
	if err != nil && !slices.ContainsFunc(pdfs, pdf.ended) {
		return err
	}
	read, cached := printTable(w, pdfs)
	what := "goroutines"
	if o.processes {
		what = "processes"
	}
	fmt.Fprintf(w, "\n%d of %d PDFs read in %.2f s with -n %d (%d %s), ", read, len(pdfs), elapsed.Seconds(), o.n, parallel.NJobs(o.n).Workers(), what)
	if o.cache != "" {
		fmt.Fprintf(w, "%d of them from the cache %s, ", cached, o.cache)
	}
	fmt.Fprintf(w, "the texts are in %s\n", o.out)
	if err == nil && read == 0 { // what went wrong with a PDF is in the table
		err = errors.New("no text was written")
	}
	return err
}

// readAll reads the PDFs, which are in dirs, and writes their texts. The error is what ended it early, the time without
// that of opening PDFium.
func (o *options) readAll(ctx context.Context, pdfs []pdf, dirs []string, w io.Writer) (time.Duration, error) {
	start := time.Now()
	opts := []parallel.Option{parallel.Context(ctx), parallel.Timeout(o.timeout), parallel.Retry(int(o.retry)), parallel.Unordered()}
	m, texts := o.remember()
	missing := m == nil // a PDF has to be read
	if m != nil {
		defer m.Close()
		opts = append(opts, parallel.Memo(m))
		sums, err := parallel.Map(ctx, pdfs, fingerprint, parallel.NJobs(o.n))
		if err != nil {
			return 0, err
		}
		for i, sum := range sums {
			pdfs[i].sum = sum
			missing = missing || !texts.Has(pdfs[i].document)
		}
	}
	// PDFium is opened when it is known to be needed, and then before the run: no PDF should pay for it out of its timeout,
	// and no process compile it again.
	if missing {
		opening := time.Now()
		if _, err := engine(); err != nil {
			return 0, err
		}
		took := time.Since(opening)
		fmt.Fprintf(w, "PDFium was ready after %.2f s\n\n", took.Seconds())
		start = start.Add(took)
	}
	opts = append(opts, o.workers(dirs, missing))

	var tasks []parallel.Task
	for _, p := range pdfs {
		tasks = append(tasks, parallel.Delayed(p.read, p.document).Named(p.name))
	}
	// Each text is written as it comes: a folder's texts need not be in memory together, and an interrupt loses none.
	for r, err := range parallel.Stream(parallel.NJobs(o.n), opts...)(slices.Values(tasks)) {
		if r.Index < 0 { // it comes last
			return time.Since(start), err
		}
		pdfs[r.Index].end(o.out, r, err)
	}
	return time.Since(start), nil
}

// workers says what reads the PDFs, which are in dirs. When none is missing in the cache, processes do not prepare for it.
func (o *options) workers(dirs []string, missing bool) parallel.Option {
	if !o.processes {
		return parallel.Prefer(parallel.Threads)
	}
	p := processes.Options{MemoryLimit: o.memory}
	if missing {
		p.Init = prepare
	}
	if o.sandbox {
		p.Sandbox = &processes.Sandbox{Read: dirs}
	}
	return parallel.Backend(processes.New(p))
}

// end writes the text of p, and notes how the call that read it has ended.
func (p *pdf) end(out string, r parallel.Result, err error) {
	if failed, ok := errors.AsType[*parallel.TaskError](err); ok {
		p.err = failed.Err
		return
	}
	text := r.Value.(string)
	p.pages = strings.Count(text, "\f")
	p.characters = utf8.RuneCountInString(text) - p.pages // without the form feeds
	p.seconds, p.cached = r.Elapsed.Seconds(), r.Cached
	p.err = writeFile(filepath.Join(out, p.name+".txt"), text)
}

// writeFile writes text to path so that nobody ever finds half a text there.
func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	tmp := fmt.Sprintf("%s.%d.tmp", path, os.Getpid())
	defer os.Remove(tmp) // when something went wrong; after the rename it is not there any more
	if err := os.WriteFile(tmp, []byte(text), 0o666); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// printTable prints a line for every PDF and returns how many were read, and how many of these were in the cache.
func printTable(w io.Writer, pdfs []pdf) (read, cached int) {
	width := 0
	for _, p := range pdfs {
		width = max(width, len(p.name))
	}
	fmt.Fprintf(w, "%-*s  %6s  %10s  %7s  %s\n", width, "file", "pages", "characters", "seconds", "error")
	for _, p := range pdfs {
		if p.err != nil {
			fmt.Fprintf(w, "%-*s  %6s  %10s  %7s  %v\n", width, p.name, "-", "-", "-", p.err)
			continue
		}
		read++
		seconds := fmt.Sprintf("%.2f", p.seconds)
		if p.cached {
			cached++
			seconds = "cached"
		}
		fmt.Fprintf(w, "%-*s  %6d  %10d  %7s\n", width, p.name, p.pages, p.characters, seconds)
	}
	return read, cached
}

// find returns all PDFs below dir, in lexical order; read reads them.
func find(dir string, read func(context.Context, document) (string, error)) (pdfs []pdf, err error) {
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
			pdfs = append(pdfs, pdf{document: document{path: path}, name: name, read: read, err: errNotDone})
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
