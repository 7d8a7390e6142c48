package main

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gojoblib/parallel"
)

// asProgram is the environment variable that makes the test binary be the program.
const asProgram = "PDFTEXT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	parallel.Main(extract, misbehave, prepare)
	os.Setenv("GORACE", "atexit_sleep_ms=0") // else each process ends a second later under the race detector
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	if _, err := engine(); err != nil {
		fail(err)
	}
	status := m.Run()
	parallel.CloseIdleWorkers()
	os.Exit(status)
}

// program is the program as a command.
func program(t *testing.T, args ...string) (cmd *exec.Cmd, stdout, stderr *strings.Builder) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr = new(strings.Builder), new(strings.Builder)
	cmd = exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), stdout, stderr
	return cmd, stdout, stderr
}

// output runs the program in this process and returns what it prints.
func output(t *testing.T, ctx context.Context, o options) (string, error) {
	t.Helper()
	defer parallel.CloseIdleWorkers() // the next run's are others, as it reads elsewhere
	if o.timeout == 0 {
		o.timeout = 10 * time.Minute // a slow machine is not what is tested here
	}
	var out strings.Builder
	err := run(ctx, o, &out)
	t.Logf("%v\n%s", err, out.String())
	return out.String(), err
}

// table returns the lines of a printed table by the names of the PDFs, each without the seconds, and the PDFs that were
// cached.
func table(printed string) (rows map[string]string, cached []string) {
	rows = make(map[string]string)
	_, body, _ := strings.Cut(printed, "  error\n")
	body, _, _ = strings.Cut(body, "\n\n")
	for line := range strings.SplitSeq(body, "\n") {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		if f[3] == "cached" {
			cached = append(cached, filepath.ToSlash(f[0]))
		}
		rows[f[0]] = strings.Join(slices.Delete(f, 3, 4)[1:], " ")
	}
	return rows, cached
}

// rows runs the program and returns its table.
func rows(t *testing.T, ctx context.Context, o options) (map[string]string, error) {
	t.Helper()
	printed, err := output(t, ctx, o)
	got, _ := table(printed)
	return got, err
}

// texts returns the files below dir by their paths.
func texts(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// folder makes a directory in which each of paths is a copy of the shipped PDF that it is mapped to.
func folder(t *testing.T, paths map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, pdf := range paths {
		b, err := shipped.ReadFile("testdata/" + pdf)
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shippedRows are the rows of the PDFs that the program carries.
var shippedRows = map[string]string{
	"broken.pdf":                         "- - PDFium says 3: incorrect format",
	"bropd.pdf":                          "8 9248",
	"derivative.pdf":                     "34 55492",
	"fixdif.pdf":                         "9 14114",
	"locked.pdf":                         "- - PDFium says 4: invalid password",
	"parallel.pdf":                       "19 31471",
	"physunits.pdf":                      "21 32358",
	"thermodynamics.pdf":                 "44 96116",
	filepath.Join("zh-cn", "fixdif.pdf"): "9 6125",
}

func TestShippedPDFsHaveTheirRows(t *testing.T) {
	got, err := rows(t, t.Context(), options{n: -1, out: t.TempDir()})
	if err != nil {
		t.Error(err)
	}
	if !maps.Equal(got, shippedRows) {
		t.Errorf("got  %q\nwant %q", got, shippedRows)
	}
}

func TestTextIsTheSameWhateverReadsIt(t *testing.T) {
	var want map[string]string
	for _, o := range []options{
		{n: 1}, {n: 2}, {n: 5},
		{n: 1, processes: true}, {n: 2, processes: true}, {n: 5, processes: true, sandbox: true},
	} {
		o.out = t.TempDir()
		if _, err := rows(t, t.Context(), o); err != nil {
			t.Fatal(err)
		}
		got := texts(t, o.out)
		if want == nil {
			want = got
		}
		if !maps.Equal(got, want) {
			t.Errorf("%+v: other files or texts than with one goroutine", o)
		}
	}
	if len(want) != 7 { // and neither half a text nor a temporary file
		t.Errorf("wrote %q", slices.Sorted(maps.Keys(want)))
	}
	for path, text := range map[string]string{
		"thermodynamics.pdf.txt": "The thermodynamics package∗\nKarl D. Hammond\n",
		"zh-cn/fixdif.pdf.txt":   "fixdif\n1\nfixdif 宏包\n",
	} {
		if got := want[path]; !strings.HasPrefix(got, text) {
			t.Errorf("%s begins with %.60q, want %q", path, got, text)
		}
	}
	thermo := want["thermodynamics.pdf.txt"]
	if pages := strings.Count(thermo, "\f"); pages != 44 || !strings.HasSuffix(thermo, "\f") {
		t.Errorf("%d form feeds for 44 pages", pages)
	}
	if !strings.Contains(thermo, "equations in thermodynamics, specifically") {
		t.Error("a word that was hyphenated at the end of a line is not whole")
	}
	if !strings.Contains(want["derivative.pdf.txt"], "𝑥") {
		t.Error("the characters beyond U+FFFF are lost")
	}
}

func TestBrokenPDFCostsNobodyElseAnything(t *testing.T) {
	out := t.TempDir()
	dir := folder(t, map[string]string{"a.pdf": "broken.pdf", "b.pdf": "bropd.pdf", "c.pdf": "locked.pdf", "d.pdf": "LICENSES.md", "e.PDF": "bropd.pdf", "notes.txt": "LICENSES.md"})
	got, err := rows(t, t.Context(), options{dir: dir, n: 2, out: out})
	if err != nil {
		t.Error(err)
	}
	want := map[string]string{
		"a.pdf": "- - PDFium says 3: incorrect format",
		"b.pdf": "8 9248",
		"c.pdf": "- - PDFium says 4: invalid password",
		"d.pdf": "- - PDFium says 3: incorrect format",
		"e.PDF": "8 9248",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := slices.Sorted(maps.Keys(texts(t, out))); !slices.Equal(got, []string{"b.pdf.txt", "e.PDF.txt"}) {
		t.Errorf("wrote %q", got)
	}
}

func TestPDFsOfTheSameNameHaveTheirOwnTexts(t *testing.T) {
	out := t.TempDir()
	dir := folder(t, map[string]string{"x.pdf": "bropd.pdf", "a/x.pdf": "fixdif.pdf", "a/b/x.pdf": "zh-cn/fixdif.pdf"})
	if _, err := rows(t, t.Context(), options{dir: dir, n: 2, out: out}); err != nil {
		t.Fatal(err)
	}
	files := texts(t, out)
	for path, start := range map[string]string{"x.pdf.txt": "The bropd", "a/x.pdf.txt": "The fixdif", "a/b/x.pdf.txt": "fixdif\n1\nfixdif 宏包"} {
		if !strings.HasPrefix(files[path], start) {
			t.Errorf("%s begins with %.20q, want %q", path, files[path], start)
		}
	}
}

func TestTimeoutIsARow(t *testing.T) {
	for _, o := range []options{{n: 9}, {n: 2, processes: true}} { // more goroutines than n that were given up would end the run
		o.out, o.timeout = t.TempDir(), time.Nanosecond
		got, err := rows(t, t.Context(), o)
		if err == nil || len(got) != 9 {
			t.Errorf("%d rows, error %v", len(got), err)
		}
		for name, row := range got {
			if !strings.Contains(row, "timed out") {
				t.Errorf("%s: %s", name, row)
			}
		}
		if files := texts(t, o.out); len(files) != 0 {
			t.Errorf("wrote %q", slices.Sorted(maps.Keys(files)))
		}
	}
}

// The second PDF of one worker sees that the run was interrupted; those after it are never begun.
func TestInterruptKeepsWhatIsDone(t *testing.T) {
	dir := folder(t, map[string]string{"a.pdf": "bropd.pdf", "b.pdf": "thermodynamics.pdf", "c.pdf": "bropd.pdf", "d.pdf": "bropd.pdf"})
	for _, processes := range []bool{false, true} {
		out := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer cancel()
			for range time.Tick(time.Millisecond) {
				if _, err := os.Stat(filepath.Join(out, "a.pdf.txt")); err == nil || ctx.Err() != nil {
					return // the first text is there
				}
			}
		}()
		got, err := rows(t, ctx, options{processes: processes, dir: dir, n: 1, out: out})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		want := map[string]string{"a.pdf": "8 9248", "b.pdf": "- - not done", "c.pdf": "- - not done", "d.pdf": "- - not done"}
		if got["b.pdf"] == "- - context canceled" { // it was begun
			got["b.pdf"] = "- - not done"
		}
		if !maps.Equal(got, want) {
			t.Errorf("processes = %t: got  %q\nwant %q", processes, got, want)
		}
		if files := texts(t, out); len(files) != 1 {
			t.Errorf("wrote %q", slices.Sorted(maps.Keys(files)))
		}
	}
}

// On goroutines, and in processes without -sandbox, nothing stops a file from what it tries, but for hanging.
func TestSabotageWithoutSandboxSucceeds(t *testing.T) {
	deeds, err := parseMisdeeds("connect,exec,hang,read")
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t, map[string]string{"a.pdf": "bropd.pdf"})
	for _, processes := range []bool{false, true} {
		got, err := rows(t, t.Context(), options{processes: processes, dir: dir, n: 2, out: t.TempDir(), timeout: 2 * time.Second, sabotage: deeds})
		if err != nil {
			t.Error(err)
		}
		for name, want := range map[string]string{
			"a.pdf":                "8 9248",
			"sabotage/connect.pdf": "- - nothing stopped it: connect",
			"sabotage/exec.pdf":    "- - nothing stopped it: exec",
			"sabotage/hang.pdf":    "- - timed out after 2s",
			"sabotage/read.pdf":    "- - nothing stopped it: read the",
		} {
			if row := got[filepath.FromSlash(name)]; !strings.HasPrefix(row, want) {
				t.Errorf("processes = %t, %s: %s", processes, name, row)
			}
		}
	}
}

func TestMisdeedsAreNotDoneUnlessAskedFor(t *testing.T) {
	dir, err := writeMisdeeds(misdeeds)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	got, err := rows(t, t.Context(), options{n: 2, dir: dir, out: t.TempDir()})
	if err == nil || len(got) != len(misdeeds) {
		t.Errorf("%d rows, error %v", len(got), err)
	}
	for name, row := range got {
		if row != "- - PDFium says 3: incorrect format" {
			t.Errorf("%s: %s", name, row)
		}
	}
}

func TestExitStatus(t *testing.T) {
	good := folder(t, map[string]string{"a.pdf": "bropd.pdf", "b.pdf": "broken.pdf"})
	broken := folder(t, map[string]string{"a.pdf": "broken.pdf"})
	for _, c := range []struct {
		args   string
		status int
		stderr string
	}{
		{good, 0, ""},
		{"-prefer processes -memory 1GB -retry 2 " + good, 0, ""},
		{"-cache " + t.TempDir() + " " + good, 0, ""},
		{"-h", 0, "usage: pdftext"},
		{broken, 1, "no text was written"},
		{"-prefer processes " + broken, 1, "no text was written"},
		{"-n 0", 1, "no worker at all"},
		{"-n 0 -cache " + t.TempDir(), 1, "no worker at all"},
		{"gone", 1, "gone"},
		{"a b", 2, "usage: pdftext"},
		{"-prefer fibers", 2, "threads or processes"},
		{"-retry -1", 2, "-retry"},
		{"-prefer processes -memory 500", 2, "a size such as 500MB"},
		{"-memory 500MB -sandbox", 2, "-memory needs -prefer processes: goroutines share theirs\n-sandbox needs -prefer processes: it would"},
		{"-sabotage=arson", 2, "connect,crash,exec,hang,memory,read"},
		{"-sabotage", 2, "-sabotage needs -prefer processes: crash"},
		{"-prefer processes -sabotage", 2, "-sabotage needs -memory"},
	} {
		cmd, stdout, stderr := program(t, strings.Fields(c.args)...)
		err := cmd.Run()
		if status := cmd.ProcessState.ExitCode(); status != c.status || !strings.Contains(stderr.String(), c.stderr) || c.stderr == "" && stderr.Len() > 0 {
			t.Errorf("pdftext %s: %v, want %d and %q\n%s%s", c.args, err, c.status, c.stderr, stdout, stderr)
		}
		if c.status == 2 && stdout.Len() > 0 {
			t.Errorf("pdftext %s: did something: %s", c.args, stdout)
		}
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{
		"1KB": 1 << 10, "500MB": 500 << 20, "500mb": 500 << 20, "2GB": 2 << 30, "4294967295GB": (1<<32 - 1) << 30,
		"": 0, "MB": 0, "0MB": 0, "-1MB": 0, "1.5GB": 0, "500": 0, "500 MB": 0, "4294967296GB": 0,
	} {
		if got, err := parseSize(s); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
}

func TestRunThatCannotBeginIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    options
		want string
	}{
		{options{n: 1, dir: filepath.Join(t.TempDir(), "gone"), out: t.TempDir()}, "gone"},
		{options{n: 1, dir: t.TempDir(), out: t.TempDir()}, "there is no PDF in"},
		{options{n: 1, dir: file, out: t.TempDir()}, file},
		{options{n: 1, out: file}, "not a directory"},
		{options{n: 0, out: t.TempDir()}, "n = 0"},
	} {
		if got, err := rows(t, t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) || len(got) != 0 {
			t.Errorf("%+v: error %v, want %q", c.o, err, c.want)
		}
	}
}
