package main

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gojoblib/parallel"
)

func TestMain(m *testing.M) {
	parallel.Main(extract)
	if _, err := engine(); err != nil {
		fail(err)
	}
	os.Exit(m.Run())
}

// rows runs the program and returns the lines of its table by the names of the PDFs, each without the seconds.
func rows(t *testing.T, ctx context.Context, o options) (map[string]string, error) {
	t.Helper()
	if o.timeout == 0 {
		o.timeout = 10 * time.Minute // a slow machine is not what is tested here
	}
	var out strings.Builder
	err := run(ctx, o, &out)
	t.Logf("%v\n%s", err, out.String())

	table := make(map[string]string)
	body, _, _ := strings.Cut(out.String(), "\n\n")
	for i, line := range strings.Split(body, "\n") {
		if f := strings.Fields(line); i > 0 && len(f) > 3 {
			table[f[0]] = strings.Join(slices.Delete(f, 3, 4)[1:], " ")
		}
	}
	return table, err
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

func TestShippedPDFsHaveTheirRows(t *testing.T) {
	got, err := rows(t, t.Context(), options{n: -1, out: t.TempDir()})
	if err != nil {
		t.Error(err)
	}
	want := map[string]string{
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
	if !maps.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTextIsTheSameForEveryN(t *testing.T) {
	var want map[string]string
	for _, n := range []int{1, 2, 5} {
		out := t.TempDir()
		if _, err := rows(t, t.Context(), options{n: n, out: out}); err != nil {
			t.Fatal(err)
		}
		got := texts(t, out)
		if want == nil {
			want = got
		}
		if !maps.Equal(got, want) {
			t.Errorf("n = %d wrote other files or texts than n = 1", n)
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
	out := t.TempDir()
	got, err := rows(t, t.Context(), options{n: 2, out: out, timeout: time.Nanosecond})
	if err == nil || len(got) != 9 {
		t.Errorf("%d rows, error %v", len(got), err)
	}
	for name, row := range got {
		if !strings.Contains(row, "timed out") {
			t.Errorf("%s: %s", name, row)
		}
	}
	if files := texts(t, out); len(files) != 0 {
		t.Errorf("wrote %q", slices.Sorted(maps.Keys(files)))
	}
}

// The second PDF of one worker sees that the run was interrupted; those after it are never begun.
func TestInterruptKeepsWhatIsDone(t *testing.T) {
	dir := folder(t, map[string]string{"a.pdf": "bropd.pdf", "b.pdf": "thermodynamics.pdf", "c.pdf": "bropd.pdf", "d.pdf": "bropd.pdf"})
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
	got, err := rows(t, ctx, options{dir: dir, n: 1, out: out})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	want := map[string]string{"a.pdf": "8 9248", "b.pdf": "- - not done", "c.pdf": "- - not done", "d.pdf": "- - not done"}
	if !maps.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if files := texts(t, out); len(files) != 1 {
		t.Errorf("wrote %q", slices.Sorted(maps.Keys(files)))
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
